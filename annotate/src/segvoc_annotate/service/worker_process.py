"""A process beside the service, which can be killed at any time."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from segvoc.runtime.process_settings import exit_when_parent_dies, for_own_process

LOWER_PRIORITY = 5
"""Niceness of these processes, which yield to labeling."""

NEWS_SECONDS = 0.25
"""Polling interval for progress and cancellation [s]."""

CANCEL_SECONDS = 10.0
"""Grace period of a canceled job [s]."""


@contextmanager
def worker_process(target: Callable[..., None], *arguments: Any) -> Iterator[tuple[SpawnProcess, Connection]]:
    """Run `target(*arguments, connection)` in a new process, until the `with` block ends; and what it sends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()


def yield_to_labeling() -> None:
    """Settings of such a process, which `target` calls first."""
    for_own_process()
    exit_when_parent_dies()
    with suppress(OSError, AttributeError):  # Windows has no `nice`
        os.nice(LOWER_PRIORITY)
