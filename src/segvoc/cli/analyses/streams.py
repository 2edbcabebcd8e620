"""`segvoc analyze streams`: similarity of the two streams, in training and on an image."""

from collections.abc import Sequence
from pathlib import Path

import click

from segvoc.analysis.requirements import require_matplotlib
from segvoc.cli.output import echo
from segvoc.cli.view_options import ViewOptions, view_options
from segvoc.errors import UsageError


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@click.option("--image", metavar="FILE", help="An image to measure too, with --model and --words.")
@view_options("window")
def streams(runs: Sequence[str], image: str | None, view: ViewOptions) -> None:
    """Draw the similarity of the spatial and the class stream over training RUNs (PCA-Seg, Fig. 6).

    \b
    segvoc train tiny-aggregation ... --out parallel
    segvoc train tiny-aggregation ... --set order=serial --set fusion=last --set fod_weight=0 \\
    --set log_stream_similarity=true --out serial
    segvoc analyze streams parallel serial --out figures

    Writes streams.png and streams.json, and for an image streams_image.png and streams_image.json.
    """
    if not runs and image is None:
        raise UsageError("nothing to draw; give folders of runs, or an image with --image and --words")
    require_matplotlib()
    vocabulary = None if image is None else view.vocabulary([image])
    from segvoc.analysis.streams import (  # here, since PyTorch takes seconds to import
        StreamCurves,
        image_similarity,
        write_curves,
        write_image_similarity,
    )

    if runs:
        write_curves(view.folder, [StreamCurves.of_run(Path(run)) for run in runs])
        echo(view.folder / "streams.png")
    if image is not None and vocabulary is not None:
        blocks = image_similarity(view.load(), image, vocabulary, view.labels.window)
        write_image_similarity(view.folder, blocks, view.metadata([image], vocabulary))
        for number, block in enumerate(blocks, 1):
            echo(f"block {number}: squared cosine {block['squared_cosine']:.2%}, cosine {block['cosine']:.3f}")
        echo(view.folder / "streams_image.png")
