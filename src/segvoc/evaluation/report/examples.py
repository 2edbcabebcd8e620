"""The best and the worst pictures of an evaluation, as pictures to look at."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.errors import InputError
from segvoc.evaluation.metrics.confusion import Confusion
from segvoc.evaluation.metrics.image_score import ImageScore, shown_prediction
from segvoc.evaluation.outcome import Outcome
from segvoc.evaluation.task import Task, TrueLabels
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.imaging.overlay import draw_overlay
from segvoc.imaging.palette import class_colors
from segvoc.imaging.regions import class_regions
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically

FOLDER = "pictures"
"""Below the report's folder."""

SHOWN = 6
"""Pictures of either kind at most."""

SIDE = 720
"""Longest side of a picture on the page [px]."""

LISTED = 8
"""Classes below a picture at most."""

Labelled = Callable[[Sequence[TrueLabels]], list[Segmentation]]
"""Labels pictures once more."""


def write_examples(folder: Path, task: Task, outcome: Outcome, labelled: Labelled) -> dict[str, Any]:
    """Write photographs, truths and predictions of the pictures with the lowest and the highest mIoU of their own.

    They are labelled once more, so that no evaluation has to keep all predictions.

    Returns: entries "worst" and "best" of the report, each from the extreme inwards.

    Raises:
        OutputError: a file can't be written.
    """
    ranked = _ranked(outcome.scores)
    worst = ranked[: min(SHOWN, (len(ranked) + 1) // 2)]
    best = ranked[len(worst) :][-SHOWN:][::-1]
    by_stem = {picture.stem: picture for picture in outcome.pictures}
    entries: dict[str, Any] = {}
    written: set[Path] = set()
    for kind, scores in (("worst", worst), ("best", best)):
        entries[kind] = []
        for number, (miou, score) in enumerate(scores, 1):
            files = {name: f"{FOLDER}/{kind}-{number}-{name}.jpg" for name in ("photograph", "truth", "prediction")}
            try:
                truth = by_stem[score.stem].read(len(task.images.vocabulary))
            except InputError:
                continue  # it was there when it was scored
            (result,) = labelled([truth])
            maps = (truth.together(), shown_prediction(task, truth, result))
            colors = _colors(maps, len(task.classes))
            shown = [truth.image, *(_overlay(truth.image, labels, task.classes, colors) for labels in maps)]
            for name, picture in zip(files, shown, strict=True):
                _write(folder / files[name], picture)
                written.add(folder / files[name])
            accuracy = score.confusion.scores().pixel_accuracy
            entries[kind].append(
                {"picture": score.stem, "miou": miou, "pixel_accuracy": accuracy, **files}
                | {"classes": _listed(task, score.confusion, colors)}
            )
    for path in {*folder.glob(f"{FOLDER}/worst-*.jpg"), *folder.glob(f"{FOLDER}/best-*.jpg")} - written:
        path.unlink(missing_ok=True)
    return entries


def _ranked(scores: Sequence[ImageScore]) -> list[tuple[float, ImageScore]]:
    """Pictures with any true pixel by their own mIoU, ascending; equal ones by name."""
    rated = [(score.confusion.scores().miou, score) for score in scores if score.confusion.pixels.size]
    return sorted(rated, key=lambda entry: (entry[0], entry[1].stem))


def _colors(maps: Sequence[UInt16[np.ndarray, "H W"]], classes: int) -> UInt8[np.ndarray, "K 3"]:
    """RGB of all classes; those of this picture get the first colours, which keep apart best, by their size."""
    pixels = sum(np.bincount(labels.ravel(), minlength=UNLABELLED + 1)[:classes] for labels in maps)
    colors = np.empty((classes, 3), np.uint8)
    colors[np.argsort(-np.asarray(pixels), kind="stable")] = class_colors(classes)
    return colors


def _overlay(
    image: UInt8[np.ndarray, "H W 3"],
    labels: UInt16[np.ndarray, "H W"],
    names: Sequence[str],
    colors: UInt8[np.ndarray, "K 3"],
) -> UInt8[np.ndarray, "H W 3"]:
    return np.asarray(draw_overlay(image, class_regions(labels, names, colors), alpha=0.6, legend=False))


def _write(path: Path, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    write_atomically(path, lambda file: picture.save(file, "JPEG", quality=88))


def _listed(task: Task, confusion: Confusion, colors: UInt8[np.ndarray, "K 3"]) -> list[dict[str, Any]]:
    """The classes with the most true or predicted pixels, with their scores in this picture."""
    true, predicted, iou = confusion.truth_pixels(), confusion.predicted_pixels(), confusion.scores().iou
    total = max(1, int(true.sum()))
    order = np.argsort(-np.maximum(true, predicted), kind="stable")[:LISTED]
    return [
        {
            "name": task.classes[label],
            "color": colors[label].tolist(),
            "iou": None if true[label] == 0 else float(iou[label]),
            "truth_share": 100 * int(true[label]) / total,
            "predicted_share": 100 * int(predicted[label]) / total,
        }
        for label in order.tolist()
        if true[label] or predicted[label]
    ]
