"""`segvoc analyze costs`: cost volumes before and after aggregation."""

from collections.abc import Sequence

import click

from segvoc.analysis.requirements import require_matplotlib
from segvoc.cli.options import ModelOptions, label_options, network_options
from segvoc.cli.output import echo
from segvoc.cli.view_options import ViewOptions, view_options
from segvoc.inference.label_options import LabelOptions


@click.command()
@click.argument("image")
@view_options
@click.option("--show", multiple=True, metavar="WORD", help="Show this word only; repeat for more.")
@network_options
@label_options("window")
def costs(image: str, show: Sequence[str], view: ViewOptions, chosen: ModelOptions, labels: LabelOptions) -> None:
    """Draw the cost volume of IMAGE before and after aggregation (CAT-Seg, Fig. 3).

    Writes costs.png and costs.json.
    """
    vocabulary = view.vocabulary([image])
    require_matplotlib()
    from segvoc.analysis.cost_views import cost_views  # here, since PyTorch takes seconds to import

    views = cost_views(chosen.load(view.model), image, vocabulary, show, labels.window)
    views.write(view.folder, view.metadata([image], vocabulary, chosen, labels))
    echo(view.folder / "costs.png")
