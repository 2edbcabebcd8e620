"""`segvoc models`: the names that `--model` takes."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from segvoc.models.presets import Preset


@click.command()
def models() -> None:
    """List the models that can be named, and whether their weights ship, are fetched, or have to be given."""
    from segvoc.models.presets import PRESETS  # here, since PyTorch takes seconds to import

    width = max(map(len, PRESETS))
    for name, preset in PRESETS.items():
        click.echo(f"{name:{width}}  {preset.summary} ({_weights(preset)})")


def _weights(preset: "Preset") -> str:
    if preset.shipped:
        return "weights ship"
    if preset.published is not None:
        return f"weights published: {preset.published.size}, fetched at first use"
    return "no weights published"
