"""The report of an evaluation: a folder with JSON, a CSV table, a Markdown row and an HTML page."""

import csv
import io
import json
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from jaxtyping import UInt8
from PIL import Image

from segvoc.checkpoints.files import read_header
from segvoc.data.labeled_images import absence_line
from segvoc.errors import InputError, UsageError, one_line
from segvoc.evaluation.metrics import Confusion, PartProtocol, Scores, part_scores
from segvoc.evaluation.protocol import EvaluationProtocol
from segvoc.evaluation.report.page import (
    PLAIN_COLUMNS,
    comparison,
    markdown_rows,
    page_values,
    percent,
    score_cells,
    verdict,
    write_html,
)
from segvoc.evaluation.task import EvaluationImage, EvaluationTask, GroundTruth, ImageScore
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.notebook_html import line, one_digit, side_by_side, table
from segvoc.imaging.overlay import class_regions, draw_overlay
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.layers.selection_rules import VotedShare
from segvoc.models.finding import find_model
from segvoc.models.loading import is_own_path, named_preset
from segvoc.models.presets import find_preset
from segvoc.runtime.progress import aligned, printable
from segvoc.sharing.hub import ScoreTable
from segvoc.storage.atomic_writes import write_atomically, write_bytes
from segvoc.storage.files import read_json

RULE = (
    "detectron2's: only classes with a true pixel count; pixels without a true class count nowhere; an unlabeled "
    "pixel is a miss"
)

MAX_CONFUSIONS = 25

EXAMPLE_FOLDER = "images"

EXAMPLE_FILES = ("photograph", "truth", "prediction")

MAX_EXAMPLES = 6

EXAMPLE_SIDE = 720
"""Longest side of an example [px]."""

MAX_CLASSES_LISTED = 8

SegmentBatch = Callable[[Sequence[GroundTruth]], list[Segmentation]]

OnDrawn = Callable[[int, int], object]
"""Called with the number of examples drawn and the total: first with 0, then after each."""


@dataclass(frozen=True, kw_only=True)
class ModelOrigin:
    """Where a network's weights come from; a segmenter doesn't record it."""

    preset: str
    """The name under which papers' scores are looked up."""
    weights: str = ""
    """Description or path of the weights."""
    published: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
    """Options that differ from the preset."""


PUBLISHED_WEIGHTS = "published by the authors"


