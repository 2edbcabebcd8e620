"""`segvoc page`: a web page that labels in the browser, as a folder of files."""

import shutil
from functools import partial
from pathlib import Path

import click

import segvoc
from segvoc.cli.options import ModelOptions, model_options
from segvoc.cli.output import echo
from segvoc.inference.exported.manifest import add_taught, is_exported
from segvoc.models.shipped import copy_tiny
from segvoc_annotate.static_page import write_page


@click.command()
@click.argument("model")
@click.argument("out")
@model_options("weights", "options", "taught")
def page(model: str, out: str, chosen: ModelOptions) -> None:
    """Write a web page to the folder OUT that labels images with MODEL, in the browser.

    \b
    segvoc page tiny site
    python -m http.server --directory site

    Any static server can serve OUT; images stay in the browser. MODEL is a preset, a segvoc .safetensors file, or a
    folder of ONNX programs from `segvoc export`, for example with other weights, in float16 or for fixed words.
    """
    if is_exported(Path(model)):
        if chosen != ModelOptions(options=()):
            raise segvoc.UsageError(f"{model!r} is an exported folder with fixed weights; leave out the options")
        write_model = partial(shutil.copytree, model)
    elif model == "tiny" and (chosen.weights, chosen.options) == (None, ()):
        write_model = partial(_write_tiny, chosen)
    else:
        write_model = partial(_export, model, chosen)
    write_page(Path(out), write_model)
    echo(f"-> {out}")


def _write_tiny(chosen: ModelOptions, folder: Path) -> None:
    """Write the shipped programs."""
    folder.mkdir()
    copy_tiny(folder)
    add_taught(folder, chosen.open("tiny").taught)


def _export(model: str, chosen: ModelOptions, folder: Path) -> None:
    segvoc.export(chosen.open_network(model, device="cpu"), folder)
