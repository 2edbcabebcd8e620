"""What a process of the tests keeps in memory from one test to the next, and how much it had at most.

Workers grew to 4 or 5 GB. Where a test catches an error, the error, its traceback and the test's own frame make a
cycle, with whole networks in the frames; Python looks for cycles the less often the more objects there are, and with
everything imported there are a million. And glibc keeps much of what is freed, the more so since the command line,
which tests call in this process, asks it to.
"""

import ctypes
import functools
import gc
import os
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
    """A plugin of pytest: tidies up between tests, and names the largest process of a run with its test.

    Where the environment variable SEGVOC_TEST_MEMORY is a number of gigabytes (10^9 bytes) and a process had more, the
    run fails.
    """

    def __init__(self) -> None:
        limit = os.environ.get("SEGVOC_TEST_MEMORY")
        self.limit = float(limit) * 1e9 if limit else float("inf")
        self.largest: tuple[float, str] = (0, "")
        self.tidied = 0.0

    def pytest_collection_finish(self) -> None:
        """From here on Python's collector looks only at objects that tests make."""
        gc.collect()
        gc.freeze()
        self.tidied = resident()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        """The process after a test: what it had at most, and without what nothing needs any more."""
        _keep_little()
        result = yield
        if (peak := _peak()) > self.largest[0]:
            self.largest = (peak, item.nodeid)
        if nextitem is None or nextitem.path != item.path:
            clear_caches()
        if resident() > self.tidied + _GROWTH:
            gc.collect()
            _return_freed()
            self.tidied = resident()
        return result

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A worker of pytest-xdist sends its figure to the process that reports."""
        gc.unfreeze()  # else extension modules complain at the end that their objects are still there
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["largest"] = self.largest
        elif self.largest[0] > self.limit:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended; one that crashed has sent nothing."""
        self.largest = max(self.largest, tuple(getattr(node, "workeroutput", {}).get("largest", (0, ""))))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line, at the end."""
        size, test = self.largest
        allowed = f"; more than {self.limit / 1e9:g} GB" if size > self.limit else ""
        if size:
            terminalreporter.write_line(f"largest process: {size / 1e9:.2f} GB, at {test}{allowed}", red=bool(allowed))


def clear_caches() -> None:
    """What functions of the tests' own modules keep by `functools.cache` ends with the module that asked for it.

    So does what FastAPI's keep: the routes of every application, hence its model.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("tests", "fastapi"):
            for value in vars(module).values():
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def _keep_little() -> None:
    if hasattr(library := ctypes.CDLL(None), "mallopt"):  # glibc
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)


def _return_freed() -> None:
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # glibc
        library.malloc_trim(0)


def resident() -> float:
    """Memory of this process now, in bytes; 0 where Linux's figures aren't."""
    return _figure("VmRSS")


def _peak() -> float:
    """The most that it had for itself, in bytes: without the libraries' pages, which all processes share."""
    return _figure("VmHWM") - _figure("RssFile")


def _figure(name: str) -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return float(status.split(f"{name}:")[1].split()[0]) * 1024
