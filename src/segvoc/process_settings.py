"""Settings of the whole process that make a network faster on a CPU: threads, and memory.

Importing segvoc or loading a model changes none of them. The command line applies them; a program decides for itself,
and calls `segvoc.threads` and `segvoc.keep_freed_memory`.
"""

import ctypes
import os
import sys
import threading
import warnings
from functools import cache
from pathlib import Path

from segvoc.errors import SharedCoresWarning, UsageError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_LARGEST_TENSORS = 32 << 20  # bytes; glibc refuses more
_KEPT = 1 << 30  # bytes

_SPIN_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_SHORT_SPIN = "1000"
"""Rounds that a waiting thread spins before it sleeps. GNU OpenMP's default is 3 ms or more, which makes every run on
shared cores many times slower; not spinning at all costs a tenth on cores of one's own."""


def for_command_line() -> None:
    """Settings for a process that does nothing but run segvoc; before PyTorch is imported."""
    _spin_shortly()
    # It lets OpenMP start fewer threads than asked for. The kernels of oneDNN then wait for ever for the missing ones.
    os.environ.pop("OMP_DYNAMIC", None)
    keep_freed_memory()


@cache
def keep_freed_memory() -> None:
    """Ask glibc to keep up to 1 GiB of freed memory for the next tensors of this process.

    By default it returns what a layer frees to the system and takes it again for the next layer, and the kernel clears
    each page anew. Keeping it makes a training step of `tiny` 17 % faster, and encoding images with it three times as
    fast. It can't be undone. Nothing happens where there is no glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_TENSORS)
        mallopt(_TRIM_THRESHOLD, _KEPT)


def threads(number: int | None = None, *, spin: bool = False) -> int:
    """Set how many CPU threads PyTorch uses in this process, and keep the waiting ones from spinning.

    Between two operations PyTorch's threads wait for work in a busy loop. Where other processes want the same cores,
    that makes all of them up to twenty times slower. Best called before `import torch`; afterwards it works with GNU
    OpenMP alone (PyTorch's wheels for Linux), by keeping a few sleeping threads.

    Args:
        number: threads (default: leave the number as it is).
        spin: leave the busy loop as it is: 5 to 10 % faster on cores that nothing else uses.

    Returns:
        the number of threads in use.

    Raises:
        UsageError: the number is not a whole number from 1.
    """
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise UsageError(f"threads({number!r}) is no number of threads; give one from 1")
    loaded = "torch" in sys.modules
    if not spin and not loaded:
        _spin_shortly()
    import torch  # here: GNU OpenMP reads its variables when PyTorch loads it

    if number is not None:
        torch.set_num_threads(number)
    if not spin and loaded and not _spins_as_set():
        _park_threads()
    return torch.get_num_threads()


def _spin_shortly() -> None:
    if not _spins_as_set():
        os.environ["GOMP_SPINCOUNT"] = _SHORT_SPIN


def _spins_as_set() -> bool:
    return any(name in os.environ for name in _SPIN_VARIABLES)


@cache
def _park_threads() -> None:
    """Start OpenMP threads that sleep for ever, more than there are cores.

    A process with more OpenMP threads than cores spins for a thousandth of the time: libgomp looks at the number
    each time that a thread begins to wait (`gomp_managed_threads` in its config/linux/wait.h).
    """
    if not _has_gnu_openmp():
        return
    import torch

    number, started = torch.get_num_threads(), threading.Event()

    def park() -> None:
        torch.set_num_threads(_cores() + 1)
        torch.zeros(1 << 20).add_(1)
        started.set()
        threading.Event().wait()  # its team lives as long as this thread

    threading.Thread(target=park, name="segvoc-parked-threads", daemon=True).start()
    started.wait()
    torch.set_num_threads(number)


def _has_gnu_openmp() -> bool:
    try:
        return "libgomp" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_worked_in: dict[str, int] = {}


def note_cpu_work() -> None:
    """Say that this process is about to use PyTorch's CPU threads.

    Raises: UsageError: it was forked from one that did. A fork copies no threads, and the first parallel operation
        would wait for them for ever.

    Warns: SharedCoresWarning: other programs use the same cores, and waiting threads spin (once a process).
    """
    import torch

    if torch.get_num_threads() == 1:
        return
    if _worked_in.setdefault("process", os.getpid()) != os.getpid():
        raise UsageError(
            "this process was forked from one whose CPU threads had run a network, and they are missing here; start "
            'processes by "spawn", load the model after the fork, or call segvoc.threads(1) in the new process'
        )
    _warn_of_shared_cores()


@cache
def _warn_of_shared_cores() -> None:
    if _spins_as_set() or _park_threads.cache_info().currsize or not _has_gnu_openmp():
        return
    if os.getloadavg()[0] > _cores() + 1:
        warnings.warn(
            "other programs use this machine's cores, and PyTorch's waiting threads make all of them slow; call "
            "segvoc.threads() at the start of the program, or set GOMP_SPINCOUNT=1000",
            SharedCoresWarning,
            stacklevel=4,
        )
