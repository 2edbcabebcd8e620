"""Process-wide settings for threads and memory that make networks faster on a CPU; calls in threads and processes.

Importing segvoc or loading a model changes none of them. Processes that segvoc starts apply them; other programs may
call `keep_freed_memory`.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from segvoc.errors import SegvocError, UsageError

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # parameters of glibc's mallopt
_LARGEST_TENSORS = 32 << 20  # bytes; glibc refuses more
_KEPT = 1 << 30  # bytes

WORKER_START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""Start method of data-loading workers; Windows has no fork server."""

_SHORT_SPIN = "1000"
"""Number of spins before a waiting thread sleeps. GNU OpenMP's default is 3 ms or more, which makes every run on shared
cores many times slower; not spinning at all costs a tenth on dedicated cores."""


def for_own_process(threads: int | None = None) -> None:
    """Apply settings for a process that only runs segvoc; call before importing NumPy or PyTorch.

    `threads` are CPU threads of networks, by default those of the environment.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SHORT_SPIN)
    # The threads of NumPy's OpenBLAS spin too, and on shared cores make small products fifty times slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # It lets OpenMP start fewer threads than requested. oneDNN kernels then wait forever for the missing ones.
    os.environ.pop("OMP_DYNAMIC", None)
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # ONNX Runtime gets as many
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
    keep_freed_memory()


@cache
def keep_freed_memory() -> None:
    """Ask glibc to keep up to 1 GiB of freed memory for the next tensors of this process.

    By default glibc returns freed memory to the system and requests it again for the next layer, and the kernel clears
    each page again. Keeping it makes a training step of `tiny` 17 % faster, and encoding images with it three times as
    fast. All threads share a heap, since glibc returns the memory of other heaps anyway. This can't be undone. Without
    glibc, it does nothing.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_TENSORS)
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_ARENA_MAX, 1)


def ignore_warnings_of_image_libraries() -> None:
    """Hide warnings of Pillow and rasterio about damage that doesn't prevent reading; they name no file."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.filterwarnings("ignore", "Dataset has no geotransform")


_products_lock = threading.Lock()
_products: dict[object, tuple[int, bool, bool]] = {}
"""Thread, `tf32` and `benchmark` of the running blocks of `float32_products`, in the order of their starts."""
_products_before: list[tuple[str, bool, bool]] = []
"""The settings outside of these blocks."""


@contextmanager
def float32_products(*, tf32: bool, benchmark: bool = False) -> Iterator[None]:
    """Set the GPU precision of float32 matrix products and convolutions in this block.

    TF32 has ten bits of mantissa; `benchmark` lets cuDNN benchmark its algorithms for each new size. The settings are
    those of the process: while blocks of several threads overlap, the most exact one counts, and after the last one the
    settings are as before the first.
    """
    import torch  # here, since it takes seconds to import

    cudnn: Any = torch.backends.cudnn
    block = object()

    def apply() -> None:
        innermost = {thread: asked for thread, *asked in _products.values()}
        tf32, benchmark = (all(values) for values in zip(*innermost.values(), strict=True))
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        cudnn.allow_tf32, cudnn.benchmark = tf32, benchmark

    with _products_lock:
        if not _products:
            _products_before[:] = [(torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark)]
        _products[block] = threading.get_ident(), tf32, benchmark
        apply()
    try:
        yield
    finally:
        with _products_lock:
            del _products[block]
            if _products:
                apply()
            else:
                precision, cudnn.allow_tf32, cudnn.benchmark = _products_before.pop()
                torch.set_float32_matmul_precision(precision)


@contextmanager
def interrupts_ignored(number: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """Processes started in this block ignore Ctrl-C (or another signal) from the start, even during imports."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set signal handlers
        return
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before or signal.SIG_DFL)  # None: not a handler of Python


def exit_reason(code: int | None) -> str:
    """Describe in one line why a process ended unexpectedly, from its exit code."""
    if code == -9:  # SIGKILL, which Windows doesn't have
        return "the process was killed, probably because memory ran out"
    return f"the process ended unexpectedly (exit code {code})"


def exit_when_parent_dies() -> None:
    """In a `multiprocessing` child: leave Ctrl-C to the parent, and exit when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def map_in_processes(
    function: Callable[[_Item], _Outcome], items: Sequence[_Item], workers: int, killed: SegvocError
) -> Iterator[_Outcome]:
    """Map a picklable function over items, in order and in several processes, or in this one for a single worker.

    If a process is killed, it raises the error `killed`.
    """
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor  # here, since it takes a moment

    if workers < 2 or len(items) < 2:
        yield from map(function, items)
        return
    # spawn, since a fork would copy locks held by the parent's threads
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(min(workers, len(items)), context, exit_when_parent_dies)
    try:
        yield from executor.map(function, items, chunksize=max(1, min(16, len(items) // (4 * workers))))
    except BrokenProcessPool:
        raise killed from None
    except BaseException:
        # after Ctrl-C or an error they would first finish what they have taken, which may take minutes
        for process in list(executor._processes.values()):
            process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def onnx_threads() -> int:
    """Number of threads for ONNX Runtime: OMP_NUM_THREADS, as in PyTorch; 0: one per core."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdecimal() else 0


def cores() -> int:
    """Number of CPU cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_ran_in: dict[str, int] = {}


def check_fork() -> None:
    """Check that PyTorch's CPU threads work in this process; `UsageError` if its parent used them before fork().

    A fork copies no threads, so the first parallel operation would deadlock.
    """
    import torch

    if torch.get_num_threads() > 1 and _ran_in.setdefault("process", os.getpid()) != os.getpid():
        raise UsageError("PyTorch ran before fork(); use spawn, or call torch.set_num_threads(1) in the new process")
