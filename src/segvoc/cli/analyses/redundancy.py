"""`segvoc analyze redundancy`: how much the experts say the same."""

from collections.abc import Sequence

import click

from segvoc.cli.model_options import ModelOptions, network_options
from segvoc.cli.view_options import ViewOptions, view_options


@click.command()
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...")
@view_options
@network_options
def redundancy(pictures: Sequence[str], asked: ViewOptions, chosen: ModelOptions) -> None:
    """Canonical correlation between PCA-Seg's experts over PICTUREs (PCA-Seg, Fig. 5).

    0%: two experts have nothing in common. Writes redundancy.png and redundancy.json.
    """
    vocabulary = asked.vocabulary(pictures)
    from segvoc.analysis.redundancy import expert_redundancy  # here, since PyTorch takes seconds to import

    found = expert_redundancy(chosen.load(asked.model), pictures, vocabulary, chosen.window)
    found.write(asked.folder, asked.told(pictures, vocabulary, chosen))
    for number, (mean, chance) in enumerate(zip(found.means(), found.chance, strict=True), 1):
        click.echo(f"block {number}: {mean:.1%} (by chance {chance:.1%})")
    click.echo(asked.folder / "redundancy.png")
