"""The table of an ablation: means, standard errors and paired differences, as JSON, Markdown and a plot."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

from segvoc import __version__
from segvoc.analysis.ablation import Ablation
from segvoc.analysis.grids import Cell, find_grid
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.json_files import write_json

SCORES = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy"}


def report(
    ablation: Ablation, grids: Sequence[str], results: Mapping[str, Mapping[str, Any]], command: str = ""
) -> dict[str, Any]:
    """The table of some grids, of the runs that are done, as plain values. command: what makes it, for people.

    For each cell and score: "mean" over all seeds and parts and its standard error "se"; "difference" is the mean of
    the differences to the grid's first cell, each between two runs of one seed and part, with its "se", in "pairs" and
    how many of these are above 0 ("better"). A standard error of n values is their standard deviation (n - 1) divided
    by sqrt(n); runs that share pictures are not wholly independent, so it is on the small side.

    Raises:
        UsageError: an unknown grid.
    """
    recipe = ablation.recipe
    used: list[Mapping[str, Any]] = []
    tables: dict[str, Any] = {}
    for name in grids:
        grid = find_grid(name)
        of_cells = [_runs(ablation, cell, results) for cell in grid.cells]
        used += [run for runs in of_cells for run in runs.values()]
        cells = [_row(cell, runs, of_cells[0]) for cell, runs in zip(grid.cells, of_cells, strict=True)]
        tables[name] = {"title": grid.title, "cells": cells}
    return {
        "command": command,
        "recipe": recipe.plain(),
        "pictures": {
            "name": ablation.pictures.name,
            "count": len(ablation.pictures),
            "classes": len(ablation.pictures.vocabulary),
            "background": ablation.pictures.background,
            "learnt": len(ablation.learnt(0)),
            "scored": len(ablation.held_out(0).images[: ablation.evaluation.limit]),
        },
        "steps": recipe.steps,
        "align": ablation.align,
        "keep_classes": ablation.evaluation.keep_classes,
        "seeds": ablation.seeds,
        "folds": ablation.folds,
        "start": {"weights": ablation.start.weights, "encoder_weights": ablation.start.encoder_weights},
        "trained_on": sorted({run["on"] for run in used}),
        "run_seconds": sum(sum(run["seconds"].values()) for run in {run["key"]: run for run in used}.values()),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {"segvoc": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "grids": tables,
    }


def missing(table: Mapping[str, Any]) -> int:
    """Runs that a table has room for and that are not done, or have failed."""
    cells = [cell for grid in table["grids"].values() for cell in grid["cells"]]
    return sum(table["seeds"] * table["folds"] - len(cell["runs"]) for cell in cells)


Runs = Mapping[tuple[int, int], Mapping[str, Any]]
"""Results by seed and part."""


def _runs(ablation: Ablation, cell: Cell, results: Mapping[str, Mapping[str, Any]]) -> Runs:
    recipe = ablation.recipe_of(cell)
    places = [(seed, fold) for seed in range(ablation.seeds) for fold in range(ablation.folds)]
    found = {place: results.get(ablation.key(recipe, *place)) for place in places}
    return {place: run for place, run in found.items() if run is not None}


def _row(cell: Cell, runs: Runs, first: Runs) -> dict[str, Any]:
    row: dict[str, Any] = {"name": cell.name, "settings": list(cell.settings), "published": cell.published}
    row["trainable"] = next((run["trainable"] for run in runs.values()), None)
    for score in SCORES:
        differences = [runs[place][score] - first[place][score] for place in runs if place in first]
        row[score] = {
            **mean_and_error([run[score] for run in runs.values()]),
            "difference": None
            if runs is first
            else mean_and_error(differences)
            | {"pairs": len(differences), "better": sum(difference > 0 for difference in differences)},
        }
    cosines = [fmean(terms) for run in runs.values() if (terms := _cosines(run))]
    row["squared_cosine"] = fmean(cosines) if cosines else None
    row["runs"] = [
        {"seed": seed, "fold": fold, **{score: run[score] for score in SCORES}, "losses": run["losses"]}
        for (seed, fold), run in runs.items()
    ]
    return row


def mean_and_error(values: Sequence[float]) -> dict[str, float | None]:
    """Mean of some values and its standard error; None where there are too few."""
    return {
        "mean": fmean(values) if values else None,
        "se": stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None,
    }


def _cosines(run: Mapping[str, Any]) -> list[float]:
    return [value for name, value in run["losses"].items() if name.startswith("fod_") and value is not None]


def markdown(table: Mapping[str, Any], picture: str = "ablation.png") -> str:
    """The table for people. picture: the plot, as the page links it."""
    lines = ["# Ablation", "", *_setting(table), "", f"![scores of the cells]({picture})"]
    for grid in table["grids"].values():
        lines += ["", f"## {grid['title']}", ""]
        lines.append("| cell | runs | mIoU | difference | better | pixel accuracy | difference | cos² | published |")
        lines.append("|---|---|---|---|---|---|---|---|---|")
        for cell in grid["cells"]:
            miou, accuracy = cell["miou"], cell["pixel_accuracy"]
            apart = miou["difference"]
            better = "" if apart is None else f"{apart['better']} of {apart['pairs']}"
            cosine = "" if cell["squared_cosine"] is None else f"{cell['squared_cosine']:.3f}"
            columns = [cell["name"], str(len(cell["runs"])), _text(miou), _apart(apart), better, _text(accuracy)]
            columns += [_apart(accuracy["difference"]), cosine, cell["published"]]
            lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def _setting(table: Mapping[str, Any]) -> list[str]:
    """What was done, how and where."""
    pictures, recipe, machine = table["pictures"], table["recipe"], table["machine"]
    background = f" ({pictures['background']!r}: none of them)" if pictures["background"] else ""
    kept = f", refining {table['keep_classes']} words of each" if table["keep_classes"] else ""
    lines = [
        "Compositions at a small scale; not the papers' networks, data or training. The papers' scores stand beside "
        "for their order alone.",
        "",
        f"- Pictures: {pictures['count']} of {pictures['name']}, {pictures['classes']} classes{background}, in "
        f"{table['folds']} parts. A run learns from {pictures['learnt']} and is scored on {pictures['scored']} "
        f"others{kept}; IoU is of all of them together.",
        f"- Runs: {table['seeds']} for each cell and part, by seed. Each has {table['steps']} steps of "
        f"{recipe['batch']} crops of {recipe['crop']} px.",
    ]
    if table["align"]:
        lines.append(
            f"- Start: for each seed and part, tiny's projections, drawn anew, learn {table['align']} steps without "
            "aggregation from what is not held out. Every cell goes on from there, its aggregation from random weights."
        )
    lines += [
        f"- Trained on {', '.join(table['trained_on']) or 'nothing yet'}: {table['run_seconds']:.0f} s, the sum of all "
        f"runs; table made on {machine['cores']} cores ({machine['processor']}), segvoc {table['versions']['segvoc']}.",
        "- Scores: percent, mean ± standard error over seeds and parts. Differences are to the first row, paired by "
        'seed and part, bold where they exceed two standard errors; "better" counts the pairs above it. Runs that '
        "share pictures are not wholly independent, so the errors are on the small side. cos²: of the two streams in "
        "the last step, where its loss counts.",
    ]
    return [*lines, "", "```", table["command"], "```"] if table["command"] else lines


def _apart(value: Mapping[str, float | None] | None) -> str:
    """A difference, bold where it is larger than two standard errors."""
    if value is None or value["mean"] is None:
        return ""
    text, error = _text(value, "+"), value["se"]
    return f"**{text}**" if error is not None and abs(value["mean"]) > 2 * error else text


def _text(value: Mapping[str, float | None] | None, sign: str = "") -> str:
    if value is None or value["mean"] is None:
        return ""
    error = "" if value["se"] is None else f" ± {value['se']:.2f}"
    return f"{value['mean']:{sign}.2f}{error}"


def draw(path: Path, table: Mapping[str, Any]) -> None:
    """A plot of all grids: every run a dot, every cell's mean with its standard error.

    Raises: OutputError: the file can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here, since it takes a second to import
    from matplotlib.figure import Figure

    grids: list[dict[str, Any]] = list(table["grids"].values())
    columns = min(3, len(grids))
    rows = math.ceil(len(grids) / columns)
    figure = Figure(figsize=(5 * columns, 3.2 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns))
    for axes, grid in zip(panels, grids, strict=False):
        for place, cell in enumerate(grid["cells"]):
            scores = [run["miou"] for run in cell["runs"]]
            axes.plot(scores, [place] * len(scores), "o", color="0.75", markersize=4)
            if scores:
                axes.errorbar(cell["miou"]["mean"], place, xerr=cell["miou"]["se"], fmt="D", color="C0", capsize=3)
        axes.set_yticks(range(len(grid["cells"])), [cell["name"] for cell in grid["cells"]])
        axes.invert_yaxis()
        axes.set_xlabel("mIoU [%]")
        axes.set_title(grid["title"], fontsize="small", wrap=True)
    for axes in panels[len(grids) :]:
        axes.set_axis_off()
    write_atomically(path, lambda file: FigureCanvasAgg(figure).print_png(file))


def write_table(out: str | os.PathLike[str], table: Mapping[str, Any], *, plot: bool = True) -> None:
    """Write `ablation.json`, `ablation.md` and, unless `plot` is off, `ablation.png` to a folder.

    Raises: OutputError: a file can't be written.
    """
    folder = Path(out)
    write_json(folder / "ablation.json", table)
    page = markdown(table)
    write_atomically(folder / "ablation.md", lambda file: file.write(page.encode()))
    if plot:
        draw(folder / "ablation.png", table)
