"""From images to results: a stream of batches, of which some are started before the results of others are made."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

from segvoc.errors import InputError
from segvoc.imaging.reading import ImageSource
from segvoc.inference.job import LabelingJob, ReadImage, not_finite_error, read_in_batches
from segvoc.inference.network_pass import view_logits
from segvoc.inference.part_labels import label_parts
from segvoc.inference.pixel_labels import ClassLabels, search_classes, selected_classes, strongest_of_groups
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.tiled import TiledLabeling
from segvoc.inference.windows import ViewLogits
from segvoc.runtime.arrays import array_namespace, on_cpu, start_copy

Outcomes = Iterator[Segmentation | InputError]
"""A result per image; an error takes the place of an image that fails."""


def label_stream(job: LabelingJob, images: Iterable[ImageSource], places: Iterable[str] | None = None) -> Outcomes:
    """Label images in order, in constant memory; `places` name images without a file name in errors."""
    started: deque[Callable[[], Outcomes]] = deque()
    failure: Exception | None = None
    with closing(read_in_batches(images, job.batch, job.options.value_range, places)) as batches:
        while True:
            try:
                started.append(start_batch(job, next(batches)))
            except StopIteration:
                break
            except Exception as error:  # the results of what came before it come first
                failure = error
                break
            if len(started) > job.engine.batches_ahead:
                yield from started.popleft()()
        while started:
            yield from started.popleft()()
        if failure is not None:
            raise failure


def raising(outcomes: Outcomes) -> Iterator[Segmentation]:
    """The results; the first error is raised."""
    for outcome in outcomes:
        if isinstance(outcome, InputError):
            raise outcome
        yield outcome
        del outcome  # a result isn't kept alive while the next one is made


def start_batch(job: LabelingJob, read: Sequence[ReadImage | InputError]) -> Callable[[], Outcomes]:
    """Start to label a batch of images; the function that is returned waits for a GPU and gives the results."""
    images = [image for image in read if isinstance(image, ReadImage)]
    if not images:
        return lambda: (image for image in read if isinstance(image, InputError))
    if job.options.tiling is not None:
        return lambda: _label_tiles(TiledLabeling(job), read)
    start = time.perf_counter()
    outputs = view_logits(job, [image.pixels for image in images])
    xp = array_namespace(outputs[0].logits)
    finite = start_copy(xp.stack([xp.all(xp.isfinite(output.logits)) for output in outputs]))
    searches: list[Callable[[], ClassLabels] | None] = [None] * len(images)
    if job.smoothing is None and not on_cpu(outputs[0].logits):  # a frame's mean needs the frame before
        searches = [_search(job, image, output) for image, output in zip(images, outputs, strict=True)]

    def finish() -> Outcomes:
        (are_finite,) = finite()
        share = (time.perf_counter() - start) / len(images)
        labeled = zip(outputs, are_finite, searches, strict=True)
        for image in read:
            if isinstance(image, InputError):
                yield image
                continue
            output, is_finite, search = next(labeled)
            yield _result(job, image, output, search, share) if is_finite else not_finite_error(image.name)

    return finish


def _label_tiles(tiled: TiledLabeling, read: Sequence[ReadImage | InputError]) -> Outcomes:
    for image in read:
        try:
            yield image if isinstance(image, InputError) else tiled.segmentation(image)
        except InputError as error:
            yield error


def _search(job: LabelingJob, image: ReadImage, output: ViewLogits) -> Callable[[], ClassLabels]:
    keep_all = job.options.return_probabilities
    return search_classes(output, image.size, job.query, job.protocol, job.threshold, return_probabilities=keep_all)


def _result(
    job: LabelingJob,
    image: ReadImage,
    output: ViewLogits,
    search: Callable[[], ClassLabels] | None,
    network_seconds: float,
) -> Segmentation:
    start, query, traits = time.perf_counter(), job.query, job.engine.traits
    output, job = job.smoothed(output, image.pixels)
    classes = (search or _search(job, image, output))()
    part_labels = part_confidence = group_labels = None
    if query.parts is not None:
        asked, against = query.asked_indices, traits.parts_against
        part_labels, part_confidence = label_parts(
            query.candidates, output, classes.labels, classes.strongest, asked, against, job.protocol
        )
    if job.groups:
        group_labels = strongest_of_groups(job.groups, output, image.size, query, job.protocol)
    return Segmentation(
        labels=classes.labels,
        confidence=classes.confidence,
        probabilities=classes.probabilities,
        group_labels=group_labels,
        words=query.words,
        selected=selected_classes(output, query),
        image=image.pixels,
        model=job.engine.name,
        dtype=job.engine.dtype,
        seconds=image.seconds + network_seconds + time.perf_counter() - start,
        source=image.source,
        content=image.content,
        background=query.background_name,
        unsure_below=traits.unsure_below,
        parts=() if query.parts is None else query.parts.parts,
        part_labels=part_labels,
        part_confidence=part_confidence,
    )
