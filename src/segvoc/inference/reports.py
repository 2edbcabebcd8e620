"""Label statistics, and reports as JSON."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8, UInt16

from segvoc.errors import Hint
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.palette import word_colors
from segvoc.vocabulary.names import folded

SUMMARY = ("quality", "not_found", "unsure")
"""Fields of a report about all words together."""

_AT_ONCE = 1 << 18
"""Pixels counted per chunk: counting takes 16 bytes per pixel, which fit into a processor's cache."""


@dataclass(frozen=True, eq=False)
class LabelStatistics:
    """Pixel count and confidence of each label."""

    pixels: Int64[np.ndarray, " 65536"]
    confidence: Float64[np.ndarray, " 65536"]
    """Sum of the confidences of these pixels."""

    @classmethod
    def none(cls) -> "LabelStatistics":
        """Statistics of no pixels."""
        return cls(np.zeros(UNLABELED + 1, np.int64), np.zeros(UNLABELED + 1))

    @classmethod
    def of(cls, labels: UInt16[np.ndarray, "H W"], confidence: Float32[np.ndarray, "H W"]) -> "LabelStatistics":
        """Compute the statistics of a label map and its confidences."""
        found, flat, sure = cls.none(), labels.reshape(-1), confidence.reshape(-1)
        for start in range(0, len(flat), _AT_ONCE):
            some = flat[start : start + _AT_ONCE].astype(np.intp)  # once for both counts
            pixels = np.bincount(some)
            found.pixels[: len(pixels)] += pixels
            found.confidence[: len(pixels)] += np.bincount(some, weights=sure[start : start + _AT_ONCE])
        return found

    def __add__(self, other: "LabelStatistics") -> "LabelStatistics":
        return LabelStatistics(self.pixels + other.pixels, self.confidence + other.confidence)

    def by_label(self) -> dict[str, tuple[int, float]]:
        """Pixels and confidence of each label that has pixels, for JSON."""
        present = np.flatnonzero(self.pixels).tolist()
        return {str(label): (int(self.pixels[label]), float(self.confidence[label])) for label in present}

    def add(self, by_label: Mapping[str, Sequence[int | float]]) -> None:
        """Add the output of `by_label`, in place, also as read from JSON."""
        for label, (pixels, confidence) in by_label.items():
            self.pixels[int(label)] += pixels
            self.confidence[int(label)] += confidence
        vars(self).pop("total", None)

    @functools.cached_property
    def total(self) -> int:
        """Number of all pixels."""
        return int(self.pixels.sum())

    @property
    def unlabeled(self) -> int:
        """Number of pixels without a class."""
        return int(self.pixels[UNLABELED])

    def entry(self, label: int) -> dict[str, Any]:
        """The report's entry of a label: "pixels", their "fraction", mean "confidence" (None without pixels)."""
        count = int(self.pixels[label])
        return {
            "pixels": count,
            "fraction": round(count / self.total, 6),
            "confidence": _mean(float(self.confidence[label]), count),
        }

    def listed(self, number: int, *, compact: bool) -> list[int]:
        """The labels below `number` that a report lists: those with pixels, or all."""
        return np.flatnonzero(self.pixels[:number]).tolist() if compact else list(range(number))

    def classes(self, words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], *, compact: bool) -> list[dict[str, Any]]:
        """The "classes" of a report."""
        return [
            {"id": label, "name": words[label], "color": colors[label].tolist(), **self.entry(label)}
            for label in self.listed(len(words), compact=compact)
        ]


