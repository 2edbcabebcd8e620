"""Scores for each value of a setting: ERR-Seg's k, lambda, P and reductions (Tables 7, 8, 9, 14 and Fig. 6)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from papers.drawing import markdown_table, new_figure, save_figure, save_table
from papers.view_options import out_option
from segvoc.cli import run_command
from segvoc.cli.dataset_options import data_option, data_root
from segvoc.cli.options import NETWORK_OPTIONS, ModelOptions, given_options, model_options
from segvoc.cli.output import echo
from segvoc.data.benchmarks import find_benchmark
from segvoc.errors import UsageError
from segvoc.evaluation.report import ModelOrigin, origin_of
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.inference.label_options import IMAGE_OPTIONS, OPTION_TEXTS, LabelKeywords, LabelOptions
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.opening import load_network
from segvoc.models.resolving import resolve
from segvoc.models.weightless import weightless
from segvoc.models.weights import architecture

ModelLoader = Callable[[Mapping[str, object]], tuple[NetworkSegmenter, ModelOrigin]]
"""Loads the model with changed options."""

_LABEL_OPTIONS = tuple(name for name in IMAGE_OPTIONS if name != "background")
"""Excluded, since benchmarks define the background."""


@click.command()
@click.argument("model")
@click.option(
    "--vary",
    multiple=True,
    required=True,
    metavar="NAME=V,V",
    help="A setting and its values; repeat for more settings.",
)
@click.option("--benchmark", required=True, metavar="NAME", help="A benchmark prepared by `segvoc prepare`.")
@data_option("Folder in which it was prepared.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Evaluate the first N images only.")
@out_option
@model_options(*NETWORK_OPTIONS)
@given_options(*_LABEL_OPTIONS)
def sweep(
    model: str,
    vary: Sequence[str],
    benchmark: str,
    data: str | None,
    limit: int | None,
    out: str,
    chosen: ModelOptions,
    given: LabelKeywords,
) -> None:
    """Score MODEL on a benchmark with each value of a setting (ERR-Seg, Tables 7, 8, 9, 14 and Fig. 6).

    \b
    python -m papers.sweep err-seg-b --weights W --vary top=1,3,5 --vary keep_classes=16,32,all --benchmark a-150 \\
        --data ROOT --out FOLDER

    A setting is an option of the network (as in --set) or of labels (keep_classes, window, threshold). The benchmark is
    scored by its published protocol except for the varied setting. Writes sweep.md, sweep.json, sweep.png and the
    report of every evaluation; repeat the call to resume.
    """
    axes = [Axis.parse(text) for text in vary]
    for axis in axes:
        for value in axis.values:
            # build the network without weights, to catch unknown options before the first evaluation
            options, _ = axis.changed(value, EvaluationSettings())
            preset, configuration = architecture(resolve(model, options={**chosen.departures(), **options}))
            with weightless():
                preset.build(configuration)
    root = data_root(data, "--benchmark needs the folder in which it was prepared; give --data ROOT")
    task = EvaluationTask.of_benchmark(find_benchmark(benchmark), root)

    def load(options: Mapping[str, object]) -> tuple[NetworkSegmenter, ModelOrigin]:
        departures = {**chosen.departures(), **options}
        network = load_network(
            model, weights=chosen.weights, device=chosen.device, dtype=chosen.dtype, options=departures
        )
        return network, origin_of(network, chosen.weights, departures)

    score(load, task, axes, Path(out), EvaluationSettings(options=given, limit=limit))
    echo(f"{out}/sweep.md")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting and its values."""

    name: str
    values: tuple[str, ...]
    """The values as written by the user."""

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """Read a text such as "top=1,2,3"."""
        name, equals, values = (part.strip() for part in text.partition("="))
        found = tuple(value.strip() for value in values.split(",") if value.strip())
        if not equals or not found:
            raise UsageError(f"{text!r} has no values to vary; write NAME=VALUE,VALUE, for example top=1,3,5")
        if len(set(found)) < len(found):
            raise UsageError(f"{text!r} has a duplicate value; give each once")
        if name in _LABEL_OPTIONS:
            for value in found:
                parse_option(name, value)
        return cls(name=name, values=found)

    def changed(self, value: str, settings: EvaluationSettings) -> tuple[dict[str, object], EvaluationSettings]:
        """The network options and settings for a value."""
        if self.name in _LABEL_OPTIONS:
            options: Any = {**settings.options, self.name: parse_option(self.name, value)}
            return {}, replace(settings, options=options)
        return {self.name: value}, settings


