"""`segvoc analyze gates`: the weights of the experts over an image."""

import click

from segvoc.cli.output import echo
from segvoc.cli.view_options import ViewOptions, view_options


@click.command()
@click.argument("image")
@view_options("window")
def gates(image: str, view: ViewOptions) -> None:
    """Draw the weights that PCA-Seg's coefficient mapper gives to its experts on IMAGE (Eq. 5).

    Writes gates_1.png, gates_2.png, ... for the blocks, and gates.json.
    """
    vocabulary = view.vocabulary([image])
    from segvoc.analysis.gates import gate_maps  # here, since PyTorch takes seconds to import

    maps = gate_maps(view.load(), image, vocabulary, view.labels.window)
    maps.write(view.folder, view.metadata([image], vocabulary))
    for number, (block, entropy) in enumerate(zip(maps.blocks, maps.entropies(), strict=True), 1):
        weights = ", ".join(f"{weight:.0%}" for weight in block.mean(axis=(0, 1, 2)))
        echo(f"{view.folder / f'gates_{number}.png'}: mean weights {weights}; entropy {entropy:.2f} of 1")
