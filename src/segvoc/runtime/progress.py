"""Progress of long tasks on standard error: a bar on terminals, otherwise an occasional line."""

import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

FIRST_LINE = 10.0
"""Time until the first line without a terminal [s]; shorter tasks print nothing."""

EARLY_LINE = 1.0
"""Time until the first line of tasks that are known to be long [s]."""

MEASURED = 3
"""Updates after which the remaining time is shown; the first, which also loads and compiles, isn't measured."""

LINE_EVERY = 30.0
"""Time between later lines [s]."""

UNKNOWN_SIZE = 80, 24
"""Columns and rows assumed for a terminal that doesn't report its size."""

_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
"""A bar without tqdm's rate and remaining time, which would measure the first unit."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters except tabs and line ends, and characters that change the text direction."""

ANNOUNCED_AFTER = 1.0
"""Time after which `announced` prints its line [s]."""


class Progress(AbstractContextManager["Progress"]):
    """Progress of a task in a `with` block: its name, the finished and total units, the rate, and the remaining time.

    A terminal shows a bar. Otherwise a line is printed after `FIRST_LINE` seconds and then every `LINE_EVERY` seconds,
    so that logs stay short but users still see progress. `update` may be called from several threads.

    A task has `total` units (None if unknown); an earlier call finished `done` of them. `silent` shows nothing, for
    example on all ranks except 0. `keep` leaves the bar on the terminal when the task is done. The first line of an
    `early` task comes after a second, even if no unit is done.
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
        early: bool = False,
    ) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self._start = time.monotonic()
        self._forget()
        self._next = self._start + FIRST_LINE
        self._note, self._printed = "", False
        self._lock = threading.Lock()
        terminal = _is_terminal()
        self._lines = not silent and not terminal
        self._bar = tqdm(
            desc=what,
            total=total,
            initial=done,
            disable=silent or not terminal,
            leave=keep,
            ncols=None if _has_size() else UNKNOWN_SIZE[0],
            nrows=None if _has_size() else UNKNOWN_SIZE[1],
            dynamic_ncols=_has_size(),
            bar_format=_BAR,
        )
        self._timer = threading.Timer(min(EARLY_LINE, threading.TIMEOUT_MAX), self._print)
        self._timer.daemon = True
        if early and self._lines:
            self._timer.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        self._bar.close()
        if self._printed and kind is None:
            print_line(f"segvoc: {self._line(finished=True)}")

    def update(self, count: int = 1, note: str | None = None) -> None:
        """Count more units as done; `note` is extra text, for example a loss, shown until the next note."""
        with self._lock:
            self.done += count
            if note is not None:
                self._note = note
            self._updates += 1
            if self._updates == 1:
                self._first, self._measured_from = self.done, time.monotonic()
            self._bar.set_postfix_str(", ".join(self._facts("/s")), refresh=False)
            self._bar.update(self.done - self._bar.n)
            is_due = time.monotonic() >= self._next
        if self._lines and is_due:
            self._print()

    def reach(self, done: int, total: int | None) -> None:
        """Count up to `done` units, those of earlier calls included; the first time may set an unknown total."""
        if self._updates or self.total is not None or total is None:
            self.update(done - self.done)
        else:
            self.done = done
            self.start(total)

    def expect(self, total: int | None) -> None:
        """Set the number of units, which may be an estimate, once it is known."""
        with self._lock:
            self.total = self._bar.total = total

    def _print(self) -> None:
        with self._lock:
            self._next = time.monotonic() + LINE_EVERY
            self._printed = True
            print_line(f"segvoc: {self._line()}")

    def _forget(self) -> None:
        """Start to measure the rate anew."""
        self._updates, self._first, self._measured_from = 0, self.done, time.monotonic()

    def start(self, total: int, what: str | None = None) -> None:
        """Set the number of units if it wasn't known before, and restart the clock; `what` names the next task."""
        with self._lock:
            if what is not None:
                self.what, self.done = what, 0
                self._bar.set_description(what, refresh=False)
            self.total, self._start = total, time.monotonic()
            self._forget()
            self._bar.reset(total)
            self._bar.update(self.done)

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """Iterate over the items; each counts as one unit once the loop requests the next."""
        for item in items:
            yield item
            self.update()

    def _line(self, *, finished: bool = False) -> str:
        units = self.unit if self.done == 1 and self.total is None else f"{self.unit}s"
        of = "" if self.total is None else f" of {self.total}"
        return ", ".join(
            [f"{self.what}: {self.done}{of} {units}", *self._facts(f" {self.unit}s per second", finished=finished)]
        )

    def _facts(self, rate_unit: str, *, finished: bool = False) -> Iterator[str]:
        """The note, the rate and the remaining time, as far as they are known."""
        passed, new = time.monotonic() - self._measured_from, self.done - self._first
        if self._note:
            yield self._note
        if finished:
            yield f"done in {tqdm.format_interval(round(time.monotonic() - self._start))}"
        elif self._updates > MEASURED and new and passed:
            yield f"{new / passed:.3g}{rate_unit}"
            if self.total is not None:
                yield f"{tqdm.format_interval(round((self.total - self.done) * passed / new))} left"


@contextmanager
def announced(what: str, *, silent: bool = False) -> Iterator[None]:
    """Print a line about a task without countable units if it takes longer than `ANNOUNCED_AFTER` seconds."""
    timer = threading.Timer(ANNOUNCED_AFTER, print_line, (f"segvoc: {what} ...",))
    timer.daemon = True
    if not silent:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def print_line(line: str, *, err: bool = True) -> None:
    """Print a line to standard error or output, above the progress bar if there is one."""
    stream = sys.stderr if err else sys.stdout
    if stream is None:  # closed before the start
        return
    tqdm.write(printable(line), file=stream)
    stream.flush()


def printable(text: str) -> str:
    """Escape control characters, which file names may contain, so that no terminal executes them."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def aligned(rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Format rows of equally many cells as the lines of a table, whose first `left` columns are left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _is_terminal() -> bool:
    """Whether standard error is a terminal, or a notebook's cell, which also redraws a line."""
    try:
        return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
    except (AttributeError, ValueError):  # there is no standard error, or it is closed
        return False


def _has_size() -> bool:
    """Whether the terminal reports its size; in scripts and containers it often reports 0 columns."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (AttributeError, OSError, ValueError):
        return True  # not a real terminal; tqdm handles that
