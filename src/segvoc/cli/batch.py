"""`segvoc batch`: labels large image collections with Ray."""

from functools import partial
from typing import Any, get_args

import click

from segvoc.cli.options import (
    NETWORK_OPTIONS,
    FiniteRange,
    ModelOptions,
    WordOptions,
    label_options,
    model_options,
    part_options,
    word_options,
)
from segvoc.cli.output import echo, example, show_hints
from segvoc.errors import UsageError, counted
from segvoc.inference.hints import word_hints
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelOptions
from segvoc.labeling.batch.run import BatchRun
from segvoc.labeling.batch.work import Batch, Sink
from segvoc.runtime.progress import Progress, announced, print_line
from segvoc.vocabulary import PartVocabulary

MANY_FILES = 1_000_000
"""Number of images from which a hint says how many objects `--to files` makes."""


@click.command("batch", epilog=example('segvoc batch photos --words "cat, sofa, wall" --out labels'))
@click.argument("source")
@click.option("--out", required=True, metavar="SINK", help="Folder for the results: a path or a URL.")
@word_options
@part_options
@click.option("--model", default="tiny", metavar="NAME", help="A preset, or a path that exists on every node.")
@model_options(*NETWORK_OPTIONS, "taught", dtype="auto")
@label_options(*IMAGE_OPTIONS, "stretch")
@click.option(
    "--to",
    "sink",
    type=click.Choice(get_args(Sink)),
    default=Batch.sink,
    help="Format of the results; files: as segvoc segment writes them, without overlays.",
)
@click.option("--image-column", metavar="NAME", help="Parquet: the column with the images; tars: their suffix.")
@click.option("--address", metavar="RAY", help="Connect to this Ray cluster: auto, HOST:6379, ...")
@click.option("--workers", type=int, metavar="N", help="Number of model replicas; by default as many as fit.")
@click.option(
    "--cpus", type=FiniteRange(), default=Batch.cpus, metavar="C", help="CPU cores per replica; by default 2."
)
@click.option(
    "--gpus", type=FiniteRange(), default=Batch.gpus, metavar="G", help="GPUs per replica; 0.5: two share one."
)
@click.option(
    "--rows-a-file",
    type=int,
    default=Batch.rows_a_file,
    metavar="N",
    help=f"Parquet: rows of a file of results, by default {Batch.rows_a_file:,}.",
)
@click.option("--shard-images", type=int, default=Batch.shard_images, metavar="N", help="Images of a worker's task.")
@click.option("--retry-failed", is_flag=True, help="Label images that failed again.")
@click.option("--dry-run", is_flag=True, help="Count the images, label a sample, and say what the rest takes.")
@click.option("--price", type=FiniteRange(0), metavar="P", help="Price of a machine's hour, for --dry-run.")
def batch_command(
    source: str,
    out: str,
    words: WordOptions,
    parts: PartVocabulary | None,
    model: str,
    chosen: ModelOptions,
    labels: LabelOptions,
    dry_run: bool,
    price: float | None,
    **fields: Any,
) -> int:
    """Label all images of SOURCE with words, on a Ray cluster or on this machine.

    SOURCE is a folder of images, WebDataset tars or Parquet files, or one such file: a path, or a URL such as
    s3://bucket/folder (or gs://, abfs://, hdfs://), taken literally. Results are Parquet rows with a COCO RLE mask for
    each word in the image, or files.

    Run the same command again to resume. Images that can't be read get a result with an error.
    """
    if price is not None and not dry_run:
        raise UsageError("--price is only for --dry-run; add it, or leave out the price")
    vocabulary = words.vocabulary()
    batch = Batch(
        source=source,
        out=out,
        words=vocabulary,
        load=partial(chosen.open, model),
        parts=parts,
        options=labels,
        **fields,
    )
    if vocabulary is not None:
        fills_image = labels.fills_image and parts is None
        show_hints(word_hints(vocabulary, fills_image=fills_image))
    with announced("starting the workers and encoding the words"):
        made = BatchRun(batch, dry=dry_run)
    with made as run:
        for warning in run.warnings:
            print_line(f"segvoc: warning: {warning}")
        return _estimate(run, price) if dry_run else _label(run)


def _label(run: BatchRun) -> int:
    if run.before:
        print_line(f"segvoc: {run.before:,} images were already done")
    if run.failed:
        print_line(f"segvoc: {run.failed:,} images failed before; --retry-failed labels them again")
    has_warned = False
    with Progress("labeling", done=run.before) as progress:
        for outcome in run:
            if isinstance(outcome, str):
                continue
            for _, problem in outcome.problems:
                print_line(f"segvoc: error: {problem}")
            progress.expect(run.total)
            workers = counted(run.engine.workers, "worker")
            progress.update(outcome.images, note=f"{run.failed:,} failed, {workers}")
            if not has_warned and run.batch.sink == "files" and (run.total or run.images) >= MANY_FILES:
                has_warned = True
                print_line(f"segvoc: hint: {_many_files(run)}")
    for problem in run.problems:
        print_line(f"segvoc: error: {problem}")
    echo(f"{run.batch.source}: {run.images} images -> {run.batch.out}, of which {run.failed} failed")
    return 1 if run.failed or run.problems else 0


def _estimate(run: BatchRun, price: float | None) -> int:
    if run.before:
        echo(f"done before: {run.before:,} images, of which {run.failed_before:,} failed")
    with Progress("counting", unit="file") as progress:
        rest = run.rest(progress.update)
    with announced("labeling a sample"):
        estimate = run.estimate(rest)
    for line in estimate.lines(price):
        echo(line)
    if run.batch.sink == "files" and estimate.images >= MANY_FILES:
        echo(_many_files(run))
    for problem in run.problems:
        print_line(f"segvoc: error: {problem}")
    return 1 if run.problems else 0


def _many_files(run: BatchRun) -> str:
    number = "three" if run.batch.parts is not None else "two"
    return f"--to files makes {number} objects for an image; --to parquet makes one for {Batch.rows_a_file:,} images"
