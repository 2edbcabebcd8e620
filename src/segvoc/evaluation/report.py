"""The report of an evaluation: a folder with JSON, a CSV table, a Markdown row and an HTML page."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL

from segvoc.data.labeled_images import absence_line, unlabeled_row
from segvoc.evaluation.metrics import Confusion, PartProtocol, Scores, part_scores
from segvoc.evaluation.objects import object_scores
from segvoc.evaluation.protocol import EvaluationProtocol
from segvoc.evaluation.score_tables import PLAIN_COLUMNS, verdict
from segvoc.evaluation.task import EvaluationImage, EvaluationTask, ImageScore
from segvoc.imaging.label_maps import UNLABELED_NAME
from segvoc.inference.segmenter import Segmenter
from segvoc.models.presets import PRESETS

RULE = (
    "detectron2's: only classes with a true pixel count; pixels without a true class count nowhere; an unlabeled "
    "pixel is a miss"
)

MAX_CONFUSIONS = 25


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


Report = dict[str, Any]
"""The content of `report.json`: plain values, None where a score is not defined."""


def build_report(
    task: EvaluationTask,
    origin: ModelOrigin,
    fingerprint: Mapping[str, object],
    protocol: EvaluationProtocol,
    images: Sequence[EvaluationImage],
    scored: Sequence[ImageScore],
    failures: Mapping[str, str],
) -> Report:
    """The content of `report.json` but for facts about the run and examples; `failures` are errors by stem."""
    classes = len(task.classes)
    confusion = Confusion.total((score.confusion for score in scored), classes)
    scores = confusion.scores()
    oracle = Confusion.total((score.oracle for score in scored if score.oracle is not None), classes)
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
            "images": len(images),
            "evaluated": len(scored),
            "failed": len(failures),
            "labeled_pixels": int(confusion.pixels.sum()),
            "ignored_pixels": confusion.ignored,
            "unlabeled_predictions": confusion.unlabeled(),
            "absent": _absent(task, confusion),
            "outside": _outside(task, confusion),
            "source": dict(task.source),
        },
        **{name: defined(getattr(scores, name)) for _, name in PLAIN_COLUMNS},
        "classes_per_image": _classes_per_image([score.confusion for score in scored]),
        "classes": _classes(task, confusion, scores, oracle.scores().iou),
        "parts": _parts(task, confusion, oracle),
        "objects": _objects(task, scored),
        "published": task.published_for(origin.preset),
        "confusions": _confusions(task, confusion),
        "failures": [{"stem": stem, "error": error} for stem, error in failures.items()],
        "protocol": {
            "rule": RULE,
            **fingerprint,
            "kept_classes": _kept_classes(protocol, len(task.images.vocabulary), scored),
            **protocol.origin(),
        },
        "versions": {name: fingerprint[name] for name in ("segvoc", "torch")}
        | {"numpy": np.__version__, "pillow": PIL.__version__},
        "latency_seconds": _latency([score.seconds for score in scored]),
    }
    shares = {word: share / 100 for word, share in report["data"]["outside"].items()}
    report["data"]["outside_row"] = unlabeled_row(shares, are_shapes=task.images.are_shapes)
    report["verdict"] = "" if task.benchmark is None else verdict(report, published_weights=origin.published)
    return report


def _absent(task: EvaluationTask, confusion: Confusion) -> str | None:
    """A line that names the classes absent from your own images; None if all occur."""
    if task.benchmark is not None:
        return None
    seen = zip(task.classes, confusion.truth_pixels(), strict=True)
    names = [word for word, pixels in seen if not pixels and word != task.images.background]
    return absence_line(names, len(task.classes), confusion.ignored, int(confusion.pixels.sum()) + confusion.ignored)


def _outside(task: EvaluationTask, confusion: Confusion) -> dict[str, float]:
    """What pixels of your own images that have no label were labeled: shares of all pixels by word, in percent."""
    if task.benchmark is not None:
        return {}
    names, pixels = (*task.classes, UNLABELED_NAME), int(confusion.pixels.sum()) + confusion.ignored
    return {names[label]: 100 * count / pixels for label, count in confusion.outside.items()}


def _kept_classes(protocol: EvaluationProtocol, words: int, scored: Sequence[ImageScore]) -> int | float | None:
    """(Mean) number of classes kept per image; None: all."""
    if protocol.selection is None or protocol.selection.share is None:
        return protocol.kept_classes
    kept = [score.kept_classes for score in scored]
    return None if not kept or min(kept) >= words else round(statistics.fmean(kept), 2)


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


def _objects(task: EvaluationTask, scored: Sequence[ImageScore]) -> dict[str, Any] | None:
    compared = [score.objects for score in scored if score.objects is not None]
    return object_scores(compared, task.images.vocabulary.words) if compared else None


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
