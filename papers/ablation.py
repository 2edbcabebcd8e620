"""The papers' ablation tables in small: PCA-Seg's Tables 3 and 5a to 5e, trained on your own labeled images.

A cell sets everything that it depends on, so any recipe for a network with cost aggregation can be used, and a cell
of several tables is trained once. `papers.ablation_runs` trains and scores the cells; this module has the grids, and
the table with means, standard errors and paired differences as JSON, Markdown and a plot.
"""

import math
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import click
import numpy as np
import torch

from papers.ablation_runs import Ablation, Cell, Grid, run_grids
from papers.drawing import markdown_table, new_figure, save_figure, save_table
from papers.tables import find_rows
from segvoc.cli import run_command
from segvoc.cli.options import given_options
from segvoc.cli.output import echo
from segvoc.data.benchmarks import find_benchmark
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import UsageError
from segvoc.evaluation.task import EvaluationSettings
from segvoc.inference.label_options import IMAGE_OPTIONS, LabelKeywords
from segvoc.networks.cost_aggregation_config import Order
from segvoc.runtime.version import __version__
from segvoc.storage.records import to_json
from segvoc.training.recipes import PAPER_FOD, RECIPES
from segvoc.training.start import Start

SCORES = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy"}

_PLACEHOLDERS = {"images": "DIR", "labels": "DIR", "classes": "FILE", "out": "FOLDER"}


@click.command()
@click.option(
    "--grid", "names", multiple=True, metavar="NAME", help="aggregation, 5a, 5b, 5c, 5d or 5e; by default all."
)
@click.option("--images", required=True, metavar="DIR", help="Folder of your images.")
@click.option("--labels", required=True, metavar="DIR", help="Folder of their label maps.")
@click.option("--classes", required=True, metavar="FILE", help="Class names: a JSON list, in the order of the labels.")
@click.option("--recipe", default="tiny-aggregation", metavar="NAME", help="The base recipe.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change a setting of the recipe, e.g. lr=1e-4."
)
@click.option("--steps", type=click.IntRange(1), metavar="N", help="Steps per run, instead of the recipe's.")
@click.option("--seeds", type=click.IntRange(1), default=3, metavar="N", help="Runs per row and fold.")
@click.option("--folds", type=click.IntRange(2), default=2, metavar="N", help="Folds of the cross-validation.")
@click.option(
    "--scored", type=click.IntRange(1), metavar="N", help="Score the first N images of a fold; by default all."
)
@given_options(*IMAGE_OPTIONS)
@click.option(
    "--align", type=click.IntRange(0), default=0, metavar="N", help="Steps to retrain tiny's projections first."
)
@click.option("--weights", metavar="FILE", help="Weights of the whole network to start from, or random.")
@click.option("--encoder-weights", metavar="FILE", help="Weights of the encoders to start from: a CLIP or DeCLIP.")
@click.option("--out", required=True, metavar="FOLDER", help="Folder for runs and table; finished runs are reused.")
@click.option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, ...")
def ablation(
    names: Sequence[str],
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
    device: str,
    given: LabelKeywords,
) -> int:
    """Train the rows of PCA-Seg's Table 3 (--grid aggregation) and Tables 5a to 5e, and compare them.

    \b
    python -m papers.ablation --grid aggregation --images DIR --labels DIR --classes classes.json --out FOLDER

    Writes ablation.json, ablation.md and ablation.png: mean and standard error over seeds and folds, and the paired
    difference to each table's first row. Repeat the call to resume.
    """
    if recipe not in RECIPES:
        raise UsageError(f"recipe {recipe!r} is unknown; it is one of {', '.join(RECIPES)}")
    if unknown := [name for name in names if name not in GRIDS]:
        raise UsageError(f"grid {unknown[0]!r} is unknown; it is one of {', '.join(GRIDS)}")
    chosen = RECIPES[recipe]().with_settings(settings)
    common = Ablation(
        recipe=chosen if steps is None else chosen.with_settings(steps=steps),
        images=LabeledImages.from_folders(images, labels, classes, background=given.get("background"), skip=out),
        seeds=seeds,
        folds=folds,
        evaluation=EvaluationSettings(limit=scored, options=given),
        start=Start(weights=weights, encoder_weights=encoder_weights),
        align=align,
    )
    grids = {name: GRIDS[name] for name in names or GRIDS}
    results = run_grids(common, grids, out, device=device, log=lambda line: echo(line, err=True))
    table = ablation_table(common, grids, results, _call(click.get_current_context()))
    write_table(out, table)
    echo(f"{out}/ablation.md")
    if failed := missing_runs(table):
        echo(f"segvoc: {failed} runs failed; repeat the command to try them again", err=True)
    return 1 if failed else 0


