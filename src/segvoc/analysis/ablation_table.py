"""The table of an ablation, with means, standard errors and paired differences, as JSON, Markdown and a plot."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from segvoc.analysis.ablation import Ablation
from segvoc.analysis.charts import new_figure, save_figure
from segvoc.analysis.grids import Cell, find_grid
from segvoc.analysis.tables import markdown_table, save_table
from segvoc.records import to_json
from segvoc.version import __version__

SCORES = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy"}


def ablation_table(
    ablation: Ablation, grids: Sequence[str], results: Mapping[str, Mapping[str, Any]], command: str = ""
) -> dict[str, Any]:
    """Make a table of the finished runs of some grids, as plain values.

    Each cell has for each score the "mean" over all seeds and folds and its standard error "se". Its "difference" is
    the mean difference to the grid's first cell, paired by seed and fold, with its "se", the number of "pairs", and how
    many of them are above 0 ("better"). The standard error of n values is their standard deviation (n - 1) divided by
    sqrt(n). Runs that share images aren't independent, so it is an underestimate.

    Args:
        ablation: what all cells have in common.
        grids: names of grids.
        results: results by `Ablation.key`.
        command: command line that makes the table, for the reader.

    Raises:
        UsageError: a grid is unknown.
    """
    recipe = ablation.recipe
    used: list[Mapping[str, Any]] = []
    tables: dict[str, Any] = {}
    for name in grids:
        grid = find_grid(name)
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
    """Number of runs of a table that aren't finished or have failed."""
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


def table_markdown(table: Mapping[str, Any], plot: str = "ablation.png") -> str:
    """The table as Markdown, with a link to the plot."""
    lines = ["# Ablation", "", *_setting(table), "", f"![scores of the cells]({plot})"]
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
    """Plot all grids: a dot for each run, and the mean of each cell with its standard error.

    Raises:
        OutputError: the file can't be written.
        UsageError: matplotlib isn't installed.
    """
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


def write_table(out: str | os.PathLike[str], table: Mapping[str, Any], *, plot: bool = True) -> None:
    """Write ablation.json, ablation.md and, with `plot`, ablation.png to a folder.

    Raises:
        OutputError: a file can't be written.
        UsageError: matplotlib isn't installed.
    """
    save_table(Path(out), "ablation", table_markdown(table), table)
    if plot:
        draw_ablation(Path(out) / "ablation.png", table)
