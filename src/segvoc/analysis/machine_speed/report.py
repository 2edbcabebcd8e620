"""The results for people and for programs: a table, a record, a figure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segvoc.analysis.charts import new_figure, save_figure
from segvoc.analysis.machine_speed.advice import advice_from
from segvoc.analysis.machine_speed.machine import Machine
from segvoc.analysis.machine_speed.measurement import Bench
from segvoc.analysis.machine_speed.rows import SpeedRow, count_text, in_order, rounded
from segvoc.version import __version__

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = {"float32": "#1b7f79", "bfloat16": "#e08e45"}
_COLUMNS = 3
"""Models beside one another."""
_BAR = 0.26
"""Width of a bar, where numbers of words are 1 apart."""


def record_of(bench: Bench, seconds: float, *, complete: bool) -> dict[str, Any]:
    """All results as plain values.

    Args:
        bench: the measurement.
        seconds: the time that it took [s].
        complete: whether it came to its end.
    """
    settings, rows = bench.settings, in_order(bench.rows)
    models: dict[str, dict[str, Any]] = {}
    for (model, dtype), loaded in bench.loaded.items():
        facts = models.setdefault(model, {"model": model, "weights": "random" if loaded.random else "own"})
        facts[dtype] = {"load_seconds": loaded.load_seconds, "seconds_per_new_word": loaded.word_seconds}
    return {
        "segvoc": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": dict(bench.machine.record()),
        "settings": {
            "words": list(settings.words),
            "width": settings.size[0],
            "height": settings.size[1],
            "window": settings.window,
            "options": dict(settings.options),
            "seconds": settings.seconds,
        },
        "models": list(models.values()),
        "rows": [dict(row.record()) for row in rows],
        "advice": advice_from(rows),
        "seconds": seconds,
        "complete": complete,
    }


def text_of(bench: Bench) -> str:
    """All results for people: the machine, a table, how long words take, advice."""
    machine, settings, rows = bench.machine, bench.settings, in_order(bench.rows)
    advice = advice_from(rows)
    lines = [
        *_machine_lines(machine),
        f"images of {settings.size[0]} x {settings.size[1]} pixels from memory to label map, window {settings.window}; "
        "words are encoded before",
        "",
        *_table_lines(rows),
        "",
    ]
    for (model, dtype), loaded in bench.loaded.items():
        weights = "random weights, which take about the same time" if loaded.random else "own weights"
        times = (
            f"{rounded(loaded.load_seconds)} s to load, {rounded(1000 * loaded.word_seconds)} ms to encode a new word"
        )
        lines.append(f"{model}, {dtype}: {times} ({weights})")
    return "\n".join([*lines, *([""] if advice else []), *advice])


def _machine_lines(machine: Machine) -> list[str]:
    """Name and memory, and the matrix rates."""
    used = f"{count_text(machine.cores, 'core')}, {count_text(machine.threads, 'thread')}"
    parts = [f"{machine.cpu}: {used}, {machine.memory_gb:.0f} GB"]
    if machine.gpu is not None:
        parts.insert(0, f"{machine.gpu}: {machine.gpu_memory_gb:.0f} GB")
    elif machine.bfloat16_instructions is not None:
        parts.append(f"bfloat16 by {machine.bfloat16_instructions}")
    else:
        parts.append("no instructions for bfloat16")
    rates = f"float32 {rounded(machine.float32_gflops, 3)}, bfloat16 {rounded(machine.bfloat16_gflops, 3)} GFLOP/s"
    return ["; ".join([*parts, f"PyTorch {machine.pytorch}"]), f"matrix products: {rates}"]


def _table_lines(rows: Sequence[SpeedRow]) -> list[str]:
    """The rows under the names of the columns; what wasn't measured says why in place of its figures."""
    table: list[Sequence[str]] = [
        ("model", "dtype", "words", "threads", "settings", "s/image", "from - to", "images/s", "GB")
    ]
    for row in rows:
        spread = f"{rounded(row.fastest)} - {rounded(row.slowest)}"
        measured = (rounded(row.seconds), spread, rounded(row.images_per_second), rounded(row.memory_gb))
        figures = measured if row.status == "measured" else ("", "", "", "")
        case = row.case
        table.append((case.model, case.dtype, f"{case.words:,}", str(case.threads), case.settings, *figures))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells, row in zip(table, [None, *rows], strict=True):
        aligned = [
            cell.ljust(width) if name in ("model", "dtype", "settings") else cell.rjust(width)
            for name, cell, width in zip(table[0], cells, widths, strict=True)
        ]
        if row is not None and row.status != "measured":
            aligned[5:] = [f"{row.status}: {row.note}"]
        lines.append("  ".join(aligned).rstrip())
    return lines


def draw_figure(path: Path, rows: Sequence[SpeedRow], machine: Machine) -> None:
    """Draw the seconds per image of every model by words and dtype, and with few classes kept.

    Raises:
        OutputError: the file can't be written.
        UsageError: matplotlib isn't installed.
    """
    models = list(dict.fromkeys(row.case.model for row in rows))
    columns = min(len(models), _COLUMNS)
    lines = -(-len(models) // _COLUMNS)
    figure = new_figure(max(1.4, columns), 0.95 * lines, 4.2)
    figure.suptitle(f"{machine.name}: seconds per image", fontsize=10)
    panels = np.ravel(figure.subplots(lines, columns, squeeze=False))
    bars: dict[str, Any] = {}
    for axes, model in zip(panels, models, strict=False):
        bars |= _draw_model(axes, [row for row in rows if row.case.model == model])
        axes.set_title(Path(model).name, fontsize=10)
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    if bars:
        figure.legend(list(bars.values()), list(bars), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    save_figure(path, figure)


def _draw_model(axes: "Axes", rows: Sequence[SpeedRow]) -> dict[str, Any]:
    """Draw groups of bars, one for each number of words; a row that wasn't measured says so in place of its bar.

    Returns:
        a bar of each kind, by the name of the kind.
    """
    most = max(row.case.threads for row in rows)
    drawn = [row for row in in_order(rows) if row.case.threads == most and row.case.batch == row.case.processes == 1]
    numbers = sorted({row.case.words for row in drawn})
    kinds: dict[str, Any] = {}
    for place, number in enumerate(numbers):
        group = [row for row in drawn if row.case.words == number]
        for at, row in enumerate(group):
            x = place + _BAR * (at - (len(group) - 1) / 2)
            if row.seconds is None:
                axes.text(x, 0, f" {row.status}", rotation=90, ha="center", va="bottom", fontsize=8, color="gray")
                continue
            reach = [[row.seconds - (row.fastest or 0.0)], [(row.slowest or 0.0) - row.seconds]]
            bar = axes.bar(
                x,
                row.seconds,
                width=0.92 * _BAR,
                yerr=reach,
                ecolor="#444444",
                color=_COLORS[row.case.dtype],
                alpha=1.0 if row.case.is_plain else 0.45,
                hatch=None if row.case.is_plain else "//",
            )
            kinds[", ".join(filter(None, [row.case.dtype, row.case.settings]))] = bar
            axes.bar_label(bar, [rounded(row.seconds)], padding=2, fontsize=7.5)
    axes.set_xticks(range(len(numbers)), [count_text(number, "word") for number in numbers])
    axes.set_xlim(-0.6, len(numbers) - 0.4)
    axes.margins(y=0.12)
    axes.set_ylabel("seconds per image")
    axes.spines[["top", "right"]].set_visible(False)
    return kinds
