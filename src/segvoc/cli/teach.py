"""`segvoc teach`: learns words from labeled images, and scores them on held-out images."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from segvoc.cli.dataset_options import DatasetOptions, dataset_options
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, model_options
from segvoc.cli.output import echo, example, worse_line
from segvoc.data.labeled_images import unlabeled_row
from segvoc.runtime.progress import Progress, aligned, announced, printable
from segvoc.storage.files import strict_json
from segvoc.storage.records import to_json

if TYPE_CHECKING:
    from segvoc.inference.taught.taught_words import TeachingRecord


@click.command("teach", epilog=example("segvoc teach --dataset labeled --out facades.words.safetensors"))
@dataset_options
@click.option("--model", default="tiny", metavar="NAME", help="The model to teach, or its path.")
@model_options(*NETWORK_OPTIONS)
@click.option("--out", required=True, metavar="FILE", help="The file to write, such as street.words.safetensors.")
@click.option("--keep-worse", is_flag=True, help="Also keep the examples of words that get worse with them.")
@click.option("--seed", type=click.IntRange(0), default=0, metavar="N", help="Random seed.")
@click.option("--json", "as_json", is_flag=True, help="Print the file's record of its words as one line of JSON.")
def teach_command(
    model: str, out: str, keep_worse: bool, seed: int, as_json: bool, dataset: DatasetOptions, chosen: ModelOptions
) -> None:
    """Learn words from labeled images (--images, --labels, --classes; or --dataset), for --taught of other commands.

    Twenty images are often enough, and pixels may be unlabeled: scribbles and single regions are enough. The network
    stays frozen: FILE holds a small classifier per word. Words whose examples lower the IoU on held-out images keep
    their text embeddings.
    """
    with announced("reading the dataset"):
        examples = dataset.read()
    from segvoc.inference.teaching import teach

    with ExitStack() as stack:
        show = _shown(stack)
        show("opening the model", 0, 1)
        segmenter = chosen.open(model)
        taught = teach(segmenter, examples, keep_worse=keep_worse, seed=seed, on_step=show)
    taught.save(out)
    if as_json:
        echo(strict_json(to_json(taught.record)))
        return
    echo("\n".join(_table(taught.record)))
    if (row := unlabeled_row(taught.record.unlabeled, are_shapes=examples.are_shapes)) is not None:
        echo(row)
    if taught.record.edges:
        echo("Edge refinement on (it scored better); disable with --no-edges")
    for line in _losses(taught.record):
        echo(f"segvoc: {line}", err=True)
    echo(f"-> {out}")


def _losses(record: "TeachingRecord") -> Iterator[str]:
    """What is no better by the examples, in lines, and what to try."""
    if kept := [word.name for word in record.words if word.keeps_text]:
        yield f"no better few-shot, so they keep their text: {', '.join(kept)}"
    taught = [(word.name, word.before, word.after) for word in record.words if not word.keeps_text]
    worse = [name for name, before, after in taught if before is not None and after is not None and after < before]
    if worse:
        yield f"worse, also by their text beside the others: {', '.join(worse)}"
    scores = {
        "mean IoU": (record.miou_before, record.miou),
        "pixel accuracy": (record.accuracy_before, record.accuracy),
    }
    if (line := worse_line(scores, "label more images, and what surrounds the words")) is not None:
        yield line


def _shown(stack: ExitStack) -> Callable[[str, int, int], None]:
    bars: dict[str, Progress] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in bars:
            stack.close()
            unit = {"opening the model": "model", "fitting classifiers": "fit"}.get(what, "image")
            bars[what] = stack.enter_context(Progress(what, total=total, unit=unit, early=True))
        bars[what].update(done - bars[what].done)

    return show


def _table(record: "TeachingRecord") -> list[str]:
    rows = [["word", "images", "pixels", "zero-shot", "few-shot"]]
    for word in record.words:
        after = "keeps text" if word.keeps_text else _percent(word.after)
        rows.append([printable(word.name), str(word.images), str(word.pixels), _percent(word.before), after])
    means = [_percent(record.miou_before), _percent(record.miou)]
    right = [_percent(record.accuracy_before), _percent(record.accuracy)]
    rows += [["mean IoU", "", "", *means], ["pixel accuracy", "", "", *right]]
    title = f"IoU of {len(record.words)} words on images that were held out [%], learned from {record.images} images"
    return [title, *aligned(rows)]


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{score:.1f}"
