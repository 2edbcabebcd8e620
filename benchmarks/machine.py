"""The machine that a benchmark runs on, and how its figures are kept."""

import json
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def matrix_rate() -> float:
    """fp32 product of 2048x2048 matrices [GFLOP/s]: what to scale times of different machines and moments by."""
    a = torch.randn(2048, 2048)
    torch.mm(a, a)
    start = time.perf_counter()
    for _ in range(5):
        torch.mm(a, a)
    return 5 * 2 * 2048**3 / (time.perf_counter() - start) / 1e9


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs after a warm-up [s]: on a shared machine the one that was disturbed least."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def keep(name: str, rows: list[dict[str, object]], **facts: str) -> None:
    """Print rows as a table and keep them, with the machine, the day and further facts, in `results/NAME.json`."""
    columns = list(rows[0])
    cells = [columns, *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    RESULTS.mkdir(exist_ok=True)
    machine = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "matrix_rate_gflops": round(matrix_rate()),
        **facts,
    }
    text = json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
