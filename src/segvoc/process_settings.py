"""Process-wide settings for threads and memory that make networks faster on a CPU.

Importing segvoc or loading a model changes none of them. The command line applies them; a program can choose to call
`segvoc.threads` and `segvoc.keep_freed_memory`.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from segvoc.errors import SharedCoresWarning, UsageError

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # parameters of glibc's mallopt
_LARGEST_TENSORS = 32 << 20  # bytes; glibc refuses more
_KEPT = 1 << 30  # bytes

WORKER_START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""How processes that read data are started; Windows has no fork servers."""

_STILL_RUNS, _MAY_WAIT = 0x102, 0x100000  # of Windows: WAIT_TIMEOUT, SYNCHRONIZE

_SPIN_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_SHORT_SPIN = "1000"
"""Number of spins before a waiting thread sleeps. GNU OpenMP's default is 3 ms or more, which makes every run on shared
cores many times slower; not spinning at all costs a tenth on dedicated cores."""


_onnx = {"threads": 0, "spin": True}
"""What `threads` was told, for programs that ONNX Runtime loads."""


def for_command_line() -> None:
    """Apply settings for a process that only runs segvoc; call this before NumPy and PyTorch are imported."""
    _spin_shortly()
    # The threads of NumPy's OpenBLAS spin too, and on shared cores make small products fifty times slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # It lets OpenMP start fewer threads than requested. oneDNN kernels then wait forever for the missing ones.
    os.environ.pop("OMP_DYNAMIC", None)
    keep_freed_memory()


@cache
def keep_freed_memory() -> None:
    """Ask glibc to keep up to 1 GiB of freed memory for the next tensors of this process.

    By default glibc returns the memory that a layer frees to the system and requests it again for the next layer, and
    the kernel has to clear each page again. Keeping it makes a training step of `tiny` 17 % faster, and encoding images
    with it three times as fast. All threads share one heap, since glibc returns the memory of other heaps anyway. This
    can't be undone. Without glibc, it does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_TENSORS)
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_ARENA_MAX, 1)


def ignore_warnings_of_image_libraries() -> None:
    """Don't show what Pillow and rasterio warn of: damage that images are read in spite of. It names no file."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.filterwarnings("ignore", "Dataset has no geotransform")


@contextmanager
def float32_products(*, tf32: bool, benchmark: bool = False) -> Iterator[None]:
    """Set how a GPU multiplies float32 matrices and convolves in this block; afterwards it is as before.

    Args:
        tf32: whether products may round their factors to TF32, which has ten bits of mantissa.
        benchmark: whether cuDNN tries its algorithms for each new size and keeps the fastest.
    """
    import torch  # here, since it takes seconds to import

    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    try:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        cudnn.allow_tf32, cudnn.benchmark = tf32, benchmark
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark = before[1:]


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Processes that are started in this block ignore Ctrl-C from their first moment on, while they import too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set signal handlers
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def how_it_ended(code: int | None) -> str:
    """One line on a process that ended unexpectedly, from its exit code."""
    if code == -9:  # SIGKILL, which Windows doesn't have
        return "the process was killed, probably because memory ran out"
    return f"the process ended unexpectedly (exit code {code})"


def is_running(process: int) -> bool:
    """Whether there is a process of this number, which may be another user's."""
    if sys.platform == "win32":
        # `os.kill` would send Ctrl-C there
        handle = ctypes.windll.kernel32.OpenProcess(_MAY_WAIT, False, process)
        if not handle:
            return False
        try:
            return ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == _STILL_RUNS
        finally:
            ctypes.windll.kernel32.CloseHandle(handle)
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def end_with_parent() -> None:
    """In a process that `multiprocessing` started: leave Ctrl-C to the parent, and exit when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def threads(number: int | None = None, *, spin: bool = False) -> int:
    """Set how many CPU threads networks use in this process, and keep the waiting ones from spinning.

    Between operations, the threads of PyTorch and of ONNX Runtime wait for work in a busy loop. If other processes need
    the same cores, PyTorch's makes all of them up to twenty times slower. Preferably call this before `import torch`;
    afterwards it only works with GNU OpenMP (PyTorch's Linux wheels), by keeping a few sleeping threads. ONNX Runtime
    does it for models that haven't labeled an image yet.

    Args:
        number: number of threads (default: unchanged).
        spin: keep the busy loop, which is 5 to 10 % faster on cores that no other process uses.

    Returns:
        The number of threads in use.

    Raises:
        UsageError: the number is not a positive integer.
    """
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise UsageError(f"threads({number!r}) is not a number of threads; give one from 1")
    _onnx.update(threads=number or _onnx["threads"], spin=spin)
    if find_spec("torch") is None:
        return onnx_threads() or cores()
    loaded = "torch" in sys.modules
    if not spin and not loaded:
        _spin_shortly()
    import torch  # here: GNU OpenMP reads its variables when PyTorch loads it

    if number is not None:
        torch.set_num_threads(number)
    if not spin and loaded and not _spins_as_set():
        _park_threads()
    return torch.get_num_threads()


def onnx_threads() -> int:
    """How many threads ONNX Runtime is to use: what `threads` was told, else OMP_NUM_THREADS; 0: one for each core."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return _onnx["threads"] or (int(told) if told.isdecimal() else 0)


def onnx_spins() -> bool:
    """Whether ONNX Runtime's threads are to wait in a busy loop, which is 10 to 20 % faster on idle cores."""
    return bool(_onnx["spin"])


def _spin_shortly() -> None:
    if not _spins_as_set():
        os.environ["GOMP_SPINCOUNT"] = _SHORT_SPIN


def _spins_as_set() -> bool:
    return any(name in os.environ for name in _SPIN_VARIABLES)


@cache
def _park_threads() -> None:
    """Start more OpenMP threads than there are cores, all of which sleep forever.

    A process with more OpenMP threads than cores spins for only a thousandth of the time: libgomp checks the number
    whenever a thread starts waiting (`gomp_managed_threads` in its config/linux/wait.h).
    """
    if not _has_gnu_openmp():
        return
    import torch

    number, started = torch.get_num_threads(), threading.Event()

    def park() -> None:
        torch.set_num_threads(cores() + 1)
        torch.zeros(1 << 20).add_(1)
        started.set()
        threading.Event().wait()  # its thread team lives as long as this thread

    threading.Thread(target=park, name="segvoc-parked-threads", daemon=True).start()
    started.wait()
    torch.set_num_threads(number)


def _has_gnu_openmp() -> bool:
    try:
        return "libgomp" in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_worked_in: dict[str, int] = {}


def note_cpu_work() -> None:
    """Note that this process is about to use PyTorch's CPU threads.

    Raises: UsageError: it was forked from a process that already used them. A fork copies no threads, so the first
        parallel operation would wait for them forever.

    Warns: SharedCoresWarning: other programs use the same cores, and waiting threads spin (once per process).
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
    if os.getloadavg()[0] > cores() + 1:
        warnings.warn(
            "other programs use this machine's cores, and PyTorch's waiting threads make all of them slow; call "
            "segvoc.threads() at the start of the program, or set GOMP_SPINCOUNT=1000",
            SharedCoresWarning,
            stacklevel=5,
        )
