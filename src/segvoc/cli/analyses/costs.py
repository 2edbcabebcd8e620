"""`segvoc analyze costs`: cost volumes before and after aggregation."""

from collections.abc import Sequence

import click

from segvoc.cli.model_options import ModelOptions, network_options
from segvoc.cli.view_options import ViewOptions, view_options


@click.command()
@click.argument("picture")
@view_options
@click.option("--show", multiple=True, metavar="WORD", help="Show this word; several times for several. All else.")
@network_options
def costs(picture: str, show: Sequence[str], asked: ViewOptions, chosen: ModelOptions) -> None:
    """Draw how alike PICTURE is to each word, before the network aggregates that and after (CAT-Seg, Fig. 3).

    Writes costs.png and costs.json.
    """
    vocabulary = asked.vocabulary([picture])
    from segvoc.analysis.cost_views import cost_views  # here, since PyTorch takes seconds to import

    seen = cost_views(chosen.load(asked.model), picture, vocabulary, show, chosen.window)
    seen.write(asked.folder, asked.told([picture], vocabulary, chosen))
    click.echo(asked.folder / "costs.png")