def _call(context: click.Context) -> str:
    """The command line to reproduce the table, without this machine's folders and devices, and without defaults."""
    words = ["python -m papers.ablation"]
    for option in context.command.params:
        name, value = option.name or "", context.params[option.name or ""]
        if name == "device" or value is None or (name not in _PLACEHOLDERS and value == option.get_default(context)):
            continue
        for entry in value if isinstance(value, tuple) else (value,):
            words.append(f"{option.opts[0]} {shlex.quote(_PLACEHOLDERS.get(name, str(entry)))}")
    return " ".join(words)


def _published(row: str, benchmark: str = "a-150") -> str:
    """The score that the paper prints in a row: "A-150 36.3"."""
    (found,) = find_rows(f"PCA-Seg, {row}")
    return f"{find_benchmark(benchmark).title} {found.scores[benchmark]['miou']}"


def _cell(
    name: str,
    published: str,
    *,
    order: Order = "parallel",
    fusion: str = "experts",
    experts: int = 4,
    fod: float = 0.0,
) -> Cell:
    # four experts are the default: a cell that sets them is the same run as one that doesn't
    number = "none" if experts == 4 else experts
    settings = ("aggregation=cost", f"order={order}", f"fusion={fusion}", f"experts={number}", f"fod_weight={fod}")
    return Cell(name=name, published=published, settings=settings)


GRIDS: Mapping[str, Grid] = {
    "aggregation": Grid(
        title="PCA-Seg, Table 3: without, with serial and with parallel aggregation",
        cells=(
            Cell(
                name="none",
                settings=("aggregation=none", "fod_weight=0"),
                published=_published("Table 3, without aggregation"),
            ),
            _cell("serial", _published("Table 3, serial"), order="serial", fusion="last"),
            _cell("parallel", _published("Table 3, parallel"), fod=PAPER_FOD),
        ),
    ),
    "5a": Grid(
        title="PCA-Seg, Table 5a: components of the parallel block",
        cells=(
            _cell("concatenation and convolution", _published("Table 5a, baseline"), fusion="concatenation"),
            _cell("+ EPL", _published("Table 5a, EPL")),
            _cell("+ FOD", _published("Table 5a, FOD"), fusion="concatenation", fod=PAPER_FOD),
            _cell("+ EPL + FOD", _published("Table 5a, EPL and FOD"), fod=PAPER_FOD),
        ),
    ),
    "5b": Grid(
        title="PCA-Seg, Table 5b: the same components in a serial block",
        cells=(
            _cell("serial", _published("Table 5b, serial"), order="serial", fusion="last"),
            _cell("+ EPL", _published("Table 5b, serial with EPL"), order="serial"),
            _cell("+ FOD", _published("Table 5b, serial with FOD"), order="serial", fusion="last", fod=PAPER_FOD),
            _cell("+ EPL + FOD", _published("Table 5b, serial with both"), order="serial", fod=PAPER_FOD),
        ),
    ),
    "5c": Grid(
        title="PCA-Seg, Table 5c: experts",
        cells=tuple(
            _cell(str(experts), _published(f"Table 5c, n = {experts}"), experts=experts) for experts in range(1, 6)
        ),
    ),
    "5d": Grid(
        title="PCA-Seg, Table 5d: weight of the orthogonality loss",
        cells=tuple(
            _cell(str(weight), _published(f"Table 5d, lambda {weight}"), fod=weight)
            for weight in (0.001, 0.005, 0.01, 0.015, 0.02)
        ),
    ),
    "5e": Grid(
        title="PCA-Seg, Table 5e: integration of the experts",
        cells=(
            _cell("none: a single expert", _published("Table 5e, none", "pc-59"), fusion="single"),
            _cell("convolution", _published("Table 5e, convolution", "pc-59"), fusion="convolution"),
            _cell("average", _published("Table 5e, average", "pc-59"), fusion="average"),
            _cell("addition", _published("Table 5e, addition", "pc-59"), fusion="addition"),
            _cell("coefficient mapper", _published("Table 5e, coefficient mapper", "pc-59")),
        ),
    ),
}
"""All grids by name. Tables 5c and 5e are without FOD: their best scores equal the row + EPL of Table 5a."""


