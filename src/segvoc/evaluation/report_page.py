"""The page of a report: one HTML file beside the images with the lowest and the highest mIoU."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from PIL import Image

from segvoc.errors import InputError
from segvoc.evaluation.metrics import Confusion
from segvoc.evaluation.score_tables import comparison, kept_text, percent, score_cells
from segvoc.evaluation.task import EvaluationImage, EvaluationTask, GroundTruth, ImageScore
from segvoc.imaging.color_profiles import Colors
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.overlay import OverlayStyle, class_regions, draw_overlay
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.runtime.progress import Progress
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.records import KIND

EXAMPLE_FOLDER = "images"

EXAMPLE_FILES = ("photograph", "truth", "prediction")

MAX_EXAMPLES = 6

EXAMPLE_SIDE = 720
"""Longest side of an example [px]."""

MAX_CLASSES_LISTED = 8


def write_examples(
    folder: Path,
    task: EvaluationTask,
    images: Sequence[EvaluationImage],
    scores: Sequence[ImageScore],
    segment: Callable[[Sequence[GroundTruth]], list[Segmentation]],
    progress: Progress,
    colors: Colors,
) -> dict[str, Any]:
    """Write the images with the lowest and the highest mIoU, their true labels and their predictions.

    These images are segmented again, so an evaluation needn't keep all predictions. Returns the entries "worst" and
    "best" of the report, most extreme image first.
    """
    rated = [(score.confusion.scores().miou, score) for score in scores if score.confusion.pixels.size]
    ranked = sorted(rated, key=lambda entry: (entry[0], entry[1].stem))
    worst = ranked[: min(MAX_EXAMPLES, (len(ranked) + 1) // 2)]
    best = ranked[len(worst) :][-MAX_EXAMPLES:][::-1]
    by_stem = {image.stem: image for image in images}
    entries: dict[str, Any] = {}
    written: set[Path] = set()
    progress.start(len(worst) + len(best), "drawing examples for the report")
    for kind, chosen in (("worst", worst), ("best", best)):
        entries[kind] = []
        for number, (miou, score) in enumerate(chosen, 1):
            files = {name: f"{EXAMPLE_FOLDER}/{kind}-{number}-{name}.jpg" for name in EXAMPLE_FILES}
            try:
                truth = by_stem[score.stem].read(len(task.images.vocabulary), colors)
            except InputError:
                continue  # the file was readable when it was scored
            finally:
                progress.update()
            (prediction,) = segment([truth])
            true, predicted = truth.combined(), task.scored(prediction.labels)
            if task.parts is not None:  # nothing else is scored
                predicted = np.where(true == UNLABELED, np.uint16(UNLABELED), predicted)
            drawn, style = class_colors(len(task.classes)), OverlayStyle(alpha=0.6, legend=False)
            regions = (class_regions(labels, task.classes, drawn) for labels in (true, predicted))
            overlays = (draw_overlay(truth.image, of_class, style) for of_class in regions)
            for name, image in zip(files, (Image.fromarray(truth.image), *overlays), strict=True):
                image.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE), Image.Resampling.LANCZOS)
                write_atomically(folder / files[name], partial(image.save, format="JPEG", quality=88))
                written.add(folder / files[name])
            about = {"pixel_accuracy": score.confusion.scores().pixel_accuracy, **files}
            about["classes"] = _listed(task, score.confusion, drawn)
            entries[kind].append({"image": score.stem, "miou": miou, **about})
    earlier = {*folder.glob(f"{EXAMPLE_FOLDER}/worst-*.jpg"), *folder.glob(f"{EXAMPLE_FOLDER}/best-*.jpg")}
    for path in earlier - written:
        path.unlink(missing_ok=True)
    return entries


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


def write_html(path: Path, template: str | Path, values: Mapping[str, Any]) -> None:
    """Write a page; the template is a path, or a file beside this module, whose style sheet all can include."""
    file = Path(__file__).parent / template
    page = _environment(file.parent).get_template(file.name).render(values)
    write_atomically(path, lambda file: file.write(page.encode("utf-8", "xmlcharrefreplace")))


@cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent]),
    )
    environment.filters |= {"percent": percent, "kept": kept_text, "thousands": thousands, "linked": _linked}
    environment.filters |= {"comparison": comparison, "score_cells": score_cells, "facts": protocol_facts}
    return environment


def _linked(text: str) -> Markup:
    """Text with URLs as links; everything else is escaped."""
    # URLs are at the odd indices
    parts = re.split(r"(https?://[^\s;,]+)", text)
    link = Markup('<a href="{0}">{0}</a>')
    return Markup("").join(link.format(part) if index % 2 else part for index, part in enumerate(parts))


def thousands(number: int) -> str:
    """A number with narrow, non-breaking spaces between groups of three digits."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def protocol_facts(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How images are labeled, as names and values, besides the window's name and the number of classes."""
    names = {
        "size": "input [px]",
        "colors": "colors",
        "loader": "resize [px]",
        "sliding": "views [px]",
        "pooling": "class pooling",
        "selection": "class selection",
        "templates": "prompts",
        "background": "background",
        "threshold": "threshold",
        "chosen": "our choice",
    }
    # side 0: set by the resize
    values = {**protocol, "size": protocol["size"] or None}
    return [(title, _plain(values[name])) for name, title in names.items() if values[name] not in (None, "")]


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{'' if name == KIND else f'{name} '}{_plain(entry)}" for name, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
