"""`segvoc analyze gates`: which expert is listened to where."""

import click

from segvoc.cli.model_options import ModelOptions, network_options
from segvoc.cli.view_options import ViewOptions, view_options


@click.command()
@click.argument("picture")
@view_options
@network_options
def gates(picture: str, asked: ViewOptions, chosen: ModelOptions) -> None:
    """Draw the weights that PCA-Seg's coefficient mapper gives to its experts over PICTURE (Eq. 5).

    Writes gates_1.png, gates_2.png, ... for the blocks, and gates.json.
    """
    vocabulary = asked.vocabulary([picture])
    from segvoc.analysis.gates import gate_maps  # here, since PyTorch takes seconds to import

    maps = gate_maps(chosen.load(asked.model), picture, vocabulary, chosen.window)
    maps.write(asked.folder, asked.told([picture], vocabulary, chosen))
    for number, (block, entropy) in enumerate(zip(maps.blocks, maps.entropies(), strict=True), 1):
        shares = ", ".join(f"{share:.0%}" for share in block.mean(axis=(0, 1, 2)))
        click.echo(f"{asked.folder / f'gates_{number}.png'}: experts {shares}; entropy {entropy:.2f} of 1")