def ablation_table(
    ablation: Ablation, grids: Mapping[str, Grid], results: Mapping[str, Mapping[str, Any]], command: str = ""
) -> dict[str, Any]:
    """Build a table of the grids' finished runs, as plain values.

    Each cell has, per score, the "mean" over all seeds and folds and its standard error "se". Its "difference" is
    the mean difference to the grid's first cell, paired by seed and fold, with its "se", the number of "pairs", and how
    many are above 0 ("better"). The standard error of n values is their standard deviation (n - 1) divided by
    sqrt(n). Runs that share images aren't independent, so it is an underestimate.

    Args:
        ablation: settings shared by all cells.
        grids: the grids by name.
        results: results by `Ablation.key`.
        command: command line that makes the table.
    """
    recipe = ablation.recipe
    used: list[Mapping[str, Any]] = []
    tables: dict[str, Any] = {}
    for name, grid in grids.items():
        cell_runs = [_runs(ablation, cell, results) for cell in grid.cells]
        used += [run for runs in cell_runs for run in runs.values()]
        cells = [_row(cell, runs, cell_runs[0]) for cell, runs in zip(grid.cells, cell_runs, strict=True)]
        tables[name] = {"title": grid.title, "cells": cells}
    return {
        "command": command,
        "recipe": to_json(recipe),
        "images": {
            "name": ablation.images.name,
            "count": len(ablation.images),
            "classes": len(ablation.images.vocabulary),
            "background": ablation.images.background,
            "trained_on": len(ablation.training_images(0)),
            "scored": len(ablation.held_out(0).images[: ablation.evaluation.limit]),
        },
        "steps": recipe.optimizer.steps,
        "align": ablation.align,
        "labels": dict(ablation.evaluation.options),
        "seeds": ablation.seeds,
        "folds": ablation.folds,
        "start": {"weights": ablation.start.weights, "encoder_weights": ablation.start.encoder_weights},
        "trained_on": sorted({run["on"] for run in used}),
        "run_seconds": sum(sum(run["seconds"].values()) for run in {run["key"]: run for run in used}.values()),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"segvoc": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "grids": tables,
    }


def missing_runs(table: Mapping[str, Any]) -> int:
    """Number of unfinished or failed runs of a table."""
    cells = [cell for grid in table["grids"].values() for cell in grid["cells"]]
    return sum(table["seeds"] * table["folds"] - len(cell["runs"]) for cell in cells)


_Runs = Mapping[tuple[int, int], Mapping[str, Any]]
"""Results by seed and fold."""


def _runs(ablation: Ablation, cell: Cell, results: Mapping[str, Mapping[str, Any]]) -> _Runs:
    recipe = ablation.recipe_of(cell)
    pairs = [(seed, fold) for seed in range(ablation.seeds) for fold in range(ablation.folds)]
    found = {pair: results.get(ablation.key(recipe, *pair)) for pair in pairs}
    return {pair: run for pair, run in found.items() if run is not None}


def _row(cell: Cell, runs: _Runs, first: _Runs) -> dict[str, Any]:
    row: dict[str, Any] = {"name": cell.name, "settings": list(cell.settings), "published": cell.published}
    row["trainable"] = next((run["trainable"] for run in runs.values()), None)
    for score in SCORES:
        differences = [runs[pair][score] - first[pair][score] for pair in runs if pair in first]
        row[score] = {
            **mean_and_standard_error([run[score] for run in runs.values()]),
            "difference": None
            if runs is first
            else mean_and_standard_error(differences)
            | {"pairs": len(differences), "better": sum(difference > 0 for difference in differences)},
        }
    cosines = [fmean(terms) for run in runs.values() if (terms := _cosines(run))]
    row["squared_cosine"] = fmean(cosines) if cosines else None
    row["runs"] = [
        {"seed": seed, "fold": fold, **{score: run[score] for score in SCORES}, "losses": run["losses"]}
        for (seed, fold), run in runs.items()
    ]
    return row


