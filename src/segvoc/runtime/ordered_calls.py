"""Calls in a pool of threads, whose outcomes come in order and in bounded memory."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

_Outcome = TypeVar("_Outcome")


def run_ordered(
    pool: ThreadPoolExecutor,
    calls: Generator[tuple[Callable[[], _Outcome], int], None, None],
    most: int,
    most_size: float = math.inf,
) -> Iterator[_Outcome]:
    """Run calls, each given with a size, in a pool, and yield their outcomes in order as soon as they are there.

    It doesn't take the next call while more than `most` are unfinished, or more than `most_size` together. After an
    error of a call, `calls` is closed.
    """
    waiting: deque[tuple[Future[_Outcome], int]] = deque()

    def are_too_many() -> bool:
        unfinished = [size for future, size in waiting if not future.done()]
        return len(unfinished) > most or sum(unfinished) > most_size

    with closing(calls):
        for call, size in calls:
            waiting.append((pool.submit(call), size))
            del call
            while waiting and (are_too_many() or waiting[0][0].done()):
                yield waiting.popleft()[0].result()
    while waiting:
        yield waiting.popleft()[0].result()