def origin_of(model: str, weights: str | None = None, options: Mapping[str, object] | None = None) -> ModelOrigin:
    """The origin of a model that `segvoc.load` loads with the same arguments."""
    options = options or {}
    if (found := find_model(model)) is not None:
        preset = named_preset(read_header(found.model)) if is_own_path(found.model) else found.model
        return ModelOrigin(preset=preset, weights=model, options=options)
    if is_own_path(model):
        return ModelOrigin(preset=named_preset(read_header(model)), weights=model, options=options)
    published = weights is None and find_preset(model).published is not None
    own = PUBLISHED_WEIGHTS if published else "shipped with segvoc"
    return ModelOrigin(preset=model, weights=weights or own, published=published, options=options)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The scores of all images, and facts about the run."""

    images: Sequence[EvaluationImage]
    scores: Sequence[ImageScore]
    """Scores of the images that could be read, in order."""
    failures: Mapping[str, str]
    """The errors of the others, by stem, in order."""
    peak_memory: float
    """Peak memory of the largest process [GB]."""
    processes: int
    resumed: int
    seconds: float
    """Duration of this run [s]."""


class Report(dict[str, Any]):
    """The content of `report.json`: plain values, None where a score is not defined."""

    def _repr_html_(self) -> str:
        """Notebook display: the overall and per-class scores."""
        if not self:
            return ""
        names = {"miou": "mIoU", "fwiou": "frequency-weighted IoU", "pixel_accuracy": "pixel accuracy"}
        names |= {"mean_accuracy": "mean accuracy"}
        data, model = self["data"], self["model"]
        summary = f"{model['name']} on {data['title']}: {data['evaluated']} of {data['images']} images"
        scores = table(("score", "%"), [(label, one_digit(self[name])) for name, label in names.items()])
        classes = table(("class", "IoU [%]"), [(entry["name"], one_digit(entry["iou"])) for entry in self["classes"]])
        return line(summary) + side_by_side(scores, classes)


def write_report(
    folder: Path,
    task: EvaluationTask,
    origin: ModelOrigin,
    result: EvaluationResult,
    fingerprint: Mapping[str, object],
    protocol: EvaluationProtocol,
    segment: SegmentBatch,
    on_drawn: OnDrawn,
) -> Report:
    """Write `report.json` (its content is returned), `classes.csv`, `row.md`, `index.html` and `images/` atomically.

    The files of an earlier report are replaced. `segment` segments the examples; for `on_drawn` see `OnDrawn`.
    """
    report = build_report(task, origin, result, fingerprint, protocol)
    report |= write_examples(folder, task, result, segment, on_drawn)
    write_bytes(folder / "classes.csv", csv_table(report["classes"]))
    write_bytes(folder / "row.md", encoded(markdown_rows([report])))
    write_html(folder / "index.html", "page.html", page_values(report))
    # written last, so its presence means that the report is complete
    write_report_json(folder / "report.json", report)
    return report


def build_report(
    task: EvaluationTask,
    origin: ModelOrigin,
    result: EvaluationResult,
    fingerprint: Mapping[str, object],
    protocol: EvaluationProtocol,
) -> Report:
    """The report without its examples."""
    classes = len(task.classes)
    confusion = Confusion.total((score.confusion for score in result.scores), classes)
    scores = confusion.scores()
    oracle = Confusion.total((score.oracle for score in result.scores if score.oracle is not None), classes)
    content = {
        "model": {
            "name": fingerprint["model"],
            "preset": origin.preset,
            "weights": origin.weights,
            "weights_digest": fingerprint["weights_digest"],
            "options": dict(origin.options),
        },
        "data": {
            "name": task.name,
            "title": task.title,
            "images": len(result.images),
            "evaluated": len(result.scores),
            "failed": len(result.failures),
            "labeled_pixels": int(confusion.pixels.sum()),
            "ignored_pixels": confusion.ignored,
            "unlabeled_predictions": confusion.unlabeled(),
            "absent": _absent(task, confusion),
            "source": dict(task.source),
        },
        **{name: defined(getattr(scores, name)) for name in ("miou", "fwiou", "pixel_accuracy", "mean_accuracy")},
        "classes_per_image": _classes_per_image([score.confusion for score in result.scores]),
        "classes": _classes(task, confusion, scores, oracle.scores().iou),
        "parts": _parts(task, confusion, oracle),
        "published": task.published_for(origin.preset),
        "confusions": _confusions(task, confusion),
        "failures": [{"stem": stem, "error": error} for stem, error in result.failures.items()],
        "protocol": {
            "rule": RULE,
            **fingerprint,
            "kept_classes": _kept_classes(protocol, task, result),
            **protocol.origin(),
        },
        "versions": {
            "segvoc": fingerprint["segvoc"],
            "torch": torch.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
        "latency_seconds": _latency([score.seconds for score in result.scores]),
        "peak_memory_gb": round(result.peak_memory, 3),
        "run": {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "processes": result.processes,
            "resumed_images": result.resumed,
            "seconds": round(result.seconds, 3),
        },
    }
    report = Report(content)
    report["verdict"] = "" if task.benchmark is None else verdict(report, published_weights=origin.published)
    return report


def _absent(task: EvaluationTask, confusion: Confusion) -> str | None:
    """A line that names the classes absent from your own images; None if all occur."""
    if task.benchmark is not None:
        return None
    seen = confusion.truth_pixels()
    names = [
        word for word, pixels in zip(task.classes, seen, strict=False) if not pixels and word != task.images.background
    ]
    return absence_line(names, len(task.classes), confusion.ignored, int(confusion.pixels.sum()) + confusion.ignored)


def _kept_classes(protocol: EvaluationProtocol, task: EvaluationTask, result: EvaluationResult) -> int | float | None:
    """(Mean) number of classes kept per image; None: all."""
    if not isinstance(protocol.selection, VotedShare):
        return protocol.kept_classes
    kept = [score.kept_classes for score in result.scores]
    return None if not kept or min(kept) >= len(task.images.vocabulary) else round(statistics.fmean(kept), 2)


def _classes(task: EvaluationTask, confusion: Confusion, scores: Scores, oracle: np.ndarray) -> list[dict[str, Any]]:
    true, predicted = confusion.truth_pixels(), confusion.predicted_pixels()
    seen = () if task.parts is None else task.parts.seen
    return [
        {
            "id": label,
            "name": name,
            "iou": defined(scores.iou[label]),
            "accuracy": defined(scores.accuracy[label]),
            "pixels": int(true[label]),
            "predicted_pixels": int(predicted[label]),
            **({"oracle_iou": defined(oracle[label]), "seen": seen[label]} if task.parts is not None else {}),
        }
        for label, name in enumerate(task.classes)
    ]


def _classes_per_image(confusions: Sequence[Confusion]) -> dict[str, float] | None:
    """The mean number of true classes per image, and how many of them are predicted.

    ERR-Seg, Table 9 ("Ground Truth" and "#Classes"). As everywhere, pixels without a true class don't count.
    """
    if not confusions:
        return None
    present = [(np.unique(confusion.truth), np.unique(confusion.prediction)) for confusion in confusions]
    return {
        "true": statistics.fmean(len(true) for true, _ in present),
        "found": statistics.fmean(len(np.intersect1d(true, predicted)) for true, predicted in present),
    }


def _parts(task: EvaluationTask, confusion: Confusion, oracle: Confusion) -> dict[str, Any] | None:
    if task.parts is None:
        return None
    seen = np.array(task.parts.seen)
    protocols: tuple[tuple[PartProtocol, Confusion], ...] = (("pred-all", confusion), ("oracle-obj", oracle))
    return {
        protocol: {
            rule: {name: defined(value) for name, value in part_scores(counts, seen, protocol, rule).items()}
            for rule in ("part-cat-seg", "ov-parts")
        }
        for protocol, counts in protocols
    }


def _confusions(task: EvaluationTask, confusion: Confusion) -> list[dict[str, Any]]:
    true = confusion.truth_pixels()
    names = (*task.classes, None)
    return [
        {
            "truth": task.classes[truth],
            "prediction": names[prediction],
            "pixels": pixels,
            "share_of_truth": 100 * pixels / int(true[truth]),
        }
        for truth, prediction, pixels in confusion.strongest(MAX_CONFUSIONS)
    ]


def _latency(seconds: Sequence[float]) -> dict[str, float | None]:
    """Network time per image, without word encoding and file reading [s]."""
    if not seconds:
        return {"mean": None, "median": None, "p95": None}
    p95 = float(np.percentile(seconds, 95))
    return {"mean": statistics.fmean(seconds), "median": statistics.median(seconds), "p95": p95}


def defined(value: float) -> float | None:
    """A score, or None for NaN."""
    return None if math.isnan(value) else float(value)


def csv_table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as comma-separated values with a header; None is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return encoded(text.getvalue())


def write_report_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON, atomically; lists have one entry per line, which diffs well."""
    fields = []
    for key, value in content.items():
        if isinstance(value, list) and value:
            lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in value)
            fields.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            fields.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}")
    write_bytes(path, encoded("{\n" + ",\n".join(fields) + "\n}\n"))


