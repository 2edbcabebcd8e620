"""`segvoc analyze ablation`: grids of settings, trained with several seeds and cross-validated."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from segvoc.analysis.requirements import require_matplotlib
from segvoc.cli.options import given_options
from segvoc.cli.output import echo
from segvoc.errors import UsageError
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelKeywords

RECIPE = "tiny-aggregation"


@click.command()
@click.option(
    "--grid", "grids", multiple=True, metavar="NAME", help="aggregation, 5a, 5b, 5c, 5d or 5e; by default all."
)
@click.option("--images", required=True, metavar="DIR", help="Folder of your images.")
@click.option("--labels", required=True, metavar="DIR", help="Folder of their label maps.")
@click.option("--classes", required=True, metavar="FILE", help="Class names: a JSON list, in the order of the labels.")
@click.option("--recipe", default=RECIPE, metavar="NAME", help="The recipe that the rows change.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a setting of the recipe, e.g. lr=1e-4.",
)
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Steps of a run, instead of the recipe's.")
@click.option("--seeds", type=click.IntRange(1), default=3, metavar="N", help="Runs of each row and fold.")
@click.option("--folds", type=click.IntRange(2), default=2, metavar="N", help="Folds of the cross-validation.")
@click.option(
    "--scored", type=click.IntRange(1), metavar="N", help="Score the first N images of a fold; by default all."
)
@given_options(*IMAGE_OPTIONS)
@click.option(
    "--align", type=click.IntRange(0), default=0, metavar="N", help="Steps that first train tiny's projections anew."
)
@click.option("--weights", metavar="FILE", help="Weights of the whole network to start from, or random.")
@click.option("--encoder-weights", metavar="FILE", help="Weights of the encoders to start from: a CLIP or DeCLIP.")
@click.option("--out", required=True, metavar="FOLDER", help="Folder for runs and table; finished runs are kept.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Number of processes.")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
@click.option("--only-table", is_flag=True, help="Don't train; make the table of the finished runs.")
def ablation(
    grids: Sequence[str],
    images: str,
    labels: str,
    classes: str,
    recipe: str,
    settings: Sequence[str],
    steps: int | None,
    seeds: int,
    folds: int,
    scored: int | None,
    align: int,
    weights: str | None,
    encoder_weights: str | None,
    out: str,
    workers: int,
    device: str,
    only_table: bool,
    given: LabelKeywords,
) -> int:
    """Train the rows of PCA-Seg's Table 3 (--grid aggregation) and Tables 5a to 5e, and compare them.

    \b
    segvoc analyze ablation --grid aggregation --images DIR --labels DIR --classes classes.json --out FOLDER

    Writes ablation.json, ablation.md and ablation.png: mean and standard error over seeds and folds, and the paired
    difference to each table's first row. The same call continues an interrupted one.
    """
    require_matplotlib()
    from segvoc.analysis.ablation import Ablation, read_results, run_grids  # here, since PyTorch takes seconds
    from segvoc.analysis.ablation_table import ablation_table, missing_runs, write_table
    from segvoc.analysis.grids import GRIDS
    from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
    from segvoc.training.recipes import RECIPES
    from segvoc.training.start import Start

    if recipe not in RECIPES:
        raise UsageError(f"recipe {recipe!r} is unknown; it is one of {', '.join(RECIPES)}")
    chosen = RECIPES[recipe]().with_settings(settings)
    task = EvaluationTask.of_folders(images, labels, classes, background=given.get("background"), skip=out)
    common = Ablation(
        recipe=chosen if steps is None else chosen.with_settings(steps=steps),
        images=replace(task.images, name=task.name),
        seeds=seeds,
        folds=folds,
        evaluation=EvaluationSettings(limit=scored, options=given),
        start=Start(weights=weights, encoder_weights=encoder_weights),
        align=align,
    )
    names = tuple(dict.fromkeys(grids)) or tuple(GRIDS)
    command = _command(click.get_current_context())

    def write_partial(results: Mapping[str, Any]) -> None:
        write_table(out, ablation_table(common, names, results, command), plot=False)

    if only_table:
        results = read_results(out)
    else:
        results = run_grids(
            common,
            names,
            out,
            workers=workers,
            device=device,
            log=lambda line: echo(line, err=True),
            on_result=write_partial,
        )
    table = ablation_table(common, names, results, command)
    write_table(out, table)
    echo(f"{out}/ablation.md")
    if only_table or not missing_runs(table):
        return 0
    echo(f"segvoc: {missing_runs(table)} runs failed; repeat the command to try them again", err=True)
    return 1


_PLACEHOLDERS = {"images": "DIR", "labels": "DIR", "classes": "FILE", "out": "FOLDER"}
_LEFT_OUT = ("workers", "device", "only_table")


def _command(context: click.Context) -> str:
    """The command line to reproduce the table: without this machine's folders and devices, and without defaults."""
    words = ["segvoc analyze ablation"]
    for option in context.command.params:
        name, value = option.name or "", context.params[option.name or ""]
        if name in _LEFT_OUT or value is None or (name not in _PLACEHOLDERS and value == option.get_default(context)):
            continue
        for entry in value if isinstance(value, tuple) else (value,):
            words.append(f"{option.opts[0]} {shlex.quote(_PLACEHOLDERS.get(name, str(entry)))}")
    return " ".join(words)