@dataclass(frozen=True, kw_only=True)
class LabelSummary:
    """What there is to say about all words of an image or a video except the background."""

    confidence: float | None
    """Mean confidence of their pixels; None without pixels."""
    unsure_below: float | None
    not_found: list[str]
    """The words without pixels."""

    @property
    def quality(self) -> float | None:
        """That mean where it is the expected share of right pixels."""
        return None if self.unsure_below is None else self.confidence

    @property
    def unsure(self) -> bool:
        """Whether the quality is so low that perhaps none of the words is in the image."""
        return self.quality is not None and self.unsure_below is not None and self.quality < self.unsure_below

    @classmethod
    def of(
        cls, statistics: LabelStatistics, words: Sequence[str], background: str | None, unsure_below: float | None
    ) -> "LabelSummary":
        """Summarize the statistics of labels; see `LabeledFile`."""
        none = None if background is None else folded(background)
        own = [label for label, word in enumerate(words) if folded(word) != none]
        return cls(
            confidence=_mean(float(statistics.confidence[own].sum()), int(statistics.pixels[own].sum())),
            unsure_below=unsure_below,
            not_found=[words[label] for label in own if not statistics.pixels[label]],
        )

    def fields(self) -> dict[str, Any]:
        """Its part of a report: `SUMMARY`."""
        return {name: getattr(self, name) for name in SUMMARY}

    def notes(self) -> list[str]:
        """Lines for people: the quality, or else the mean confidence, and the absent words."""
        lines = [] if self.confidence is None else [f"mean confidence {self.confidence:.2f}"]
        if self.quality is not None:
            lines = [f"{'unsure: ' * self.unsure}expected accuracy {100 * self.quality:.0f} %"]
        if missing := [word.split(", ")[0] for word in self.not_found]:  # of a word with synonyms the first
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            lines.append(f"not found: {', '.join(missing[:5])}{more}")
        return lines


def summary_of(result: Any) -> LabelSummary:
    """Summarize a `Segmentation` or `LabeledFile`."""
    return LabelSummary.of(result.statistics, result.words, result.background, result.unsure_below)


def report_fields(result: Any, classes: list[Any], **parts: list[Any]) -> dict[str, Any]:
    """The fields of every report, of a `Segmentation` or `LabeledFile`, in their order."""
    return {
        "image": result.source,
        **{name: getattr(result, name) for name in ("width", "height", "model", "dtype")},
        "classes": classes,
        **parts,
        "unlabeled": result.statistics.unlabeled,
        **summary_of(result).fields(),
        "seconds": round(result.seconds, 3),
        "hints": list(map(str, result.hints)),
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class LabeledFile:
    """The result for a big image or a video, whose labels are in files."""

    source: str
    """Path of the file, as given."""
    height: int
    width: int
    """Size of the image or frames, upright [px]."""
    words: tuple[str, ...]
    background: str | None = None
    """The word that stands for "none of the others"."""
    statistics: LabelStatistics
    model: str
    dtype: str
    unsure_below: float | None = None
    """Quality below which perhaps none of the words is in it; None where the confidence is no probability."""
    hints: tuple[Hint, ...] = ()
    """What there is to say about its words and their labels."""
    seconds: float
    """Time for reading, labeling and drawing [s], over all calls."""

    @property
    def colors(self) -> UInt8[np.ndarray, "K 3"]:
        """RGB color of each class."""
        return word_colors(self.words, self.background)

    def report(self, *, compact: bool = False) -> dict[str, Any]:
        """The fields common to reports of files; compact: only the words that have pixels."""
        return report_fields(self, self.statistics.classes(self.words, self.colors, compact=compact))

    def notes(self) -> list[str]:
        """The quality, the absent words and the hints, a line each."""
        return [*summary_of(self).notes(), *map(str, self.hints)]


def json_text(report: dict[str, Any]) -> bytes:
    """Strict JSON with one class or part per line; bytes of a file name that aren't valid Unicode are escaped."""
    fields = {key: _dumps(value) for key, value in report.items()}
    for key in report.keys() & {"classes", "parts"}:
        fields[key] = "[\n" + ",\n".join(f"  {_dumps(entry)}" for entry in report[key]) + "\n ]"
    text = "{\n" + ",\n".join(f' "{key}": {value}' for key, value in fields.items()) + "\n}\n"
    return text.encode("utf-8", "backslashreplace")


def _mean(total: float, count: int) -> float | None:
    # Strict JSON has no NaN, which an overflowing network could produce.
    return round(total / count, 6) if count and math.isfinite(total) else None


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
