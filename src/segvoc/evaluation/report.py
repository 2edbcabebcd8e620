"""The report of an evaluation: a folder with JSON, a CSV table, a Markdown row and an HTML page.

The page is one file next to the example images, with no external resources.
"""

import csv
import io
import math
import os
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import PIL
from jaxtyping import UInt8
from markupsafe import Markup
from PIL import Image

from segvoc.data.labeled_images import absence_line
from segvoc.errors import InputError, UsageError, one_line
from segvoc.evaluation.metrics import Confusion, PartProtocol, Scores, part_scores
from segvoc.evaluation.protocol import EvaluationProtocol
from segvoc.evaluation.task import EvaluationImage, EvaluationTask, GroundTruth, ImageScore
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.overlay import OverlayStyle, class_regions, draw_overlay
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.layers.selection_rules import VotedShare
from segvoc.models.presets import PRESETS
from segvoc.models.sharing import ScoreTable
from segvoc.runtime.progress import Progress, aligned, printable
from segvoc.storage.atomic_writes import write_atomically, write_bytes
from segvoc.storage.files import read_json, write_json
from segvoc.storage.records import KIND

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

PLAIN_COLUMNS = (
    ("mIoU", "miou"),
    ("fwIoU", "fwiou"),
    ("pixel accuracy", "pixel_accuracy"),
    ("mean accuracy", "mean_accuracy"),
)

PART_COLUMNS = tuple(
    (f"{title} {head}", protocol, name)
    for title, protocol in (("Pred-All", "pred-all"), ("Oracle-Obj", "oracle-obj"))
    for head, name in (("seen", "seen"), ("unseen", "unseen"), ("h-IoU", "harmonic"))
)

SegmentBatch = Callable[[Sequence[GroundTruth]], list[Segmentation]]


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


def origin_of(model: Segmenter, weights: str | None = None, options: Mapping[str, object] | None = None) -> ModelOrigin:
    """The origin of a model that `segvoc.load` loaded with these weights and options."""
    preset = str(model.origin.get("preset", model.name))
    published = weights is None and model.name in PRESETS and PRESETS[preset].published is not None
    usual = PUBLISHED_WEIGHTS if published else "shipped with segvoc" if model.name == preset else model.name
    return ModelOrigin(preset=preset, weights=weights or usual, published=published, options=options or {})


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


Report = dict[str, Any]
"""The content of `report.json`: plain values, None where a score is not defined."""


def write_report(
    folder: Path,
    task: EvaluationTask,
    origin: ModelOrigin,
    result: EvaluationResult,
    fingerprint: Mapping[str, object],
    protocol: EvaluationProtocol,
    segment: SegmentBatch,
    progress: Progress,
) -> Report:
    """Write `report.json` (its content is returned), `classes.csv`, `row.md`, `index.html` and `images/` atomically.

    The files of an earlier report are replaced. `segment` segments the examples, which `progress` counts.
    """
    report = build_report(task, origin, result, fingerprint, protocol)
    report |= write_examples(folder, task, result, segment, progress)
    write_bytes(folder / "classes.csv", csv_table(report["classes"]))
    write_bytes(folder / "row.md", encoded(markdown_rows([report])))
    write_html(folder / "index.html", "report.html", {**report, "report": report})
    # written last, so its presence means that the report is complete
    write_json(folder / "report.json", report)
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
    report: Report = {
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
        **{name: defined(getattr(scores, name)) for _, name in PLAIN_COLUMNS},
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
        "versions": {name: fingerprint[name] for name in ("segvoc", "torch")}
        | {"numpy": np.__version__, "pillow": PIL.__version__},
        "latency_seconds": _latency([score.seconds for score in result.scores]),
        "peak_memory_gb": round(result.peak_memory, 3),
        "run": {
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "processes": result.processes,
            "resumed_images": result.resumed,
            "seconds": round(result.seconds, 3),
        },
    }
    report["verdict"] = "" if task.benchmark is None else verdict(report, published_weights=origin.published)
    return report


def _absent(task: EvaluationTask, confusion: Confusion) -> str | None:
    """A line that names the classes absent from your own images; None if all occur."""
    if task.benchmark is not None:
        return None
    seen = zip(task.classes, confusion.truth_pixels(), strict=True)
    names = [word for word, pixels in seen if not pixels and word != task.images.background]
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
    named = {"mean": statistics.fmean, "median": statistics.median, "p95": lambda all: float(np.percentile(all, 95))}
    return {name: measure(seconds) if seconds else None for name, measure in named.items()}


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


def encoded(text: str) -> bytes:
    """Text as UTF-8; bytes of a file name that are not Unicode become escapes."""
    return text.encode("utf-8", "backslashreplace")