def parse_option(name: str, text: str) -> Any:
    """Parse the text of an option, a key of `OPTION_TEXTS`; raises `UsageError` if it is not a valid value."""
    about = OPTION_TEXTS[name]
    if about.choices and text not in about.choices:
        raise UsageError(f"{name}={text} is unknown; it is one of {', '.join(about.choices)}")
    try:
        value = None if about.parse is None else about.parse(text)
    except ValueError:
        value = None
    if value is None:
        raise UsageError(f"{name}={text} is not a value of this option; see `segvoc segment --help`")
    return getattr(LabelOptions(**{name: value}), name)


def score(
    load: ModelLoader, task: EvaluationTask, axes: Sequence[Axis], out: Path, settings: EvaluationSettings
) -> list[dict[str, Any]]:
    """Evaluate a model unchanged and with each value of each axis, one axis at a time, and write the table.

    Each evaluation has its own folder in `out` and resumes there.

    Returns:
        A row per evaluation: "setting", "value", "miou" and "pixel_accuracy" [%], "seconds" (median per image),
        "images", and the mean numbers of "true" and "found" classes in an image (ERR-Seg, Table 9).
    """
    rows = []
    asked = [("unchanged", "", ({}, settings))]
    asked += [(axis.name, value, axis.changed(value, settings)) for axis in axes for value in axis.values]
    for name, value, (options, changed) in asked:
        title = f"{name}={value}" if value else name
        segmenter, origin = load(options)
        report = evaluate(segmenter, task, out / re.sub(r"[^\w=.-]+", "_", title), changed, origin=origin)
        rows.append(_row(name, value, report))
        echo(f"{title}: mIoU {_percent(report['miou'])}", err=True)
    write_sweep(out, rows, {"data": task.title, "limit": settings.limit})
    return rows


def write_sweep(folder: Path, rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> None:
    """Write sweep.md, sweep.json, and sweep.png with a panel for each setting."""
    lines = [
        (
            *(row["setting"], row["value"], _percent(row["miou"]), _percent(row["pixel_accuracy"])),
            *("" if row[name] is None else f"{row[name]:.2f}" for name in ("true", "found")),
            *("" if row["seconds"] is None else f"{row['seconds']:.3f}", str(row["images"])),
        )
        for row in rows
    ]
    head = ("setting", "value", "mIoU", "pixel accuracy", "true classes", "found", "seconds per image", "images")
    save_table(folder, "sweep", markdown_table(head, lines), {**metadata, "rows": [dict(row) for row in rows]})
    unchanged, *others = rows
    names = list(dict.fromkeys(row["setting"] for row in others))
    figure = new_figure(len(names), 1)
    for name, axes in zip(names, np.ravel(figure.subplots(1, len(names))), strict=True):
        chosen = [row for row in others if row["setting"] == name]
        values = [row["value"] for row in chosen]
        axes.plot(values, np.array([row["miou"] for row in chosen], float), "o-", color="C0")
        axes.axhline(np.array(unchanged["miou"], float).item(), color="gray", linewidth=1, linestyle="--")
        axes.set(xlabel=name, ylabel="mIoU [%] (dashed: unchanged)")
    save_figure(folder / "sweep.png", figure)


def _row(setting: str, value: str, report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "setting": setting,
        "value": value,
        "miou": report["miou"],
        "pixel_accuracy": report["pixel_accuracy"],
        "seconds": report["latency_seconds"]["median"],
        "images": report["data"]["evaluated"],
        **(report["classes_per_image"] or {"true": None, "found": None}),
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    run_command(sweep, "python -m papers.sweep")
