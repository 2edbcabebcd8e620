"""`segvoc analyze blocks`: the costs of an aggregation block and of the network."""

from collections.abc import Sequence
from pathlib import Path

import click

from segvoc.cli.output import echo
from segvoc.version import __version__


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--set", "options", multiple=True, metavar="NAME=VALUE", help="Change an option of the presets, e.g. ssr=1."
)
@click.option("--classes", type=click.IntRange(1, 100_000), default=171, help="Number of words.")
@click.option("--repeat", type=click.IntRange(1), default=3, metavar="N", help="Time the fastest of N runs.")
@click.option("--chunk", type=click.IntRange(1), metavar="N", help="Words that are processed at a time.")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
@click.option("--out", default="out", metavar="FOLDER", help="Folder for the table.")
def blocks(
    models: Sequence[str],
    options: Sequence[str],
    classes: int,
    repeat: int,
    chunk: int | None,
    device: str,
    out: str,
) -> None:
    """Measure parameters, multiply-adds, memory and time of a block and of the network (PCA-Seg, Table 4).

    \b
    segvoc analyze blocks cat-seg-eva-b pca-seg-b --classes 171

    MODEL is a preset or a .safetensors file of segvoc. Weights are random, since they don't change the costs. Writes
    blocks.md and blocks.json.
    """
    from segvoc.analysis.block_costs import costs_table, measure_costs, write_costs  # here, since PyTorch takes seconds
    from segvoc.configuration import parse_settings
    from segvoc.models.loading import find_device, named_model
    from segvoc.models.presets import preset_name

    where, chosen, rows = find_device(device), parse_settings(options), []
    for model in models:
        _, preset, configuration = named_model(model, chosen)
        given = {"classes": classes, "device": where, "repeat": repeat, "chunk": chunk}
        rows += measure_costs(preset_name(preset), configuration, **given)
    write_costs(Path(out), rows, {"segvoc": __version__, "device": str(where), "repeat": repeat})
    echo(costs_table(rows), nl=False)
