"""What a journal is bound to: everything of a call that may change a score."""

import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import version

import torch
from torch import nn

from segvoc.evaluation.outcome import Origin
from segvoc.evaluation.score_journal import Fingerprint
from segvoc.evaluation.task import Picture, Settings, Task
from segvoc.inference.segmenter import Segmenter


def fingerprint_of(
    segmenter: Segmenter, origin: Origin, task: Task, pictures: Sequence[Picture], settings: Settings
) -> Fingerprint:
    """The call by names that people read; long lists stand as their length and a digest."""
    return {
        "model": segmenter.name,
        "weights": origin.weights,
        "weights_digest": weights_digest(segmenter.network),
        "options": dict(origin.options),
        "data": task.title,
        "limit": settings.limit,
        "pictures": _listed(record.stem for picture in pictures for record in picture.records),
        "classes": _listed(task.images.vocabulary.words),
        "background": task.images.background,
        "collapse_from": task.collapse_from,
        "window": settings.window,
        "keep_classes": settings.keep_classes,
        "threshold": settings.threshold,
        "boundary": settings.boundary,
        "substring_guide": settings.substring_guide,
        "random_substitution": settings.random_substitution,
        "protocol": _protocol(segmenter, task, settings),
        "templates": list(segmenter.encode_words.templates),
        "dtype": str(segmenter.dtype).removeprefix("torch."),
        "device": segmenter.device.type,
        "batch": segmenter.batch,
        "segvoc": version("segvoc"),
        "torch": torch.__version__,
    }


def weights_digest(network: nn.Module) -> str:
    """A digest of all weights: names, types, shapes and values, wherever they are."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().flatten().contiguous().view(torch.uint8).cpu().numpy())
    return digest.hexdigest()


def _protocol(segmenter: Segmenter, task: Task, settings: Settings) -> str:
    return str(segmenter.protocol(settings.window, settings.keep_classes, len(task.images.vocabulary)))


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    text = "\n".join(names).encode("utf-8", "surrogateescape")
    return f"{len(names)} ({hashlib.blake2b(text, digest_size=4).hexdigest()})"
