"""Threads that process one chunk of classes each, in place of threads that share every operator."""

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from threading import Barrier, local
from typing import Any, TypeVar

import torch

_Result = TypeVar("_Result")

MOST_WORKERS = 8
"""Between operators a worker needs Python's lock, for which more of them would wait; further cores share operators."""

_thread = local()


def class_workers(device: torch.device) -> int:
    """How many workers make the most of PyTorch's threads on a device: on a CPU one for each, up to `MOST_WORKERS`."""
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads <= MOST_WORKERS:
        return threads
    # the number that leaves the fewest threads idle
    return max(range(MOST_WORKERS // 2, MOST_WORKERS + 1), key=lambda number: (threads // number * number, number))


def classes_at_a_time(device: torch.device) -> int:
    """How many classes a chunk should have on a device: what fits into a CPU's caches, or keeps a GPU busy."""
    return 12 if device.type == "cpu" else 128


def may_use_workers() -> bool:
    """Whether workers would compute what this thread does: PyTorch's modes are per thread.

    `torch.utils.flop_counter.FlopCounterMode`, for example, would miss what workers do. A worker itself may not wait
    for others.
    """
    modes = torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack()
    is_worker = getattr(_thread, "is_worker", False)
    return not (modes or is_worker or torch.compiler.is_compiling())


def shared_among_workers(chunk: int | None, device: torch.device) -> tuple[int | None, int]:
    """Classes of a chunk and workers on a device, with which `chunk` classes are processed at a time in all."""
    workers = 1 if chunk is None else min(class_workers(device), chunk)
    return chunk and math.ceil(chunk / workers), workers


def map_in_workers(function: Callable[..., _Result], chunks: Iterable[tuple[Any, ...]], workers: int) -> list[_Result]:
    """Call `function` on each of some chunks, several of them at a time.

    Operators that take a millisecond leave cores idle while threads wait for the slowest of them, and some operators
    run on a single thread. Chunks don't wait for one another.

    Args:
        function: called with the parts of a chunk, with gradients and autocast as they are here.
        chunks: the arguments of each call.
        workers: how many calls run at a time; PyTorch's threads are divided among them.

    Returns:
        The results in the order of the chunks.
    """
    cast = (torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu"))
    work = partial(_as_elsewhere, function, torch.is_inference_mode_enabled(), torch.is_grad_enabled(), cast)
    return list(_pool(workers, max(1, torch.get_num_threads() // workers)).map(work, chunks))


def _as_elsewhere(
    function: Callable[..., _Result],
    inference: bool,
    grad: bool,
    cast: tuple[torch.dtype, bool],
    chunk: tuple[Any, ...],
) -> _Result:
    """Call a function in the modes of another thread."""
    # without inference mode gradients are on
    with torch.inference_mode(inference), torch.set_grad_enabled(grad), torch.autocast("cpu", *cast):
        return function(*chunk)


@cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """A pool whose workers have started and share operators among so many threads each; the process keeps it."""
    before, barrier = torch.get_num_threads(), Barrier(workers)

    def start() -> None:
        torch.get_num_threads()  # a new thread takes the number of others when it is first asked, not before
        torch.set_num_threads(threads)
        _thread.is_worker = True
        barrier.wait()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="segvoc-classes", initializer=start)
    list(pool.map(lambda _: None, range(workers)))
    torch.set_num_threads(before)
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads don't survive a fork