def encoded(text: str) -> bytes:
    """Text as UTF-8; bytes of a file name that are not Unicode become escapes."""
    return text.encode("utf-8", "backslashreplace")


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


def shared_scores(folder: str | os.PathLike[str], weights: str, taught: Sequence[str]) -> ScoreTable:
    """Read a model's `segvoc evaluate` report from a folder; `UsageError` if there is none, or one of another model.

    `weights` is the digest of the weights of its network (`content_hash`), `taught` those of its taught words.
    """
    path = Path(folder) / "report.json"
    try:
        report = read_json(path)
        same = report["model"]["weights_digest"] == weights and report["protocol"].get("taught", []) == list(taught)
        data, classes = report["data"], report["classes"]
        words = {str(one["name"]): (None, one["iou"]) for one in classes if one["pixels"]}
        images, title = int(data["evaluated"]), str(data["title"])
        table = ScoreTable(
            title=f"Measured with `segvoc evaluate` on {images} images of *{title}*",
            data=title,
            miou=(None, report["miou"]),
            accuracy=(None, report["pixel_accuracy"]),
            words=words,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{str(path)!r} is not a segvoc evaluate report ({one_line(error)}); name one") from None
    if not same:
        raise UsageError(
            f"{str(path)!r} is the report of another model; evaluate the shared model, and name its report"
        )
    return table


_SCORES = tuple(name for _, name in PLAIN_COLUMNS)


def write_summary(folder: Path, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Write `row.md`, and `report.json` (its content is returned) with the scores and report path of each benchmark."""
    first = next(iter(reports.values()))
    whole = {
        "model": first["model"],
        "benchmarks": [
            {
                "name": name,
                "title": report["data"]["title"],
                "report": f"{name}/report.json",
                "images": report["data"]["images"],
                "failed": report["data"]["failed"],
                **{score: report[score] for score in _SCORES},
                "parts": report["parts"],
                "published": report["published"],
                "protocol": report["protocol"],
                "verdict": report["verdict"],
            }
            for name, report in reports.items()
        ],
        "versions": first["versions"],
    }
    write_bytes(folder / "row.md", encoded(markdown_rows(list(reports.values()))))
    write_report_json(folder / "report.json", whole)
    return whole


def score_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """The scores in percent as a table for a terminal, next to published ones."""
    kinds = [[report for report in reports if (report["parts"] is None) is plain] for plain in (True, False)]
    verdicts = [f"{report['data']['title']}: {printable(report['verdict'])}" for report in reports if report["verdict"]]
    return "\n".join([*(line for kind in kinds if kind for line in _table(kind)), *verdicts])


def _table(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    scores = [score_cells(report) for report in reports]
    rows = [["data", "images", *scores[0], "published", "s/image"]]
    for report, cells in zip(reports, scores, strict=True):
        data, seconds = report["data"], report["latency_seconds"]["median"]
        published = ", ".join(percent(row["published"]) for row in comparison(report)) or "-"
        time = "-" if seconds is None else f"{seconds:.3g}"
        rows.append([printable(data["title"]), str(data["evaluated"]), *cells.values(), published, time])
    return aligned(rows)
