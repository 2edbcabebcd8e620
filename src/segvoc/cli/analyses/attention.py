"""`segvoc analyze attention`: spatial attention with and without the redundant classes."""

from collections.abc import Sequence

import click

from segvoc.cli.output import echo
from segvoc.cli.view_options import ViewOptions, view_options
from segvoc.errors import UsageError


@click.command()
@click.argument("image")
@view_options("window", "keep_classes")
@click.option("--show", multiple=True, metavar="WORD", help="Show this word only; repeat for more.")
@click.option("--at", metavar="X,Y", help="The pixel whose attention is shown; by default each word's likeliest.")
@click.option("--block", type=click.IntRange(1), metavar="N", help="The block that is drawn; by default the last.")
def attention(
    image: str,
    show: Sequence[str],
    at: str | None,
    block: int | None,
    view: ViewOptions,
) -> None:
    """Draw ERR-Seg's spatial attention on IMAGE with the kept classes alone and with all classes (ERR-Seg, Fig. 2).

    \b
    segvoc analyze attention photo.jpg --words-file ade847.txt --model err-seg-b --weights W --keep-classes 48

    Writes attention.png, and attention.json with the distance that cells attend over in every block.
    """
    vocabulary, point = view.vocabulary([image]), _point(at)
    from segvoc.analysis.attention import attention_maps, spatial_aggregations  # here, since PyTorch takes seconds

    segmenter = view.load()
    blocks = len(spatial_aggregations(segmenter))
    if block is not None and block > blocks:
        raise UsageError(f"--block {block} isn't there; {segmenter.name} has {blocks} blocks")
    maps = attention_maps(segmenter, image, vocabulary, view.labels, show=show, point=point)
    maps.write(view.folder, view.metadata([image], vocabulary), block)
    shown = (block or blocks) - 1
    for word in maps.words:
        less, more = word.reduced[shown].mean_distance, word.full[shown].mean_distance
        echo(f"{word.word}: mean distance {less:.3f} with {maps.kept} classes, {more:.3f} with {maps.classes}")
    echo(view.folder / "attention.png")


def _point(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    x, _, y = (part.strip() for part in text.partition(","))
    if not x.isdecimal() or not y.isdecimal():
        raise UsageError(f"--at {text!r} is not a pixel; give its column and row, for example 120,80")
    return int(x), int(y)
