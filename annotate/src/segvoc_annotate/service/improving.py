"""The process that teaches words with a project's images; it can be killed at any time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import UInt16

import segvoc
from segvoc import Callback, LabeledImages, Segmenter, TaughtWords, UsageError, Vocabulary
from segvoc.data.labeled_images import LabeledImage
from segvoc.errors import install_line
from segvoc.imaging.label_maps import label_table
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.storage.files import SHIPPED
from segvoc.storage.records import to_json
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.people import each_once
from segvoc_annotate.service.worker_process import reporting

IMPROVEMENT_STAGES: Mapping[str, tuple[float, float]] = {
    "opening the model": (0.0, 0.05),
    "finding regions": (0.05, 0.3),
    "reading images": (0.3, 0.6),
    "fitting classifiers": (0.6, 0.9),
    "trying edges": (0.9, 0.95),
    "labeling what has no label": (0.95, 1.0),
    "computing features": (0.05, 0.4),
    "fine-tuning": (0.4, 1.0),
}
"""Stages, with their start and end as fractions of all work."""

TUNING_PREFIX = ".tuning-"
"""Suffix of the fine-tuning folder, beside the output file."""

TUNED_WORDS_FILE = "tuned.words.safetensors"
"""File of a run's tuned words, written if they beat the words' text."""


@dataclass(frozen=True, kw_only=True)
class ImprovementOrder:
    """The training data and the output file."""

    project: Path
    """The project's folder."""
    out: Path
    """The output file of taught words, written atomically."""
    finetune: bool
    """Whether to tune words with a small network instead of linear classifiers."""
    steps: int | None = None
    """Fine-tuning steps; None: chosen by the number of images."""


def why_no_finetuning(model: Segmenter) -> str | None:
    """Why a model's words can't be fine-tuned, in one line; None if they can."""
    if find_spec("torch") is None:
        return f"fine-tuning needs PyTorch, which is not installed; {install_line('torch')}"
    if not (_is_shipped(model) or (getattr(model, "network", None) is not None and "preset" in model.origin)):
        return f"{model.name!r} is an exported model, which can't be fine-tuned; serve a preset, such as tiny"
    return None


def improve(open_model: Callable[..., Segmenter], order: ImprovementOrder, to: Connection) -> None:
    """Teach, and report the progress to the parent; fine-tuning opens the model with a `dtype`.

    Messages are ("step", stage, share), and finally ("done", record and number of held-out images), ("nothing", line)
    or ("failed", line).
    """

    def tell(stage: str, done: int, total: int) -> None:
        start, end = IMPROVEMENT_STAGES[stage]
        to.send(("step", stage, start + (end - start) * done / max(total, 1)))

    with reporting(to):
        tell("opening the model", 0, 1)
        images = done_images(ProjectFolder(order.project))
        model = open_model(dtype="float32") if order.finetune else open_model()  # rounded weights can't be saved
        held_out = corrected_places(images)
        taught = (
            _tuned(model, images, held_out, order, tell)
            if order.finetune
            else segvoc.teach(model, images, held_out=held_out, on_step=tell)
        )
        if taught is None:
            to.send(("nothing", "fine-tuning was no better than the words' text on held-out images"))
        else:
            taught.save(order.out)
            to.send(("done", to_json(taught.record) | {"held_out": len(held_out)}))


def _tuned(
    model: Segmenter,
    images: LabeledImages,
    held_out: Sequence[int],
    order: ImprovementOrder,
    tell: Callable[[str, int, int], None],
) -> TaughtWords | None:
    """Tuned words; None if no better on held-out images."""
    if (why := why_no_finetuning(model)) is not None:
        raise UsageError(why)
    if _is_shipped(model):
        model = segvoc.load_network("tiny", dtype="float32").with_taught(*model.taught)
    assert isinstance(model, segvoc.NetworkSegmenter)
    with TemporaryDirectory(dir=order.out.parent, prefix=TUNING_PREFIX) as folder:
        file, run = Path(folder) / "model.safetensors", Path(folder) / "run"
        segvoc.save(model, file)  # the weights may differ from the preset's
        recipe = segvoc.recipes.finetune(str(file), images=len(images), steps=order.steps, method="words")
        validation = None
        if held_out and recipe.data.num_val_images:
            drawn = np.random.default_rng(0).permutation(held_out)[: recipe.data.num_val_images].tolist()
            validation = images.only(sorted(drawn))
            images = images.only([place for place in range(len(images)) if place not in drawn])
        tell("computing features", 0, 1)
        device = str(getattr(model, "device", "auto"))
        segvoc.train(
            recipe, images, run, validation=validation, device=device, progress=False, callbacks=[_Progress(tell)]
        )
        tuned = run / TUNED_WORDS_FILE
        return TaughtWords.load(tuned) if tuned.exists() else None


def _is_shipped(model: Segmenter) -> bool:
    """Whether it is plain `tiny` without PyTorch, whose network has the same weights."""
    return isinstance(model, ExportedSegmenter) and model.folder == SHIPPED


class _Progress(Callback):
    """Reports the progress of a run."""

    def __init__(self, tell: Callable[[str, int, int], None]) -> None:
        self._tell, self._steps = tell, 1

    def on_start(self, run: Any) -> None:
        self._steps = run.steps
        self._tell("fine-tuning", run.done, run.steps)

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        self._tell("fine-tuning", int(metrics["step"]), self._steps)


@dataclass(frozen=True, kw_only=True)
class DoneImage(LabeledImage):
    """An image of a project; its label map has the ids of words."""

    places: Mapping[int, int]
    """The class index of each current word, by id."""
    corrected: bool
    """Whether its labels were corrected or imported, rather than only the model's."""

    def stored_labels(self, size: tuple[int, int]) -> UInt16[np.ndarray, "H W"]:
        """See `LabeledImage.stored_labels`; pixels of a removed word are unlabeled."""
        return label_table(self.places)[super().stored_labels(size)]


def corrected_places(images: LabeledImages) -> list[int]:
    """The indices of `done_images` fit for evaluation: their labels aren't the model's."""
    return [place for place, image in enumerate(images.images) if isinstance(image, DoneImage) and image.corrected]


def done_images(project: ProjectFolder) -> LabeledImages:
    """The finished images of a project, without copies for a second person, with its current words.

    `UsageError` without images or words.
    """
    record = project.record
    words = record.present
    if not words:
        raise UsageError(f"the project {record.name!r} has no words; add some, and label images with them")
    found = []
    for state in each_once((state for state in project.states()[0] if state.done), project):
        image = project.image(state.image)
        labels, corrected = project.files(image).labels, state.corrected > 0 or state.source == "import"
        found.append(
            DoneImage(image=image.path, labels=labels, stem=image.stem, places=record.places, corrected=corrected)
        )
    if not found:
        raise UsageError(f"no image of the project {record.name!r} is done; mark images with correct labels as done")
    names = [word.name for word in words]
    return LabeledImages(
        name=record.name,
        vocabulary=Vocabulary(names),
        images=tuple(found),
        background=record.background,
    )
