"""`segvoc analyze streams`: how alike the two streams are, while a network learns and on a picture."""

from collections.abc import Sequence
from pathlib import Path

import click

from segvoc.cli.model_options import ModelOptions, network_options
from segvoc.cli.view_options import ViewOptions, view_options
from segvoc.errors import UsageError


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option("--picture", metavar="FILE", help="Look at this picture too, with --model and --words.")
@view_options
@network_options
def streams(runs: Sequence[str], picture: str | None, asked: ViewOptions, chosen: ModelOptions) -> None:
    """Draw how alike the spatial and the class stream are over training RUNs (PCA-Seg, Fig. 6).

    \b
    segvoc train tiny-aggregation ... --out parallel
    segvoc train tiny-aggregation ... --set order=serial --set fusion=last --set fod=0 --set watch_streams=true ...
    segvoc analyze streams parallel serial --out figures

    Writes streams.png and streams.json; for a picture, streams_picture.png and streams_picture.json.
    """
    if not runs and picture is None:
        raise UsageError("nothing to look at; name folders of runs, or a picture with --picture and --words")
    vocabulary = None if picture is None else asked.vocabulary([picture])
    from segvoc.analysis.streams import (  # here, since PyTorch takes seconds to import
        StreamCurves,
        picture_similarity,
        write_curves,
        write_picture_similarity,
    )

    if runs:
        write_curves(asked.folder, [StreamCurves.of_run(Path(run)) for run in runs])
        click.echo(asked.folder / "streams.png")
    if picture is not None and vocabulary is not None:
        blocks = picture_similarity(chosen.load(asked.model), picture, vocabulary, chosen.window)
        write_picture_similarity(asked.folder, blocks, asked.told([picture], vocabulary, chosen))
        for number, block in enumerate(blocks, 1):
            click.echo(f"block {number}: squared cosine {block['squared_cosine']:.2%}, cosine {block['cosine']:.3f}")
        click.echo(asked.folder / "streams_picture.png")
