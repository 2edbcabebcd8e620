"""`segvoc batch`: labels large image collections with Ray."""

from functools import partial
from typing import Any, get_args

import click

from segvoc.cli.options import (
    NETWORK_OPTIONS,
    ModelOptions,
    WordOptions,
    label_options,
    model_options,
    part_options,
    word_options,
)
from segvoc.cli.output import echo, example, show_hints
from segvoc.inference.hints import word_hints
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelOptions
from segvoc.labeling.batch.run import BatchRun
from segvoc.labeling.batch.work import Batch, Record, Sink
from segvoc.runtime.progress import Progress, print_line
from segvoc.vocabulary import PartVocabulary


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
@click.option("--cpus", type=float, default=Batch.cpus, metavar="C", help="CPU cores per replica; by default 2.")
@click.option("--gpus", type=float, default=Batch.gpus, metavar="G", help="GPUs per replica; 0.5: two share one.")
@click.option("--shard-images", type=int, default=Batch.shard_images, metavar="N", help="Images per shard.")
@click.option("--retry-failed", is_flag=True, help="Redo the shards in which images failed.")
def batch_command(
    source: str,
    out: str,
    words: WordOptions,
    parts: PartVocabulary | None,
    model: str,
    chosen: ModelOptions,
    labels: LabelOptions,
    **fields: Any,
) -> int:
    """Label all images of SOURCE with words, on a Ray cluster or on this machine.

    SOURCE is a folder of images, WebDataset tars or Parquet files, or one such file: a path, or a URL such as
    s3://bucket/folder (or gs://, abfs://, hdfs://). Results are Parquet rows with a COCO RLE mask for each word
    in the image, or files.

    Run the same command again to resume. Images that can't be read get a result with an error.
    """
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
    with BatchRun(batch) as run:
        return _label(run)


def _label(run: BatchRun) -> int:
    for warning in run.warnings:
        print_line(f"segvoc: warning: {warning}")
    if run.before:
        print_line(f"segvoc: {run.before}{'' if run.total is None else f' of {run.total}'} images were already done")
    if run.failed:
        print_line(f"segvoc: {len(run.failed)} images failed before; --retry-failed does their shards again")
    with Progress("labeling", total=run.total, done=run.before) as progress:
        for outcome in run:
            if not isinstance(outcome, Record):
                continue
            for _, problem in outcome.failed:
                print_line(f"segvoc: error: {problem}")
            progress.update(outcome.images)
    for problem in run.problems:
        print_line(f"segvoc: error: {problem}")
    echo(f"{run.batch.source}: {run.images} images -> {run.batch.out}, of which {len(run.failed)} failed")
    return 1 if run.failed or run.problems else 0
