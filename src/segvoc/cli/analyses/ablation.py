"""`segvoc analyze ablation`: a grid of settings, trained with several seeds on several parts of the pictures."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from segvoc.errors import UsageError

RECIPE = "tiny-aggregation"


@click.command()
@click.option("--grid", "grids", multiple=True, metavar="NAME", help="aggregation, 5a, 5b, 5c, 5d or 5e; none: all.")
@click.option("--images", required=True, metavar="DIR", help="The folder of your pictures.")
@click.option("--labels", required=True, metavar="DIR", help="The folder of their label maps.")
@click.option("--classes", required=True, metavar="FILE", help="A JSON list of the classes' names, in label order.")
@click.option("--background", metavar="NAME", help="The class that is trained as none of the others.")
@click.option("--recipe", default=RECIPE, show_default=True, metavar="NAME", help="What the cells change.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the recipe: learning_rate=1e-4.")
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Steps of a run, in place of the recipe's.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Runs of a cell.")
@click.option("--folds", type=click.IntRange(2), default=2, show_default=True, metavar="N", help="Parts to hold out.")
@click.option("--scored", type=click.IntRange(1), metavar="N", help="Score the first N pictures of a part; or all.")
@click.option("--keep-classes", type=click.IntRange(1), metavar="P", help="Refine the P words most voted for.")
@click.option("--align", type=click.IntRange(0), default=0, metavar="N", help="Steps that fit tiny's projections.")
@click.option("--weights", metavar="FILE", help="Weights of the whole network to start from, or random.")
@click.option("--encoder-weights", metavar="FILE", help="Weights of the towers to start from: a CLIP, a DeCLIP.")
@click.option("--out", required=True, metavar="FOLDER", help="Journal, runs and table; what is done is not repeated.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes side by side.")
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
@click.option("--only-table", is_flag=True, help="Train nothing; make the table of what is done.")
def ablation(
    grids: Sequence[str],
    images: str,
    labels: str,
    classes: str,
    background: str | None,
    recipe: str,
    settings: Sequence[str],
    steps: int | None,
    seeds: int,
    folds: int,
    scored: int | None,
    keep_classes: int | None,
    align: int,
    weights: str | None,
    encoder_weights: str | None,
    out: str,
    workers: int,
    device: str,
    only_table: bool,
) -> int:
    """Train every cell of PCA-Seg's Table 3 (--grid aggregation) and Tables 5a to 5e, and compare them.

    \b
    segvoc analyze ablation --grid aggregation --images DIR --labels DIR --classes classes.json --out FOLDER

    Writes ablation.json, ablation.md and ablation.png: mean and standard error over seeds and held-out parts, and the
    paired difference to each table's first row. Stopped and called again, it goes on where it was.
    """
    from segvoc.analysis.ablation import Ablation, read_results, run_grids  # here, since PyTorch takes seconds
    from segvoc.analysis.ablation_table import missing, report, write_table
    from segvoc.analysis.grids import GRIDS
    from segvoc.evaluation.task import Settings, Task
    from segvoc.training.recipes import RECIPES
    from segvoc.training.start import Start

    if recipe not in RECIPES:
        raise UsageError(f"recipe {recipe!r} is unknown; it is one of {', '.join(RECIPES)}")
    chosen = RECIPES[recipe]().with_settings(settings)
    task = Task.of_folders(images, labels, classes, background=background, skip=out)
    asked = Ablation(
        recipe=chosen if steps is None else replace(chosen, steps=steps),
        pictures=replace(task.images, name=task.name),
        seeds=seeds,
        folds=folds,
        evaluation=Settings(limit=scored, keep_classes=keep_classes),
        start=Start(weights=weights, encoder_weights=encoder_weights),
        align=align,
    )
    names = tuple(dict.fromkeys(grids)) or tuple(GRIDS)
    command = _command(click.get_current_context())

    def kept(results: Mapping[str, Any]) -> None:
        write_table(out, report(asked, names, results, command), plot=False)

    if only_table:
        results = read_results(out)
    else:
        results = run_grids(
            asked,
            names,
            out,
            workers=workers,
            device=device,
            said=lambda line: click.echo(line, err=True),
            kept=kept,
        )
    table = report(asked, names, results, command)
    write_table(out, table)
    click.echo(f"{out}/ablation.md")
    if only_table or not missing(table):
        return 0
    click.echo(f"segvoc: {missing(table)} runs of the table failed; the same call tries them again", err=True)
    return 1


_PLACES = {"images": "DIR", "labels": "DIR", "classes": "FILE", "out": "FOLDER"}
_ELSEWHERE = ("workers", "device", "only_table")


def _command(context: click.Context) -> str:
    """The call as others would write it: without this machine's folders, devices and what is the default."""
    parts = ["segvoc analyze ablation"]
    for option in context.command.params:
        name, value = option.name or "", context.params[option.name or ""]
        if name in _ELSEWHERE or value is None or (name not in _PLACES and value == option.get_default(context)):
            continue
        for entry in value if isinstance(value, tuple) else (value,):
            parts.append(f"{option.opts[0]} {shlex.quote(_PLACES.get(name, str(entry)))}")
    return " ".join(parts)
