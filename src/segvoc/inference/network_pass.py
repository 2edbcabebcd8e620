"""From images to the logits of their views: batches of views through the engine, taught words and edges."""

from collections.abc import Sequence

import numpy as np
from array_api_compat import device
from jaxtyping import Float32, UInt8

from segvoc.inference.edges import MOST_WORDS, refined, without_islands
from segvoc.inference.engine import Maps
from segvoc.inference.job import LabelingJob
from segvoc.inference.taught.features import FeatureArrays
from segvoc.inference.windows import ViewLogits, views
from segvoc.runtime.arrays import Array, array_namespace, to_numpy


def view_logits(job: LabelingJob, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[ViewLogits]:
    """The network's logits for all views of several images; views of equal size form one batch."""
    outputs: dict[int, ViewLogits] = {}
    of_images = [views(image, job.protocol, job.engine.to_device) for image in images]
    xp = array_namespace(of_images[0])
    for shape in dict.fromkeys(image.shape for image in of_images):
        members = [index for index, image in enumerate(of_images) if image.shape == shape]
        logits, kept = _in_batches(job, xp.concat([of_images[index] for index in members]))
        for number, index in enumerate(members):
            rows = slice(number * shape[0], (number + 1) * shape[0])
            outputs[index] = ViewLogits(logits[rows, ...], None if kept is None else kept[rows, ...], len(job.text))
    return [outputs[index] for index in range(len(of_images))]


def _in_batches(job: LabelingJob, pixels: Float32[Array, "N 3 H W"]) -> Maps:
    """Run batches of views, or all at once where they decide together how many classes are selected."""
    size = len(pixels) if job.protocol.counts_classes else job.engine.batch
    batches = [_batch(job, pixels[start : start + size]) for start in range(0, len(pixels), size)]
    if len(batches) == 1:
        return batches[0]
    xp = array_namespace(batches[0][0])
    kept = [indices for _, indices in batches if indices is not None]
    return xp.concat([logits for logits, _ in batches]), xp.concat(kept) if kept else None


def _batch(job: LabelingJob, pixels: Float32[Array, "N 3 H W"]) -> Maps:
    engine, features = job.engine, None
    if job.taught is None and not (job.edges and engine.traits.refines_edges):
        logits, kept = engine.run(pixels, job.text, job.protocol)
    else:
        features = engine.find_features(pixels)
        logits, kept = engine.compare(features, job.text, job.protocol)
        if job.taught is not None:
            logits = job.taught(logits, kept, features)
    return (_with_edges(job, logits, kept, pixels, features) if job.edges else logits), kept


def _with_edges(
    job: LabelingJob, logits: Array, kept: Array | None, pixels: Array, features: FeatureArrays | None
) -> Array:
    """The maps refined by the image's edges, without islands; as they are if there are too many words."""
    if logits.shape[1] > MOST_WORDS:
        return logits
    fine = refined(logits, to_numpy(pixels), features)
    for number, maps in enumerate(fine):  # parts may be as small as islands
        words = slice(job.query.named) if kept is None else to_numpy(kept[number, ...]) < job.query.named
        maps[words] = without_islands(maps[words])
    return array_namespace(logits).asarray(fine, device=device(logits))
