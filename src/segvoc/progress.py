"""Progress of long work, on standard error: a bar on a terminal, elsewhere a line now and then."""

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

FIRST_LINE = 10.0
"""Time after which work that no terminal shows prints its first line [s]; shorter work prints none."""

LINE_EVERY = 30.0
"""Time between its further lines [s]."""

UNKNOWN_SIZE = 80, 24
"""Columns and rows assumed for a terminal that doesn't report its size."""

ANNOUNCED_AFTER = 3.0
"""Time after which `announced` prints its line [s]."""


class Progress:
    """How far a piece of work is: what it is, how many of how many are done, and the time that is left.

    On a terminal this is a bar. Elsewhere it is a line after `FIRST_LINE` seconds and then every `LINE_EVERY` seconds,
    so that logs stay short and nobody waits for minutes without a word. `update` may be called from several threads.

        with Progress("encoding images", total=len(images)) as progress:
            for image in images:
                ...
                progress.update()

    Args:
        what: the work, as a phrase that begins a line: "encoding images".
        total: how many units there are; None where nobody knows.
        unit: one unit in the singular, "image" or "step".
        done: units that an earlier call has finished.
        silent: show nothing, for example in all processes but the first.
        keep: leave the bar on the terminal when the work is done.
    """

    def __init__(
        self,
        what: str,
        *,
        total: int | None = None,
        unit: str = "image",
        done: int = 0,
        silent: bool = False,
        keep: bool = False,
    ) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self._first, self._start = done, time.monotonic()
        self._next = self._start + FIRST_LINE
        self._note, self._printed = "", False
        self._lock = threading.Lock()
        terminal = _is_terminal()
        self._lines = not silent and not terminal
        self._bar = tqdm(
            desc=what,
            total=total,
            initial=done,
            unit=unit,
            disable=silent or not terminal,
            leave=keep,
            ncols=None if _has_size() else UNKNOWN_SIZE[0],
            nrows=None if _has_size() else UNKNOWN_SIZE[1],
            dynamic_ncols=_has_size(),
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._printed and kind is None:
            print_line(f"segvoc: {self._line(finished=True)}")

    def update(self, count: int = 1, note: str | None = None) -> None:
        """Some more units are done.

        Args:
            count: how many.
            note: what else is worth showing, for example a loss; it stays until the next one.
        """
        with self._lock:
            self.done += count
            if note is not None:
                self._note = note
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
            if self._lines and time.monotonic() >= self._next:
                self._next = time.monotonic() + LINE_EVERY
                self._printed = True
                print_line(f"segvoc: {self._line()}")

    def start(self, total: int) -> None:
        """Say how many units there are, where that is known only now; the clock starts anew."""
        with self._lock:
            self.total, self._first, self._start = total, self.done, time.monotonic()
            self._bar.reset(total)
            self._bar.update(self.done)

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each counted as one unit once the loop asks for the next."""
        for item in items:
            yield item
            self.update()

    def _line(self, *, finished: bool = False) -> str:
        passed = time.monotonic() - self._start
        units = self.unit if self.done == 1 and self.total is None else f"{self.unit}s"
        of = "" if self.total is None else f" of {self.total}"
        parts = [f"{self.what}: {self.done}{of} {units}", *([self._note] if self._note else [])]
        new = self.done - self._first
        if finished:
            parts.append(f"done in {duration(passed)}")
        elif self.total is not None and new:
            parts.append(f"{duration((self.total - self.done) * passed / new)} left")
        return ", ".join(parts)


@contextmanager
def announced(what: str, *, silent: bool = False) -> Iterator[None]:
    """Print a line about work without countable units, if it takes longer than `ANNOUNCED_AFTER` seconds."""
    timer = threading.Timer(ANNOUNCED_AFTER, print_line, (f"segvoc: {what} ...",))
    timer.daemon = True
    if not silent:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def print_line(line: str) -> None:
    """Print a line on standard error, above a bar where there is one."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as a clock has them: "1:02:03" or "2:03"."""
    whole = round(seconds)
    clock = f"{whole // 60 % 60}:{whole % 60:02}"
    return clock if whole < 3600 else f"{whole // 3600}:{clock:0>5}"


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is no standard error, or it is closed
        return False


def _has_size() -> bool:
    """Whether the terminal reports its size; those of scripts and containers often report 0 columns."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (AttributeError, OSError, ValueError):
        return True  # not a real terminal, which tqdm handles
