"""Measuring time, describing the machine, and saving the results of a benchmark."""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

from segvoc.runtime.hardware import bfloat16_instructions
from segvoc.runtime.process_settings import keep_freed_memory
from tools.make_tables import markdown

Result = TypeVar("Result")

THREADS = 2
RESULTS = Path(__file__).parent / "results"


def matrix_rate(dtype: torch.dtype = torch.float32, device: str = "cpu") -> float:
    """Speed of a 2048x2048 matrix product, on a GPU 8192x8192 [GFLOP/s]."""
    side = 2048 if device == "cpu" else 8192
    a = torch.randn(side, side, device=device).to(dtype)
    return 2 * side**3 / fastest(lambda: (torch.mm(a, a), synchronize()), 5) / 1e9


def alone(work: Callable[..., Result], *arguments: object, keeps_memory: bool = True) -> Result:
    """What a function returns in a process of its own, with two threads and, if asked to, our settings of memory."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_set_up, initargs=(keeps_memory,)) as process:
        return process.submit(work, *arguments).result()


def _set_up(keeps_memory: bool) -> None:
    os.environ["OMP_NUM_THREADS"] = str(THREADS)  # of ONNX Runtime
    torch.set_num_threads(THREADS)
    if keeps_memory:
        keep_freed_memory()  # as our command line does


def synchronize() -> None:
    """Wait for a GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Shortest of several runs after a warm-up [s]: the least disturbed one on a shared machine."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def keep(name: str, rows: list[dict[str, object]], device: str = "cpu", **facts: str) -> None:
    """Print rows as a table and save them, with the machine, the date and other facts, as `results/NAME.json`."""
    texts = ((f"{value:.3g}" if isinstance(value, float) else value for value in row.values()) for row in rows)
    print(markdown(iter([tuple(rows[0]), *map(tuple, texts)])))
    save(name, rows, device, **facts)


def save(name: str, rows: list[dict[str, object]], device: str = "cpu", **facts: str) -> None:
    """Save rows as `keep` does, without printing them."""
    RESULTS.mkdir(exist_ok=True)
    machine = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **described(device),
        "matrix_rate_gflops": round(matrix_rate(device=device)),
        **facts,
    }
    text = json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def update(
    name: str, rows: Sequence[Mapping[str, object]], key: Sequence[str], device: str = "cpu", **facts: str
) -> None:
    """Save rows in place of those of earlier runs that have the same values in the columns of a key."""
    file = RESULTS / f"{name}.json"
    before = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    merged = {tuple(row[column] for column in key): dict(row) for row in (*before, *rows)}
    save(name, list(merged.values()), device, **facts)


def described(device: str = "cpu") -> dict[str, object]:
    """What must be the same for times to be comparable."""
    gpu: dict[str, object] = {} if device == "cpu" else {"gpu": torch.cuda.get_device_name()}
    return gpu | {
        "processor": platform.processor() or platform.machine(),
        "instructions": bfloat16_instructions() or "without bfloat16",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
