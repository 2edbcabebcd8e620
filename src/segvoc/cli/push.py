"""`segvoc push`: shares a model on the Hugging Face hub."""

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segvoc.checkpoints.hub import WORDS_SUFFIX
from segvoc.cli.output import echo, example
from segvoc.errors import UsageError
from segvoc.models.sharing import push, shareable

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter


@click.command("push", epilog=example("segvoc push run my-name/facades --private"))
@click.argument("source")
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private/--public", default=None, help="Whether a new repository is private.")
@click.option("--revision", metavar="BRANCH", help="Branch to write to, created if missing; by default main.")
@click.option("--license", metavar="SPDX", help="The model's license, such as apache-2.0.")
@click.option(
    "--weights/--words-alone",
    default=None,
    help="Upload the network's weights, or only taught words; by default weights unless they ship with segvoc.",
)
@click.option("--data", metavar="TEXT", help="The training images and their license, for the card.")
@click.option("--model", metavar="NAME", help="The model of a *.words.safetensors file.")
@click.option("--no-images", is_flag=True, help="Leave the run's images off the card.")
@click.option("--keep-card", is_flag=True, help="Keep the card of an existing repository.")
@click.option("--out", metavar="DIR", help="Dry run: write everything to this folder, upload nothing.")
def push_command(
    source: str,
    repository: str,
    private: bool | None,
    revision: str | None,
    license: str | None,
    weights: bool | None,
    data: str | None,
    model: str | None,
    no_images: bool,
    keep_card: bool,
    out: str | None,
) -> None:
    """Share SOURCE on the Hugging Face hub, with a model card.

    SOURCE is a run folder, a segvoc .safetensors file, or a file of taught words. Others load it by its name:
    segvoc segment photo.jpg --model OWNER/NAME. Log in once with `hf auth login`, or set HF_TOKEN.
    """
    shared = shareable(_opened(source, model), weights=weights)
    if os.path.isdir(source) and find_spec("torch") is not None:
        from segvoc.training.shared_run import is_run, shareable_run

        shared = shareable_run(shared, source, images=not no_images) if is_run(source) else shared
    shared = replace(shared, data={**({"source": data} if data else {}), **shared.data})
    if out is not None:
        if Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
            raise UsageError(f"{out!r} exists already; name a new folder")
        push(shared, repository, license=license, out=out)
        echo(f"-> {out}: look at {os.path.join(out, 'README.md')}")
        return
    if shown := len(shared.shown.keys() - {"curves.png"}):
        echo(f"segvoc: the card shows {shown} of the run's images (--no-images: none)", err=True)
    name = repository if revision is None else f"{repository}@{revision}"
    address = push(shared, name, private=private, license=license, keep_card=keep_card)
    echo(f"-> {address}")
    words = ", ".join(shared.words[:3]) or "cat, sofa, wall"
    echo(f'segvoc segment photo.jpg --model {name} --words "{words}"')


def _opened(source: str, model: str | None) -> "Segmenter":
    """Load the model, with its taught words if SOURCE has them."""
    from segvoc.models.opening import load

    if not source.endswith(WORDS_SUFFIX):
        if model is not None:
            raise UsageError(f"--model is for files of taught words (*{WORDS_SUFFIX}); leave it out for {source!r}")
        try:
            return load(source, device="cpu", dtype="float32")
        except UsageError:
            from segvoc.models.presets import PRESETS

            if os.path.exists(source) or source in PRESETS or "/" in source.strip("/"):
                raise
            wanted = "give a run folder of segvoc train, or a .safetensors file"
            raise UsageError(f"{source!r} does not exist; {wanted}") from None
    from segvoc.inference.taught.taught_words import TaughtWords

    taught = TaughtWords.load(source)
    return load(model or taught.record.model, device="cpu", dtype="float32").with_taught(taught)
