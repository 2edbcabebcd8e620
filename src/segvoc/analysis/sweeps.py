"""Scores over the values of a setting: ERR-Seg's k, lambda, P and reductions (Tables 6 to 9, 11, 12, 14, Fig. 6)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.analysis.charts import new_figure, save_figure, save_figures
from segvoc.errors import UsageError
from segvoc.evaluation.outcome import Origin
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.task import Settings, Task
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.window_names import WINDOWS
from segvoc.layers.class_selection import KeepClasses
from segvoc.networks.options import Options
from segvoc.storage.atomic_writes import write_atomically

KEEP_CLASSES, WINDOW, MODEL = "keep_classes", "window", "model"
"""What may vary beside the options of a network: P, the way of a picture, and the file of weights."""

Loader = Callable[[str | None, Mapping[str, object]], tuple[Segmenter, Origin]]
"""Loads a model (None: the one that is swept) with departures from it."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting and the values that it takes, as texts."""

    name: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """From a text as "top=1,2,3".

        Raises: UsageError: it names no setting, no values, or an unknown one.
        """
        name, equals, values = (part.strip() for part in text.partition("="))
        found = tuple(value.strip() for value in values.split(",") if value.strip())
        if not equals or not found:
            raise UsageError(f"{text!r} varies nothing; write it as NAME=VALUE,VALUE, for example top=1,3,5")
        if len(set(found)) < len(found):
            raise UsageError(f"{text!r} names a value twice; name each once")
        axis = cls(name=name, values=found)
        for value in found:
            if name == WINDOW and value not in WINDOWS:
                raise UsageError(f"window={value} is unknown; it is one of {', '.join(WINDOWS)}")
            if name == KEEP_CLASSES:
                _kept(value)
            elif name not in (WINDOW, MODEL):
                Options.of({name: value})
        return axis

    def changed(self, value: str, settings: Settings) -> tuple[str | None, dict[str, object], Settings]:
        """The model (None: as it is), its options and the settings that a value stands for."""
        if self.name == KEEP_CLASSES:
            return None, {}, replace(settings, keep_classes=_kept(value))
        if self.name == WINDOW:
            return None, {}, replace(settings, window=next(window for window in WINDOWS if window == value))
        return (value, {}, settings) if self.name == MODEL else (None, {self.name: value}, settings)


def sweep(
    load: Loader,
    task: Task,
    axes: Sequence[Axis],
    out: Path,
    settings: Settings,
    said: Callable[[str], object] = lambda line: None,
) -> list[dict[str, Any]]:
    """Evaluate the model as it is, and with every value of every axis, one axis at a time.

    Each evaluation has a folder of its own below `out` and is continued where it stands, so a sweep that was broken off
    goes on. The table is sweep.md, sweep.json and sweep.png.

    Returns: a row for each: "setting", "value", "miou" and "pixel_accuracy" [%], "seconds" (median per picture),
        "memory" [GB, of the process so far], "pictures".

    Raises:
        UsageError: an option that the network hasn't, or a folder that holds another evaluation.
        OutputError: a file can't be written.
    """
    rows = [_row("as it is", "", _report(load, task, out / "as_it_is", None, {}, settings))]
    said(_told(rows[-1]))
    for axis in axes:
        for value in axis.values:
            folder = out / _folder_name(f"{axis.name}={value}")
            rows.append(_row(axis.name, value, _report(load, task, folder, *axis.changed(value, settings))))
            said(_told(rows[-1]))
    write_sweep(out, rows, {"data": task.title, "limit": settings.limit})
    return rows


def write_sweep(folder: Path, rows: Sequence[Mapping[str, Any]], told: Mapping[str, Any]) -> None:
    """Write sweep.md, sweep.json, and sweep.png with a panel for each setting.

    Raises: OutputError: the system refused.
    """
    save_figures(folder / "sweep.json", {**told, "rows": [dict(row) for row in rows]})
    lines = ["| setting | value | mIoU | pixel accuracy | seconds a picture | pictures |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [row["setting"], row["value"], _percent(row["miou"]), _percent(row["pixel_accuracy"])]
        cells += ["" if row["seconds"] is None else f"{row['seconds']:.3f}", str(row["pictures"])]
        lines.append(f"| {' | '.join(cells)} |")
    write_atomically(folder / "sweep.md", lambda file: file.write(("\n".join(lines) + "\n").encode()))
    whole, *others = rows
    names = list(dict.fromkeys(row["setting"] for row in others))
    if not names:
        return
    figure = new_figure(len(names), 1)
    for name, axes in zip(names, np.ravel(figure.subplots(1, len(names))), strict=True):
        chosen = [row for row in others if row["setting"] == name]
        values = [row["value"] if name != MODEL else Path(row["value"]).stem for row in chosen]
        axes.plot(values, [_or_nan(row["miou"]) for row in chosen], "o-", color="C0")
        axes.axhline(_or_nan(whole["miou"]), color="grey", linewidth=1, linestyle="--")
        axes.set(xlabel=name, ylabel="mIoU [%] (dashed: as it is)")
        beside = axes.twinx()
        seconds = [np.nan if row["seconds"] is None else row["seconds"] for row in chosen]
        beside.plot(values, seconds, "s:", color="C1", linewidth=1)
        beside.set_ylabel("seconds a picture", color="C1")
        beside.set_ylim(0, 1.15 * max([*filter(np.isfinite, seconds), 1e-3]))
    save_figure(folder / "sweep.png", figure)


def _report(
    load: Loader, task: Task, out: Path, model: str | None, options: Mapping[str, object], settings: Settings
) -> dict[str, Any]:
    segmenter, origin = load(model, options)
    report = evaluate(segmenter, task, out, settings, origin=origin)
    assert report is not None  # there is one process
    return report


def _row(setting: str, value: str, report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "setting": setting,
        "value": value,
        "miou": report["miou"],
        "pixel_accuracy": report["pixel_accuracy"],
        "seconds": report["latency_seconds"]["median"],
        "memory": report["peak_memory_gb"],
        "pictures": report["data"]["evaluated"],
    }


def _told(row: Mapping[str, Any]) -> str:
    name = f"{row['setting']}={row['value']}" if row["value"] else row["setting"]
    return f"{name}: mIoU {_percent(row['miou'])}"


def _kept(text: str) -> KeepClasses:
    if text == "auto":
        return "auto"
    if text == "all":
        return "all"
    if not text.isdecimal() or not int(text):
        raise UsageError(f"keep_classes={text} is no number of classes; give one from 1, auto or all")
    return int(text)


def _folder_name(text: str) -> str:
    return re.sub(r"[^\w=.-]+", "_", text)


def _percent(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"


def _or_nan(score: float | None) -> float:
    return float("nan") if score is None else score
