"""Statistics of vocabularies: classes per image, and similarity of labels to training labels.

ERR-Seg, Tables 1 and 2 and the ground truth of Table 9; SynSeg, Table IV.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

from papers.drawing import markdown_table, save_table
from papers.view_options import out_option
from segvoc.cli import run_command
from segvoc.cli.dataset_options import SeveralBenchmarks, refuse_twice
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, model_options
from segvoc.cli.output import echo
from segvoc.data.benchmarks import BENCHMARKS, find_benchmark
from segvoc.errors import InputError, UsageError
from segvoc.evaluation.task import EvaluationTask
from segvoc.imaging.label_maps import UNLABELED
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.runtime.progress import Progress, print_line
from segvoc.runtime.version import __version__
from segvoc.vocabulary import Vocabulary

SIMILARITIES = (1.0, 0.95, 0.9, 0.85)
"""Similarities in Table 2 or its text."""

SEEN_ABOVE = 0.95
"""A label that is more similar than this to a training label counts as seen (Sec. 4.2.1).

The paper states the opposite ("unseen classes are defined as those with a label similarity exceeding
0.95"). Its own numbers contradict that: by Table 2, 41 % of A-150's labels are at least 0.95 similar, and
0.41 x 44.7 + 0.59 x 29.4 = 35.7 is Table 3's 35.8 mIoU only if the 44.7 of "seen" are theirs."""

EQUAL_WITHIN = 1e-4
"""Cosines within this of 1 count as 1 (equal prompts)."""

training_labels_option = click.option(
    "--training",
    default="coco-stuff",
    metavar="NAME",
    help="The training labels: a benchmark, or a JSON list of names.",
)


@click.command(cls=SeveralBenchmarks)
@click.option("--benchmark", "benchmarks", multiple=True, required=True, metavar="NAME...", help="Benchmarks, by name.")
@click.option("--data", metavar="ROOT", help="Count classes in images prepared in this data folder.")
@click.option("--model", metavar="NAME", help="Compare labels by its text encoder: a preset or a .safetensors file.")
@click.option("--unlabeled", is_flag=True, help="Count unlabeled pixels as a class.")
@training_labels_option
@out_option
@model_options(*NETWORK_OPTIONS)
def vocabulary(
    benchmarks: Sequence[str],
    data: str | None,
    model: str | None,
    unlabeled: bool,
    training: str,
    out: str,
    chosen: ModelOptions,
) -> int:
    """Count the classes per image, and compare labels with training labels (ERR-Seg, Tables 1 and 2).

    \b
    python -m papers.vocabulary --benchmark pas-20 pc-59 a-150 pc-459 a-847 --data ROOT
    python -m papers.vocabulary --benchmark pas-20 pc-59 a-150 pc-459 a-847 --model err-seg-b --weights W

    --data counts the classes in the label maps of each image. --model finds the most similar training label of each
    label, which needs no data. Writes vocabulary.md and vocabulary.json.
    """
    refuse_twice(benchmarks)
    if data is None and model is None:
        raise UsageError("give --data ROOT to count classes, or --model to compare labels")
    lists = {found.title: found.classes for found in map(find_benchmark, benchmarks)}
    problems: list[str] = []

    def warn(problem: str) -> None:
        problems.append(problem)
        print_line(f"segvoc: error: {problem}")

    tables, facts = [], {"segvoc": __version__}
    if data is not None:
        tasks = [EvaluationTask.of_benchmark(name, data) for name in benchmarks]  # check all before reading any
        counted = [count_classes(task, warn, unlabeled=unlabeled) for task in tasks]
        tables.append(image_classes_table(counted))
        facts |= {"images": {found.title: found.facts() for found in counted}}
    if model is not None:
        known = training_labels(training)
        segmenter = chosen.open_network(model)
        nearest = {title: nearest_labels(segmenter, words, known) for title, words in lists.items()}
        tables.append(similarity_table(nearest))
        facts |= {
            **{"model": model, "weights": chosen.weights, "options": dict(chosen.departures())},
            **{"templates": list(segmenter.templates), "training": training},
            "similarity": {title: similarity_facts(found) for title, found in nearest.items()},
        }
    text = "\n".join(tables)
    save_table(Path(out), "vocabulary", text, facts)
    echo(text, nl=False)
    return 1 if problems else 0


@dataclass(frozen=True, kw_only=True)
class ImageClasses:
    """Number of classes of a vocabulary in each image (ERR-Seg, Table 1)."""

    title: str
    classes: int
    counts: tuple[int, ...]
    """Number of classes with at least one pixel, per image."""

    @property
    def mean(self) -> float:
        """Mean number of classes per image ("Average")."""
        return float(np.mean(self.counts))

    @property
    def redundancy(self) -> float:
        """Mean share of the vocabulary that is absent from an image, in [0, 1] ("Redundancy")."""
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
    task: EvaluationTask, on_problem: Callable[[str], object] = lambda message: None, *, unlabeled: bool = False
) -> ImageClasses:
    """Count the classes in every image of a set; with `unlabeled`, unlabeled pixels count as a class.

    `on_problem` receives a line per unreadable image.
    """
    images, classes, counts = task.select_images(None), len(task.images.vocabulary), []
    with Progress(f"reading {task.title}", total=len(images)) as progress:
        for image in progress.over(images):
            try:
                labels = np.unique(np.concatenate([record.ravel() for record in image.read(classes).records]))
            except InputError as error:
                on_problem(str(error))
            else:
                counts.append(int((unlabeled | (labels != UNLABELED)).sum()))
    if not counts:
        raise UsageError(f"no image of {task.title} can be read; check its folders")
    return ImageClasses(title=task.title, classes=classes + unlabeled, counts=tuple(counts))


