"""`segvoc push`: shares a model on the Hugging Face hub."""

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segvoc.checkpoints.hub import WORDS_SUFFIX
from segvoc.cli.output import echo, example
from segvoc.errors import UsageError, missing_extra
from segvoc.models.sharing import push, shareable

if TYPE_CHECKING:
    from segvoc.inference.segmenter import Segmenter
    from segvoc.models.sharing import ShareableModel


@click.command("push", epilog=example("segvoc push run my-name/facades --private"))
@click.argument("source")
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private/--public", default=None, help="Whether a new repository is private.")
@click.option("--revision", metavar="BRANCH", help="Branch to write to, created if missing; by default main.")
@click.option("--license", metavar="SPDX", help="The model's license, such as apache-2.0.")
@click.option(
    "--report", "reports", multiple=True, metavar="DIR", help="A report of segvoc evaluate, for the card; repeatable."
)
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
    reports: Sequence[str],
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
    opened = _opened(source, model)
    shared = shareable(opened, weights=weights)
    if os.path.isdir(source) and find_spec("torch") is not None:
        from segvoc.training.shared_run import is_run, shareable_run

        shared = shareable_run(shared, source, images=not no_images) if is_run(source) else shared
    shared = _with_scores(shared, opened, reports)
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
        return load(source, device="cpu", dtype="float32")
    from segvoc.inference.taught.taught_words import TaughtWords

    taught = TaughtWords.load(source)
    return load(model or taught.record.model, device="cpu", dtype="float32").with_taught(taught)


def _with_scores(shared: "ShareableModel", opened: "Segmenter", reports: Sequence[str]) -> "ShareableModel":
    """Add the scores of reports to the model's card, before those of its run."""
    if not reports:
        return shared
    from segvoc.checkpoints.origins import content_hash
    from segvoc.evaluation.score_tables import shared_scores
    from segvoc.models.network_segmenter import NetworkSegmenter

    if not isinstance(opened, NetworkSegmenter):
        raise missing_extra("PyTorch", "torch")
    weights, taught = content_hash(opened.network), [words.digest for words in opened.taught]
    tables = [shared_scores(report, weights, taught) for report in reports]
    return replace(shared, scores=(*tables, *shared.scores))
