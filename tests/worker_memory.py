"""What a process of the tests keeps in memory from one test to the next.

Workers grew to 4 or 5 GB. A caught error, its traceback and the test's frame, with whole networks, make a cycle, which
Python looks for rarely among a million objects. And glibc keeps much of what is freed, as the command line asks it to.
"""

import atexit
import ctypes
import functools
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_GROWTH = 100e6
"""Bytes that tests may add before the process is tidied up, which takes some hundredths of a second."""

_MMAP_THRESHOLD, _LARGEST_KEPT = -3, 1 << 20
"""A parameter of glibc's mallopt, and bytes: larger tensors go back to the system as soon as they are freed."""


class WorkerMemory:
    """A plugin of pytest: tidies up between tests."""

    def __init__(self) -> None:
        gc.disable()  # modules are no garbage, and looking for some among them takes seconds
        self.tidied = 0.0

    def pytest_collection_finish(self) -> None:
        """From here on Python's collector looks only at objects that tests make."""
        gc.freeze()
        gc.set_threshold(10_000)  # at 700, a tenth of the time of an export
        gc.enable()
        atexit.register(gc.unfreeze)  # else extension modules complain at the end that their objects are still there
        self.tidied = _resident()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        _glibc("mallopt", _MMAP_THRESHOLD, _LARGEST_KEPT)
        result = yield
        if nextitem is None or nextitem.path != item.path:
            clear_caches()
        if _resident() > self.tidied + _GROWTH:
            gc.collect()
            _glibc("malloc_trim", 0)
            self.tidied = _resident()
        return result

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output["peak"] = _status("VmHWM")


class PeakMemory:
    """A plugin of pytest: prints at the end how much memory the workers took."""

    def __init__(self) -> None:
        self.peaks: dict[str, float] = {}

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        self.peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak", 0.0)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if any(self.peaks.values()):
            shown = ", ".join(f"{peak / 1e9:.2f}" for _, peak in sorted(self.peaks.items()))
            terminalreporter.write_line(f"peak memory of the workers: {shown} GB")


def clear_caches() -> None:
    """Clear every `functools.cache` of the tests' modules, and of FastAPI's, which keep applications with models."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("tests", "fastapi"):
            for value in vars(module).values():
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), function):
        getattr(library, function)(*arguments)


def _resident() -> float:
    return _status("VmRSS")


def _status(figure: str) -> float:
    """Memory of this process, now (VmRSS) or at its peak (VmHWM), in bytes; 0 where Linux's figures aren't."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return float(status.split(f"{figure}:")[1].split()[0]) * 1024
