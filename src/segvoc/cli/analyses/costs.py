"""`segvoc analyze costs`: cost volumes before and after aggregation."""

from collections.abc import Sequence

import click

from segvoc.cli.output import echo
from segvoc.cli.view_options import ViewOptions, view_options


@click.command()
@click.argument("image")
@view_options("window")
@click.option("--show", multiple=True, metavar="WORD", help="Show this word only; repeat for more.")
def costs(image: str, show: Sequence[str], view: ViewOptions) -> None:
    """Draw the cost volume of IMAGE before and after aggregation (CAT-Seg, Fig. 3).

    Writes costs.png and costs.json.
    """
    vocabulary = view.vocabulary([image])
    from segvoc.analysis.cost_views import cost_views  # here, since PyTorch takes seconds to import

    views = cost_views(view.load(), image, vocabulary, show, view.labels.window)
    views.write(view.folder, view.metadata([image], vocabulary))
    echo(view.folder / "costs.png")