def write_examples(
    folder: Path, task: EvaluationTask, result: EvaluationResult, segment: SegmentBatch, progress: Progress
) -> dict[str, Any]:
    """Write the images with the lowest and the highest mIoU, their true labels and their predictions.

    These images are segmented again, so an evaluation needn't keep all predictions. Returns the entries "worst" and
    "best" of the report, most extreme image first.
    """
    rated = [(score.confusion.scores().miou, score) for score in result.scores if score.confusion.pixels.size]
    ranked = sorted(rated, key=lambda entry: (entry[0], entry[1].stem))
    worst = ranked[: min(MAX_EXAMPLES, (len(ranked) + 1) // 2)]
    best = ranked[len(worst) :][-MAX_EXAMPLES:][::-1]
    by_stem = {image.stem: image for image in result.images}
    entries: dict[str, Any] = {}
    written: set[Path] = set()
    progress.start(len(worst) + len(best), "drawing examples for the report")
    for kind, scores in (("worst", worst), ("best", best)):
        entries[kind] = []
        for number, (miou, score) in enumerate(scores, 1):
            files = {name: f"{EXAMPLE_FOLDER}/{kind}-{number}-{name}.jpg" for name in EXAMPLE_FILES}
            try:
                truth = by_stem[score.stem].read(len(task.images.vocabulary))
            except InputError:
                continue  # the file was readable when it was scored
            finally:
                progress.update()
            (prediction,) = segment([truth])
            true, predicted = truth.combined(), task.scored(prediction.labels)
            if task.parts is not None:  # nothing else is scored
                predicted = np.where(true == UNLABELED, np.uint16(UNLABELED), predicted)
            colors, style = class_colors(len(task.classes)), OverlayStyle(alpha=0.6, legend=False)
            regions = (class_regions(labels, task.classes, colors) for labels in (true, predicted))
            overlays = (draw_overlay(truth.image, of_class, style) for of_class in regions)
            for name, image in zip(files, (Image.fromarray(truth.image), *overlays), strict=True):
                image.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE), Image.Resampling.LANCZOS)
                write_atomically(folder / files[name], partial(image.save, format="JPEG", quality=88))
                written.add(folder / files[name])
            about = {"pixel_accuracy": score.confusion.scores().pixel_accuracy, **files}
            about["classes"] = _listed(task, score.confusion, colors)
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


def shared_scores(folder: str | os.PathLike[str], weights: str, taught: Sequence[str]) -> ScoreTable:
    """Read a model's `segvoc evaluate` report from a folder; `UsageError` if there is none, or one of another model.

    `weights` is the digest of the weights of its network (`content_hash`), `taught` those of its taught words.
    """
    path = Path(folder) / "report.json"
    try:
        report = read_json(path)
        same = report["model"]["weights_digest"] == weights and report["protocol"].get("taught", []) == list(taught)
        data, classes = report["data"], report["classes"]
        words = {str(entry["name"]): (None, entry["iou"]) for entry in classes if entry["pixels"]}
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
                **{fact: report["data"][fact] for fact in ("images", "failed")},
                **{score: report[score] for _, score in PLAIN_COLUMNS},
                **{fact: report[fact] for fact in ("parts", "published", "protocol", "verdict")},
            }
            for name, report in reports.items()
        ],
        "versions": first["versions"],
    }
    write_bytes(folder / "row.md", encoded(markdown_rows(list(reports.values()))))
    write_json(folder / "report.json", whole)
    return whole


def score_table(reports: Sequence[Mapping[str, Any]]) -> str:
    """The scores in percent as a table for a terminal, next to published ones."""
    verdicts = [f"{report['data']['title']}: {printable(report['verdict'])}" for report in reports if report["verdict"]]
    return "\n".join([*(line for kind in _by_kind(reports) for line in _table(kind)), *verdicts])


