"""Pictures of the best and the worst images of an evaluation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.errors import InputError
from segvoc.evaluation.metrics import Confusion
from segvoc.evaluation.result import EvaluationResult
from segvoc.evaluation.task import EvaluationTask, GroundTruth, ImageScore
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.overlay import class_regions, draw_overlay
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically

EXAMPLE_FOLDER = "images"

EXAMPLE_FILES = ("photograph", "truth", "prediction")

MAX_EXAMPLES = 6

EXAMPLE_SIDE = 720
"""Longest side of an example [px]."""

MAX_CLASSES_LISTED = 8

SegmentBatch = Callable[[Sequence[GroundTruth]], list[Segmentation]]

OnDrawn = Callable[[int, int], object]
"""Called with the number of examples drawn and the total: first with 0, then after each."""


def write_examples(
    folder: Path, task: EvaluationTask, result: EvaluationResult, segment: SegmentBatch, on_drawn: OnDrawn
) -> dict[str, Any]:
    """Write the images with the lowest and the highest mIoU, their true labels and their predictions.

    These images are segmented again, so an evaluation needn't keep all predictions. Returns the entries "worst" and
    "best" of the report, most extreme image first.
    """
    ranked = _ranked(result.scores)
    worst = ranked[: min(MAX_EXAMPLES, (len(ranked) + 1) // 2)]
    best = ranked[len(worst) :][-MAX_EXAMPLES:][::-1]
    by_stem = {image.stem: image for image in result.images}
    entries: dict[str, Any] = {}
    written: set[Path] = set()
    total, drawn = len(worst) + len(best), 0
    on_drawn(drawn, total)
    for kind, scores in (("worst", worst), ("best", best)):
        entries[kind] = []
        for number, (miou, score) in enumerate(scores, 1):
            files = {name: f"{EXAMPLE_FOLDER}/{kind}-{number}-{name}.jpg" for name in EXAMPLE_FILES}
            try:
                truth = by_stem[score.stem].read(len(task.images.vocabulary))
            except InputError:
                continue  # the file was readable when it was scored
            finally:
                drawn += 1
            (prediction,) = segment([truth])
            true, predicted = truth.combined(), task.scored(prediction.labels)
            if task.parts is not None:  # nothing else is scored
                predicted = np.where(true == UNLABELED, np.uint16(UNLABELED), predicted)
            colors = class_colors(len(task.classes))
            regions = (class_regions(labels, task.classes, colors) for labels in (true, predicted))
            overlays = (draw_overlay(truth.image, found, alpha=0.6, legend=False) for found in regions)
            for name, image in zip(files, (Image.fromarray(truth.image), *overlays), strict=True):
                _write(folder / files[name], image)
                written.add(folder / files[name])
            accuracy = score.confusion.scores().pixel_accuracy
            entries[kind].append(
                {"image": score.stem, "miou": miou, "pixel_accuracy": accuracy, **files}
                | {"classes": _listed(task, score.confusion, colors)}
            )
            on_drawn(drawn, total)
    earlier = {*folder.glob(f"{EXAMPLE_FOLDER}/worst-*.jpg"), *folder.glob(f"{EXAMPLE_FOLDER}/best-*.jpg")}
    for path in earlier - written:
        path.unlink(missing_ok=True)
    return entries


def _ranked(scores: Sequence[ImageScore]) -> list[tuple[float, ImageScore]]:
    """Images with at least one true pixel by ascending mIoU, then by name."""
    rated = [(score.confusion.scores().miou, score) for score in scores if score.confusion.pixels.size]
    return sorted(rated, key=lambda entry: (entry[0], entry[1].stem))


def _write(path: Path, image: Image.Image) -> None:
    image.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE), Image.Resampling.LANCZOS)
    write_atomically(path, lambda file: image.save(file, "JPEG", quality=88))


def _listed(task: EvaluationTask, confusion: Confusion, colors: UInt8[np.ndarray, "K 3"]) -> list[dict[str, Any]]:
    """The classes with the most true or predicted pixels, with their scores in this image."""
    true, predicted, iou = confusion.truth_pixels(), confusion.predicted_pixels(), confusion.scores().iou
    total = max(1, int(true.sum()))
    order = np.argsort(-np.maximum(true, predicted), kind="stable")[:MAX_CLASSES_LISTED]
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
