"""`segvoc analyze vocabulary`: classes in an image, and similarity of labels to those of training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segvoc.cli.benchmark_options import SeveralBenchmarks, refuse_twice, training_labels_option
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, model_options
from segvoc.cli.output import echo
from segvoc.errors import UsageError

if TYPE_CHECKING:
    from segvoc.evaluation.task import EvaluationTask


@click.command(cls=SeveralBenchmarks)
@click.option("--benchmark", "benchmarks", multiple=True, metavar="NAME...", help="Benchmarks, by name.")
@click.option("--data", metavar="ROOT", help="The data folder that they were prepared in: count classes in images.")
@click.option("--images", metavar="FOLDER", help="Your own images, in place of benchmarks.")
@click.option("--labels", metavar="FOLDER", help="Their label maps: count classes in images.")
@click.option("--classes", metavar="FILE", help="Your own class names: a JSON list, in the order of the labels.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Count in the first N images only.")
@click.option("--model", metavar="NAME", help="Compare labels by its text encoder: a preset or a .safetensors file.")
@training_labels_option
@click.option("--out", default="out", metavar="FOLDER", help="Folder for the tables.")
@model_options(*NETWORK_OPTIONS)
def vocabulary(
    benchmarks: Sequence[str],
    data: str | None,
    images: str | None,
    labels: str | None,
    classes: str | None,
    limit: int | None,
    model: str | None,
    training: str,
    out: str,
    chosen: ModelOptions,
) -> int:
    """Count the classes in an image, and compare labels with those of training (ERR-Seg, Tables 1 and 2).

    \b
    segvoc analyze vocabulary --benchmark pas-20 pc-59 a-150 pc-459 a-847 --data ROOT
    segvoc analyze vocabulary --benchmark pas-20 pc-59 a-150 pc-459 a-847 --model err-seg-b --weights W

    With --data or --labels, counts the classes in the label maps of each image. With --model, finds the most similar
    training label of each label, which needs no data. Writes vocabulary.md and vocabulary.json.
    """
    _check(benchmarks, data, {"--images": images, "--labels": labels, "--classes": classes}, model)
    from segvoc.analysis import vocabularies  # here, since PyTorch takes seconds to import
    from segvoc.analysis.tables import save_table
    from segvoc.data.benchmarks import find_benchmark
    from segvoc.data.labeled_images import read_classes
    from segvoc.progress import print_line
    from segvoc.version import __version__

    names = {name: find_benchmark(name) for name in benchmarks}
    lists = {found.title: found.classes for found in names.values()}
    if classes is not None:
        lists = {Path(classes).stem: read_classes(classes).words}
    known = vocabularies.training_labels(training) if model is not None else ()
    problems = 0

    def warn(problem: str) -> None:
        nonlocal problems
        problems += 1
        print_line(f"segvoc: error: {problem}")

    tables, facts = [], {"segvoc": __version__}
    if tasks := _tasks(benchmarks, data, images, labels, classes):
        counted = [vocabularies.count_classes(task, limit, warn) for task in tasks]
        tables.append(vocabularies.image_classes_table(counted))
        facts |= {"limit": limit, "images": {found.title: found.facts() for found in counted}}
    if model is not None:
        from segvoc.evaluation.label_similarity import nearest_labels

        segmenter = chosen.load(model)
        nearest = {title: nearest_labels(segmenter, words, known) for title, words in lists.items()}
        tables.append(vocabularies.similarity_table(nearest))
        facts |= {
            **{"model": model, "weights": chosen.weights, "options": dict(chosen.departures())},
            **{"templates": list(segmenter.templates), "training": training},
            "similarity": {title: vocabularies.similarity_facts(found) for title, found in nearest.items()},
        }
    text = "\n".join(tables)
    save_table(Path(out), "vocabulary", text, facts)
    echo(text, nl=False)
    return 1 if problems else 0


def _check(benchmarks: Sequence[str], data: str | None, own: Mapping[str, str | None], model: str | None) -> None:
    """Check what the statistics are of, before anything is imported."""
    refuse_twice(benchmarks)
    given = [option for option, value in own.items() if value is not None]
    if bool(benchmarks) == bool(given):
        raise UsageError("give --benchmark NAME..., or your own --classes, with --images and --labels to count in them")
    if given and own["--classes"] is None:
        raise UsageError(f"{given[0]} is given without --classes; give the class names too")
    if (own["--images"] is None) != (own["--labels"] is None):
        raise UsageError("--images and --labels belong together; give both, or neither")
    if data is not None and not benchmarks:
        raise UsageError("--data is for benchmarks; leave it out, or name some with --benchmark")
    if data is None and own["--labels"] is None and model is None:
        raise UsageError("give --data ROOT (or --images and --labels) to count classes, or --model to compare labels")


def _tasks(
    benchmarks: Sequence[str], data: str | None, images: str | None, labels: str | None, classes: str | None
) -> list["EvaluationTask"]:
    """The sets whose images are counted; all are opened before the first is read."""
    from segvoc.evaluation.task import EvaluationTask

    if images is not None and labels is not None and classes is not None:
        return [EvaluationTask.of_folders(images, labels, classes)]
    return [] if data is None else [EvaluationTask.of_benchmark(name, data) for name in benchmarks]