def _by_kind(reports: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The reports without parts, and those of part benchmarks, which have other scores."""
    kinds = [[report for report in reports if (report["parts"] is None) is plain] for plain in (True, False)]
    return [kind for kind in kinds if kind]


def _table(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    scores = [score_cells(report) for report in reports]
    rows = [["data", "images", *scores[0], "published", "s/image"]]
    for report, cells in zip(reports, scores, strict=True):
        data, seconds = report["data"], report["latency_seconds"]["median"]
        published = ", ".join(percent(row["published"]) for row in comparison(report)) or "-"
        time = "-" if seconds is None else f"{seconds:.3g}"
        rows.append([printable(data["title"]), str(data["evaluated"]), *cells.values(), published, time])
    return aligned(rows)


# ---- the scores as text: a Markdown table, their comparison with published scores, and the page


def markdown_rows(reports: Sequence[Mapping[str, Any]]) -> str:
    """A table with a row per report, one for part benchmarks (by PartCATSeg's rule), and comparisons with papers."""
    tables = [_markdown_table([_cells(report) for report in kind]) for kind in _by_kind(reports)]
    judged = [(report["data"]["title"], report["verdict"]) for report in reports if report["verdict"]]
    verdicts = "".join(f"- {_escaped(title)}: {_escaped(verdict)}\n" for title, verdict in judged)
    return "\n".join([*tables, *([verdicts] if verdicts else [])])


def _cells(report: Mapping[str, Any]) -> dict[str, str]:
    model, data = report["model"], report["data"]
    return {
        "model": str(model["name"]),
        "weights": model["weights"] or "—",
        "data": data["title"],
        "images": str(data["evaluated"]),
        "window": report["protocol"]["window"],
        "classes kept": kept_text(report["protocol"]),
        **score_cells(report),
    }


def score_cells(report: Mapping[str, Any]) -> dict[str, str]:
    """The scores of a report by heading; for parts by PartCATSeg's rule."""
    if (parts := report["parts"]) is not None:
        return {head: percent(parts[protocol]["part-cat-seg"][name]) for head, protocol, name in PART_COLUMNS}
    return {head: percent(report[name]) for head, name in PLAIN_COLUMNS}


def kept_text(protocol: Mapping[str, Any]) -> str:
    """Number of classes kept per image, as text."""
    return "all" if protocol["kept_classes"] is None else f"{protocol['kept_classes']:g}"


def percent(value: float | None) -> str:
    """A score with two decimals; a dash if it is not defined."""
    return "—" if value is None else f"{value:.2f}"


def _markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    heads = list(rows[0])
    body = [[_escaped(text) for text in row.values()] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in [heads, ["---"] * len(heads), *body])


def _escaped(text: str) -> str:
    """Escape Markdown and HTML in a name; line breaks become spaces."""
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", printable)


AGREEMENT = 0.1
"""Largest difference from a printed score that counts as reproduced [percentage points]."""


def comparison(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare a report with the published scores, a row per score.

    A row has "table", "source", "score" (its name), the values "published" and "here" in percent, their "difference"
    (None if nothing was scored), and whether it is "within" `AGREEMENT`.
    """
    rows = []
    for entry in report["published"]:
        for name, published in entry["scores"].items():
            if name == "found":
                here, title = (report["classes_per_image"] or {"found": None})["found"], "classes found"
            elif entry["protocol"] is None:
                here, title = report[name], "mIoU"
            else:
                # PCA-Seg follows PartCATSeg
                here = report["parts"][entry["protocol"]]["part-cat-seg"][name]
                title = next(head for head, protocol, of in PART_COLUMNS if (protocol, of) == (entry["protocol"], name))
            # nine digits, since 31.9 - 31.8 isn't exactly 0.1
            difference = None if here is None else round(here - published, 9)
            row = {"table": entry["table"], "source": entry["source"], "score": title}
            row |= {"published": published, "here": here, "difference": difference}
            rows.append(row | {"within": difference is not None and abs(difference) <= AGREEMENT})
    return rows


def verdict(report: Mapping[str, Any], *, published_weights: bool) -> str:
    """Say whether the scores agree with the published ones, and what deviates."""
    model, data, rows = report["model"], report["data"], comparison(report)
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        tables.setdefault(row["table"], []).append(row)
    parts = [f"{_agreement(of_table)} {table}" for table, of_table in tables.items()]
    if not rows:
        parts.append(f"no paper that segvoc knows reports a score of {model['preset']} on {data['title']}")
    elif not published_weights:
        parts.append(f"the weights are not the published ones ({model['weights'] or 'unknown'})")
    if deviations := report["protocol"]["deviations"]:
        parts.append(f"the protocol deviates: {', '.join(deviations)}")
    if lacking := data["failed"] + data["source"].get("missing", 0):
        parts.append(f"{lacking:,} {'image is' if lacking == 1 else 'images are'} missing or could not be read")
    return "; ".join(parts)


def _agreement(rows: Sequence[Mapping[str, Any]]) -> str:
    if any(row["here"] is None for row in rows):
        return "nothing to compare with"
    return f"within {AGREEMENT} of" if all(row["within"] for row in rows) else f"not within {AGREEMENT} of"


def write_html(path: Path, template: str | Path, values: Mapping[str, Any]) -> None:
    """Write a page atomically.

    The template is a path, or the name of a file beside this module, whose style sheet every template can include.
    """
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