def mean_and_standard_error(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard error of some values; None where there are too few values."""
    return {
        "mean": fmean(values) if values else None,
        "se": stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None,
    }


def _cosines(run: Mapping[str, Any]) -> list[float]:
    return [value for name, value in run["losses"].items() if name.startswith("fod_") and value is not None]


def table_markdown(table: Mapping[str, Any]) -> str:
    """The table as Markdown, with a link to the plot."""
    lines = ["# Ablation", "", *_setting(table), "", "![scores of the cells](ablation.png)"]
    head = ("cell", "runs", "mIoU", "difference", "better", "pixel accuracy", "difference", "cos²", "published")
    for grid in table["grids"].values():
        lines += ["", f"## {grid['title']}", ""]
        rows = []
        for cell in grid["cells"]:
            miou, accuracy = cell["miou"], cell["pixel_accuracy"]
            apart = miou["difference"]
            better = "" if apart is None else f"{apart['better']} of {apart['pairs']}"
            cosine = "" if cell["squared_cosine"] is None else f"{cell['squared_cosine']:.3f}"
            columns = [cell["name"], str(len(cell["runs"])), _text(miou), _apart(apart), better, _text(accuracy)]
            rows.append([*columns, _apart(accuracy["difference"]), cosine, cell["published"]])
        lines.append(markdown_table(head, rows).rstrip())
    return "\n".join(lines) + "\n"


def _setting(table: Mapping[str, Any]) -> list[str]:
    """Lines about the data, the training and the machine."""
    images, recipe, machine = table["images"], table["recipe"], table["machine"]
    background = f" ({images['background']!r}: none of them)" if images["background"] else ""
    labels = "".join(f", with {name}={value}" for name, value in table["labels"].items())
    lines = [
        "Small networks, data and training, not the papers': compare the order of the rows with the papers' scores "
        "(last column), not their values.",
        "",
        f"- Data: {images['count']} images of {images['name']}, {images['classes']} classes{background}, in "
        f"{table['folds']} folds. A run is trained on {images['trained_on']} images and scored on {images['scored']} "
        f"others{labels}; IoU is computed over all of them together.",
        f"- Runs: {table['seeds']} seeds for each cell and fold. Each run has {table['steps']} steps with batches of "
        f"{recipe['optimizer']['batch_size']} crops of {recipe['data']['crop_size']} px.",
    ]
    if table["align"]:
        lines.append(
            f"- Start: for each seed and fold, new projections of tiny are trained for {table['align']} steps without "
            "aggregation on the images not held out. Every cell starts from them, with random aggregation weights."
        )
    lines += [
        f"- Trained on {', '.join(table['trained_on']) or 'nothing yet'}: {table['run_seconds']:.0f} s for all runs "
        f"together; table made on {machine['cores']} cores ({machine['processor']}), "
        f"segvoc {table['versions']['segvoc']}.",
        "- Scores: percent, mean ± standard error over seeds and folds. Differences are to the first row, paired by "
        'seed and fold, bold where they exceed two standard errors; "better" counts the pairs above 0. Runs that '
        "share images aren't independent, so the errors are underestimates. cos²: squared cosine of the two streams "
        "in the last step, for runs with the orthogonality loss.",
    ]
    return [*lines, "", "```", table["command"], "```"] if table["command"] else lines


def _apart(value: Mapping[str, float | None] | None) -> str:
    """A difference, in bold if it exceeds two standard errors."""
    if value is None or value["mean"] is None:
        return ""
    text, error = _text(value, "+"), value["se"]
    return f"**{text}**" if error is not None and abs(value["mean"]) > 2 * error else text


def _text(value: Mapping[str, float | None] | None, sign: str = "") -> str:
    if value is None or value["mean"] is None:
        return ""
    error = "" if value["se"] is None else f" ± {value['se']:.2f}"
    return f"{value['mean']:{sign}.2f}{error}"


def draw_ablation(path: Path, table: Mapping[str, Any]) -> None:
    """Plot all grids: a dot for each run, and the mean of each cell with its standard error."""
    grids: list[dict[str, Any]] = list(table["grids"].values())
    columns = min(3, len(grids))
    rows = math.ceil(len(grids) / columns)
    figure = new_figure(1.6 * columns, rows)
    panels = np.ravel(figure.subplots(rows, columns))
    for axes, grid in zip(panels, grids, strict=False):
        for row, cell in enumerate(grid["cells"]):
            scores = [run["miou"] for run in cell["runs"]]
            axes.plot(scores, [row] * len(scores), "o", color="0.75", markersize=4)
            if scores:
                axes.errorbar(cell["miou"]["mean"], row, xerr=cell["miou"]["se"], fmt="D", color="C0", capsize=3)
        axes.set_yticks(range(len(grid["cells"])), [cell["name"] for cell in grid["cells"]])
        axes.invert_yaxis()
        axes.set_xlabel("mIoU [%]")
        axes.set_title(grid["title"], fontsize="small", wrap=True)
    for axes in panels[len(grids) :]:
        axes.set_axis_off()
    save_figure(path, figure)


def write_table(out: str | os.PathLike[str], table: Mapping[str, Any]) -> None:
    """Write ablation.json, ablation.md and ablation.png to a folder."""
    save_table(Path(out), "ablation", table_markdown(table), table)
    draw_ablation(Path(out) / "ablation.png", table)


if __name__ == "__main__":
    run_command(ablation, "python -m papers.ablation")
