"""`segvoc models`: the names that `--model` takes."""

import click


@click.command()
def models() -> None:
    """List the models that can be named."""
    from segvoc.presets import PRESETS  # here, since PyTorch takes seconds to import

    width = max(map(len, PRESETS))
    for name, preset in PRESETS.items():
        weights = "" if preset.shipped else " (no weights published)"
        click.echo(f"{name:{width}}  {preset.summary}{weights}")
