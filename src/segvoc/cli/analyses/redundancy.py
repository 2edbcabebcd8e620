"""`segvoc analyze redundancy`: the redundancy between experts."""

from collections.abc import Sequence

import click

from segvoc.cli.output import echo
from segvoc.cli.view_options import ViewOptions, view_options


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@view_options("window")
def redundancy(images: Sequence[str], view: ViewOptions) -> None:
    """Measure how redundant PCA-Seg's experts are on some IMAGEs (PCA-Seg, Fig. 5).

    The redundancy of two experts is the mean canonical correlation of their outputs; 0% means that they have nothing in
    common. It is measured by plain CCA, as in the released code, and by SVCCA, which the paper cites. Writes
    redundancy.png and redundancy.json.
    """
    vocabulary = view.vocabulary(images)
    from segvoc.analysis.redundancy import expert_redundancy  # here, since PyTorch takes seconds to import

    found = expert_redundancy(view.load(), images, vocabulary, view.labels.window)
    found.write(view.folder, view.metadata(images, vocabulary))
    for number in range(len(found.cca)):
        measured = ((name, blocks[number]) for name, blocks in found.measures().items())
        told = ", ".join(f"{name} {block.mean:.1%} (by chance {block.chance:.1%})" for name, block in measured)
        echo(f"block {number + 1}: {told}")
    echo(view.folder / "redundancy.png")
