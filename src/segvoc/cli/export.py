"""`segvoc export`: a model as a folder of ONNX programs."""

import sys

import click

from segvoc.cli.model_options import ModelOptions, export_options
from segvoc.errors import missing_extra, naming_torch
from segvoc.vocabulary import Vocabulary


@click.command()
@click.argument("model")
@click.argument("out")
@export_options
@click.option(
    "--dtype",
    "precision",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="Precision of most weights; int8 computes in float32.",
)
@click.option("--words-file", metavar="F", help="Fix the words: one a line. The folder then has no text encoder.")
def export(model: str, out: str, precision: str, words_file: str | None, chosen: ModelOptions) -> None:
    """Write MODEL as the folder OUT, which runs without PyTorch.

    MODEL is a preset or a .safetensors file of segvoc. OUT holds ONNX programs for images, words and text, a tokenizer,
    and segvoc.json; `segvoc segment --model OUT` and `segvoc.load("OUT")` take it. Before the folder appears, its
    results are compared with the model's on three images and two vocabularies.
    """
    vocabulary = None if words_file is None else Vocabulary.read(words_file)
    with naming_torch():
        try:
            from segvoc.export.export import export as export_model  # here, since PyTorch takes seconds to import
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in ("onnx", "onnx_ir", "onnxscript"):
                raise missing_extra("onnxscript", "export") from None
            raise
        from segvoc.models.loading import load_network

    network = load_network(model, weights=chosen.weights, device="cpu", dtype="float32", options=chosen.departures())

    def say(step: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"segvoc: {step} ...", err=True)

    found = export_model(network, out, dtype=precision, vocabulary=vocabulary, say=say)  # pyright: ignore[reportArgumentType]
    click.echo(
        f"{model}: logits differ by at most {found.difference:.1g} of the largest, "
        f"{found.equal_labels:.2%} of the labels are equal -> {out}"
    )
