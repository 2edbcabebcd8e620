"""`segvoc convert`: converts an official checkpoint to a segvoc file."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from segvoc.cli.options import setting_option
from segvoc.cli.output import echo, example

if TYPE_CHECKING:
    from segvoc.models.conversion import Conversion


@click.command("convert", epilog=example("segvoc convert official.pth cat-seg-b.safetensors --model cat-seg-b"))
@click.argument("official")
@click.argument("out")
@click.option("--model", required=True, metavar="NAME", help="The preset that the checkpoint is for.")
@setting_option("Change a setting of the preset, such as dense=qq; repeatable.")
@click.option(
    "--encoder-weights",
    metavar="FILE",
    help="A plain CLIP for a checkpoint without one (CLIPSeg's), DINOv3 for dino.txt's.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def convert_command(
    official: str, out: str, model: str, options: Sequence[str], encoder_weights: str | None, overwrite: bool
) -> None:
    """Convert the checkpoint OFFICIAL to OUT, a segvoc .safetensors file that records its model, origin and license.

    OFFICIAL is in any published format: CAT-Seg's or PCA-Seg's code, CLIPSeg, or a plain CLIP (OpenAI, open_clip,
    transformers, EVA-CLIP or DeCLIP; writes only the encoders). No code in the checkpoint is run.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        echo(f"segvoc: reading {official} ...", err=True)
    from segvoc.models.conversion import convert  # here, since PyTorch takes seconds to import
    from segvoc.storage.records import parse_settings

    given = {"encoder_weights": encoder_weights, "overwrite": overwrite}
    done = convert(official, out, model, parse_settings(options), **given)
    echo(f"{official}: {_summary(done, model)} -> {out}")


def _summary(done: "Conversion", model: str) -> str:
    what = f"{done.tensors} tensors of {model}" + (", the towers alone" if done.parts else "")
    if done.published is None:
        return f"{what}; its sha256 {done.sha256[:12]}... is of no published file that segvoc knows, license unknown"
    whose = f"{done.published.filename} of {done.published.place.origin}"
    return f"{what}; its sha256 {done.sha256[:12]}... is that of {whose} ({done.published.license})"