def training_labels(source: str) -> Sequence[str]:
    """Read the labels of a benchmark, or of a JSON file."""
    if source not in BENCHMARKS and Path(source).suffix.lower() == ".json":
        return Vocabulary.read(source).words
    return find_benchmark(source).classes


def image_classes_table(sets: Sequence[ImageClasses]) -> str:
    """Table 1 as Markdown, a row per set."""
    rows = [
        (found.title, str(len(found.counts)), str(found.classes), f"{found.mean:.1f}", f"{found.redundancy:.1%}")
        for found in sets
    ]
    return markdown_table(("data", "images", "classes", "average in an image", "redundancy"), rows)


@dataclass(frozen=True, kw_only=True)
class NearestLabels:
    """The most similar training label of each of K labels."""

    names: tuple[str, ...]
    nearest: tuple[str, ...]
    """Their most similar training labels; ties go to the first."""
    similarity: Float32[np.ndarray, " K"]
    """Cosine of the two embeddings, in [-1, 1]."""

    def share(self, similarity: float) -> float:
        """Share of the labels, in [0, 1], that are at least this similar (Table 2)."""
        return float((self.similarity >= similarity - (EQUAL_WITHIN if similarity == 1 else 0)).mean())

    def seen(self, above: float = SEEN_ABOVE) -> frozenset[str]:
        """The labels whose similarity is above a threshold (Table 5)."""
        return frozenset(name for name, value in zip(self.names, self.similarity, strict=True) if value > above)


def nearest_labels(segmenter: NetworkSegmenter, names: Sequence[str], training: Sequence[str]) -> NearestLabels:
    """Compare labels with training labels by a network's text encoder.

    Labels are embedded as for segmentation: the mean over the network's prompt templates; only the first synonym
    counts.
    """
    labels, known = Vocabulary(names), Vocabulary(training)
    # float64, so that summation order can't decide what exceeds the threshold
    cosines = _embeddings(segmenter, labels) @ _embeddings(segmenter, known).T
    similarity, index = cosines.max(dim=1)
    return NearestLabels(
        names=labels.words,
        nearest=tuple(known.words[at] for at in index.tolist()),
        similarity=similarity.float().numpy(),
    )


def _embeddings(segmenter: NetworkSegmenter, vocabulary: Vocabulary) -> Tensor:
    embedded = cast(Tensor, segmenter.encode_words(vocabulary)).detach().cpu().to(torch.float64)
    return F.normalize(F.normalize(embedded, dim=-1).mean(dim=1), dim=-1)


def similarity_table(labels: Mapping[str, NearestLabels]) -> str:
    """Table 2 as Markdown, a row per list of labels, by title."""
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


if __name__ == "__main__":
    run_command(vocabulary, "python -m papers.vocabulary")
