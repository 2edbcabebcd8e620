"""Statistics of vocabularies: how many classes an image contains, and how similar labels are to those of training.

ERR-Seg, Tables 1 and 2, and the scores of seen and unseen classes in Table 5.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.analysis.tables import markdown_table
from segvoc.data.benchmarks import BENCHMARKS, find_benchmark
from segvoc.data.labeled_images import read_classes
from segvoc.errors import InputError, UsageError
from segvoc.evaluation.label_similarity import NearestLabels
from segvoc.evaluation.metrics.confusion import Scores
from segvoc.evaluation.metrics.seen_classes import SeenScores, seen_scores
from segvoc.evaluation.runner import READER_THREADS
from segvoc.evaluation.task import EvaluationImage, EvaluationTask
from segvoc.imaging.label_maps import UNLABELED
from segvoc.progress import Progress
from segvoc.storage.json_files import read_json

SIMILARITIES = (1.0, 0.95, 0.9, 0.85)
"""Similarities for which Table 2 or its text gives the share of labels."""


@dataclass(frozen=True, kw_only=True)
class ImageClasses:
    """How many classes of a vocabulary an image contains (ERR-Seg, Table 1)."""

    title: str
    classes: int
    counts: tuple[int, ...]
    """For each image the number of classes with at least one pixel."""

    @property
    def mean(self) -> float:
        """Mean number of classes in an image ("Average")."""
        return float(np.mean(self.counts))

    @property
    def redundancy(self) -> float:
        """Share of the vocabulary that an image doesn't contain on average, in [0, 1] ("Redundancy")."""
        return 1 - self.mean / self.classes

    def facts(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return {
            "images": len(self.counts),
            "classes": self.classes,
            "mean": self.mean,
            "most": max(self.counts),
            "redundancy": self.redundancy,
        }


def count_classes(
    task: EvaluationTask, limit: int | None = None, on_problem: Callable[[str], object] = lambda message: None
) -> ImageClasses:
    """Count the classes in every image of a set.

    Args:
        task: the labeled images.
        limit: number of images, from the first; None: all.
        on_problem: receives one line about each image that can't be read.

    Raises:
        UsageError: no image can be read.
    """
    images, classes = task.select_images(limit), len(task.images.vocabulary)

    def present(image: EvaluationImage) -> int | InputError:
        try:
            labels = np.unique(np.concatenate([record.ravel() for record in image.read(classes).records]))
        except InputError as error:
            return error
        return int((labels != UNLABELED).sum())

    counts = []
    with (
        ThreadPoolExecutor(READER_THREADS) as readers,
        Progress(f"reading {task.title}", total=len(images)) as progress,
    ):
        for found in readers.map(present, images):
            if isinstance(found, InputError):
                on_problem(str(found))
            else:
                counts.append(found)
            progress.update()
    if not counts:
        raise UsageError(f"no image of {task.title} can be read; check its folders")
    return ImageClasses(title=task.title, classes=classes, counts=tuple(counts))


def training_labels(source: str) -> Sequence[str]:
    """The labels of a benchmark by its name, or those in a JSON file.

    Raises:
        UsageError: there is no such benchmark, or the file can't be read.
    """
    if source not in BENCHMARKS and Path(source).suffix.lower() == ".json":
        return read_classes(source).words
    return find_benchmark(source).classes


def image_classes_table(sets: Sequence[ImageClasses]) -> str:
    """Table 1 as Markdown, a row for each set."""
    rows = [
        (found.title, str(len(found.counts)), str(found.classes), f"{found.mean:.1f}", f"{found.redundancy:.1%}")
        for found in sets
    ]
    return markdown_table(("data", "images", "classes", "average in an image", "redundancy"), rows)


def similarity_table(labels: Mapping[str, NearestLabels]) -> str:
    """Table 2 as Markdown, a row for each list of labels by its title."""
    head = ("1.00" if value == 1 else f">= {value:.2f}" for value in SIMILARITIES)
    rows = ((title, *(f"{found.share(value):.2f}" for value in SIMILARITIES)) for title, found in labels.items())
    return markdown_table(("labels", *head), rows)


def similarity_facts(found: NearestLabels) -> dict[str, object]:
    """Plain values for a JSON file: shares, and for each label the most similar training label."""
    seen = found.seen()
    return {
        "shares": {f"{value:.2f}": found.share(value) for value in SIMILARITIES},
        "seen": len(seen),
        "labels": [
            {"name": name, "nearest": nearest, "similarity": float(value), "seen": name in seen}
            for name, nearest, value in zip(found.names, found.nearest, found.similarity, strict=True)
        ],
    }


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """The reports of an evaluation: one, or with several benchmarks that of each.

    Raises:
        UsageError: the folder holds no report, or one of parts, which have seen and unseen objects of their own.
    """
    try:
        report = read_json(folder / "report.json")
        found = (
            [report] if "classes" in report else [read_json(folder / entry["report"]) for entry in report["benchmarks"]]
        )
        parts = [entry["data"]["title"] for entry in found if entry["parts"] is not None]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{str(folder)!r} holds no report; give the --out folder of a `segvoc evaluate`") from None
    if parts:
        raise UsageError(f"{parts[0]} has seen and unseen parts of its own, which its report scores; leave it out")
    return found


def scores_of_report(report: Mapping[str, Any], seen: frozenset[str]) -> SeenScores:
    """The scores of a report's seen and of its unseen classes; a background is neither."""
    names, protocol = [entry["name"] for entry in report["classes"]], report["protocol"]
    collapsed = [] if protocol["collapse_from"] is None else names[protocol["collapse_from"] :]
    iou, accuracy = (
        np.array([_number(entry[name]) for entry in report["classes"]], np.float64) for name in ("iou", "accuracy")
    )
    means = {name: _number(report[name]) for name in ("miou", "fwiou", "pixel_accuracy", "mean_accuracy")}
    return seen_scores(
        Scores(**means, iou=iou, accuracy=accuracy), names, seen, apart=[protocol["background"], *collapsed]
    )


def seen_table(rows: Sequence[tuple[str, str, SeenScores]]) -> str:
    """Table 5 as Markdown: a row for each model and data."""
    head = ("model", "data", "mIoU of seen classes", "classes", "mIoU of unseen classes", "classes")
    lines = (
        (model, title, _percent(own.seen), str(own.seen_count), _percent(own.unseen), str(own.unseen_count))
        for model, title, own in rows
    )
    return markdown_table(head, lines)


def seen_facts(scores: SeenScores) -> dict[str, object]:
    """Plain values for a JSON file; None where a score is not defined."""
    return {name: None if value != value else value for name, value in asdict(scores).items()}


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _percent(value: float) -> str:
    return "" if value != value else f"{value:.2f}"
