"""`segvoc export`: exports a model to a folder of programs."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import click

from segvoc.cli.options import ModelOptions, model_options
from segvoc.cli.output import echo, example
from segvoc.errors import missing_extra
from segvoc.inference.exported.manifest import ExportDtype, ExportFormat, add_taught, export_in_the_making
from segvoc.models.resolving import SHIPPED_PROGRAMS
from segvoc.models.shipped import copy_tiny
from segvoc.vocabulary import Vocabulary


@click.command("export", epilog=example("segvoc export tiny exported --dtype float16"))
@click.argument("model")
@click.argument("out")
@model_options("weights", "options", "taught")
@click.option(
    "--format",
    type=click.Choice(get_args(ExportFormat)),
    default="onnx",
    help="ONNX programs, or a Triton model repository of them.",
)
@click.option(
    "--dtype",
    "precision",
    type=click.Choice(get_args(ExportDtype)),
    default="float32",
    help="Precision of most weights; int8 computes in float32.",
)
@click.option(
    "--words-file", metavar="F", help="Fix the vocabulary, one word per line; the folder then has no text encoder."
)
def export_command(
    model: str, out: str, format: ExportFormat, precision: ExportDtype, words_file: str | None, chosen: ModelOptions
) -> None:
    """Export MODEL to the folder OUT, as ONNX programs that run without PyTorch and the model's code.

    MODEL is a preset, a segvoc .safetensors file, the folder of a run or OWNER/NAME on the Hugging Face hub. OUT
    contains programs for images, words and text, a tokenizer, and segvoc.json; `segvoc segment --model OUT` and
    `segvoc.load("OUT")` open it. Before OUT appears, its results are compared with the model's on three images and two
    vocabularies. With --taught, OUT includes and applies the taught words.
    """
    vocabulary = None if words_file is None else Vocabulary.read(words_file)
    if find_spec("torch") is not None and not (find_spec("onnx") and find_spec("onnxscript")):
        raise missing_extra("onnxscript", "export")
    plain = (chosen, format, precision, vocabulary) == (ModelOptions(taught=chosen.taught), "onnx", "float32", None)
    if model in SHIPPED_PROGRAMS and plain and find_spec("torch") is None:
        with export_in_the_making(Path(out)) as inside:
            copy_tiny(inside)
            add_taught(inside, chosen.open(model).taught)
        echo(f"{model}: the programs that ship; they can't be compared with the network without PyTorch -> {out}")
        return
    network = chosen.open_network(model, device="cpu")
    from segvoc.exporting.export import export  # here, since PyTorch takes seconds to import

    def say(step: str) -> None:
        if sys.stderr is not None and sys.stderr.isatty():
            echo(f"segvoc: {step} ...", err=True)

    comparison = export(network, out, format=format, dtype=precision, vocabulary=vocabulary, say=say)
    echo(
        f"{model}: logits differ by at most {comparison.difference:.1g} of the largest, "
        f"{comparison.equal_labels:.2%} of the labels are equal -> {out}"
    )
