"""The fingerprint of an evaluation: everything that may change a score, so that only the same evaluation is resumed."""

import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import version

import torch

from segvoc.checkpoints.content_hash import content_hash
from segvoc.evaluation.protocol import EvaluationProtocol
from segvoc.evaluation.result import ModelOrigin
from segvoc.evaluation.task import EvaluationImage, EvaluationSettings, EvaluationTask
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.storage.resume import Key


def fingerprint_of(
    segmenter: NetworkSegmenter,
    origin: ModelOrigin,
    task: EvaluationTask,
    images: Sequence[EvaluationImage],
    settings: EvaluationSettings,
    protocol: EvaluationProtocol,
) -> Key:
    """The evaluation as plain values under readable names; long lists are given as their length and a digest."""
    return {
        "model": segmenter.name,
        "weights": origin.weights,
        "weights_digest": content_hash(segmenter.network),
        "options": dict(origin.options),
        **({"taught": [one.digest for one in segmenter.taught]} if segmenter.taught else {}),
        "data": task.title,
        "limit": settings.limit,
        "images": _summary(record.stem for image in images for record in image.records),
        "classes": _summary(task.images.vocabulary.words),
        "collapse_from": task.collapse_from,
        **protocol.facts(),
        "boundary": settings.boundary,
        "random_substitution": settings.random_substitution,
        "dtype": segmenter.dtype,
        "device": segmenter.device.type,
        "batch": segmenter.batch,
        "segvoc": version("segvoc"),
        "torch": torch.__version__,
    }


def _summary(names: Iterable[str]) -> str:
    names = list(names)
    text = "\n".join(names).encode("utf-8", "surrogateescape")
    return f"{len(names)} ({hashlib.blake2b(text, digest_size=4).hexdigest()})"
