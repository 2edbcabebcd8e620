"""Scores for each value of a setting: ERR-Seg's k, lambda, P and reductions (Tables 6 to 9, 11, 12, 14, Fig. 6)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.analysis.charts import new_figure, save_figure
from segvoc.analysis.tables import markdown_table, save_table
from segvoc.errors import UsageError
from segvoc.evaluation.result import ModelOrigin
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from segvoc.inference.label_options import IMAGE_OPTIONS, parse_option
from segvoc.models.network_segmenter import NetworkSegmenter

_MODEL = "model"
"""The setting that names files, in place of options of the network or of labels."""

ModelLoader = Callable[[str | None, Mapping[str, object]], tuple[NetworkSegmenter, ModelOrigin]]
"""Loads a model (None: the one of the sweep) with changed options."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting and the values that it takes."""

    name: str
    values: tuple[str, ...]
    """The values as the user writes them."""

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """Read a text such as "top=1,2,3".

        Raises:
            UsageError: it has no setting or no values, or one of them is unknown.
        """
        name, equals, values = (part.strip() for part in text.partition("="))
        found = tuple(value.strip() for value in values.split(",") if value.strip())
        if not equals or not found:
            raise UsageError(f"{text!r} has no values to vary; write NAME=VALUE,VALUE, for example top=1,3,5")
        if len(set(found)) < len(found):
            raise UsageError(f"{text!r} has the same value twice; give each once")
        axis = cls(name=name, values=found)
        if name in IMAGE_OPTIONS:
            for value in found:
                parse_option(name, value)
        return axis

    def changed(
        self, value: str, settings: EvaluationSettings
    ) -> tuple[str | None, dict[str, object], EvaluationSettings]:
        """The model (None: unchanged), its changed options and the settings that stand for a value."""
        if self.name in IMAGE_OPTIONS:
            options: Any = {**settings.options, self.name: parse_option(self.name, value)}
            return None, {}, replace(settings, options=options)
        return (value, {}, settings) if self.name == _MODEL else (None, {self.name: value}, settings)


def sweep(
    load: ModelLoader,
    task: EvaluationTask,
    axes: Sequence[Axis],
    out: Path,
    settings: EvaluationSettings,
    log: Callable[[str], object] = lambda line: None,
) -> list[dict[str, Any]]:
    """Evaluate a model as it is, and with each value of each axis, one axis at a time.

    Each evaluation has its own folder in `out` and resumes there, so an interrupted sweep can be repeated. The table is
    written as sweep.md, sweep.json and sweep.png.

    Args:
        load: loads the model with changed options.
        task: the labeled images.
        axes: the settings to vary.
        out: folder of the table and the evaluations.
        settings: how to evaluate, where no axis changes it.
        log: called with a line about each evaluation.

    Returns:
        A row for each evaluation: "setting", "value", "miou" and "pixel_accuracy" [%], "seconds" (median per image),
        "memory" (peak of the process so far [GB]), "images", and the mean numbers of classes in an image, "true" ones
        and those of them that are "found" (ERR-Seg, Table 9).

    Raises:
        UsageError: the network doesn't have an option, or a folder holds another evaluation.
        OutputError: a file can't be written.
    """
    rows = []
    asked = [("unchanged", "", (None, {}, settings))]
    asked += [(axis.name, value, axis.changed(value, settings)) for axis in axes for value in axis.values]
    for name, value, (model, options, changed) in asked:
        title = f"{name}={value}" if value else name
        segmenter, origin = load(model, options)
        report = evaluate(segmenter, task, out / re.sub(r"[^\w=.-]+", "_", title), changed, origin=origin)
        rows.append(_row(name, value, report))
        log(f"{title}: mIoU {_percent(report['miou'])}")
    write_sweep(out, rows, {"data": task.title, "limit": settings.limit})
    return rows


def write_sweep(folder: Path, rows: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]) -> None:
    """Write sweep.md, sweep.json, and sweep.png with a panel for each setting.

    Raises:
        OutputError: a file can't be written.
        UsageError: matplotlib isn't installed.
    """
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
    if not names:
        return
    figure = new_figure(len(names), 1)
    for name, axes in zip(names, np.ravel(figure.subplots(1, len(names))), strict=True):
        chosen = [row for row in others if row["setting"] == name]
        values = [row["value"] if name != _MODEL else Path(row["value"]).stem for row in chosen]
        axes.plot(values, [_or_nan(row["miou"]) for row in chosen], "o-", color="C0")
        axes.axhline(_or_nan(unchanged["miou"]), color="gray", linewidth=1, linestyle="--")
        axes.set(xlabel=name, ylabel="mIoU [%] (dashed: unchanged)")
        time_axes = axes.twinx()
        seconds = [np.nan if row["seconds"] is None else row["seconds"] for row in chosen]
        time_axes.plot(values, seconds, "s:", color="C1", linewidth=1)
        time_axes.set_ylabel("seconds per image", color="C1")
        time_axes.set_ylim(0, 1.15 * max([*filter(np.isfinite, seconds), 1e-3]))
    save_figure(folder / "sweep.png", figure)


def _row(setting: str, value: str, report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "setting": setting,
        "value": value,
        "miou": report["miou"],
        "pixel_accuracy": report["pixel_accuracy"],
        "seconds": report["latency_seconds"]["median"],
        "memory": report["peak_memory_gb"],
        "images": report["data"]["evaluated"],
        **(report["classes_per_image"] or {"true": None, "found": None}),
    }


def _percent(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _or_nan(score: float | None) -> float:
    return float("nan") if score is None else score
