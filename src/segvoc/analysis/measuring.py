"""Seconds and memory that a piece of work takes."""

import contextlib
import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a piece of work took: its quickest run [s]; and, in its first, memory beyond what was there before [GB].

    memory is None where the system doesn't tell: on a CPU only Linux does.
    """

    seconds: float
    memory: float | None


def measured(work: Callable[[], object], device: torch.device, repeat: int = 3) -> Measured:
    """Run `work` once for its memory, and `repeat` times for its seconds."""
    before = _start(device)
    work()
    _wait(device)
    memory = _peak(device)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    if memory is not None and before is not None:
        memory = max(0.0, memory - before) / 1e9
    return Measured(seconds=min(seconds), memory=None if before is None else memory)


def _start(device: torch.device) -> float | None:
    """Let the peak begin anew; the bytes that are in use."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(OSError, AttributeError):
        # what the C library keeps of freed memory would be used before any new
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        _RESET.write_text("5")
        return _peak(device)
    return None


def _peak(device: torch.device) -> float | None:
    """The most bytes that were in use since the peak began anew."""
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
