"""Measuring time and memory."""

import contextlib
import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Time and memory of a function."""

    seconds: float
    """Time of the fastest run [s]."""
    memory: float | None
    """Peak memory of the first run above that in use before it [GB]; None where the system doesn't report it (of CPUs
    only Linux does)."""


def measure(work: Callable[[], object], device: torch.device, repeat: int = 3) -> Measurement:
    """Call `work` once to measure its memory, then `repeat` times to measure its time."""
    before = reset_peak(device)
    work()
    _wait(device)
    memory = peak_bytes(device)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    if memory is not None and before is not None:
        memory = max(0.0, memory - before) / 1e9
    return Measurement(seconds=min(seconds), memory=None if before is None else memory)


def reset_peak(device: torch.device) -> float | None:
    """Reset the peak of `peak_bytes`; returns the bytes in use, or None where the system can't."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(OSError, AttributeError, TypeError):  # TypeError: Windows, which has no common library
        # the C library would reuse the freed memory that it keeps, and the peak would not move
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        _RESET.write_text("5")
        return peak_bytes(device)
    return None


def peak_bytes(device: torch.device) -> float | None:
    """The most bytes in use since `reset_peak`; None where the system doesn't report it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * float(line.split()[1])
    return None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
