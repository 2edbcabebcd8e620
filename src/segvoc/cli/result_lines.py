"""The lines that `segvoc segment` prints about big images and videos."""

from collections.abc import Callable
from typing import Any

from segvoc.errors import DiskFullError
from segvoc.imaging.result_paths import ResultFiles
from segvoc.progress import print_line

Describe = Callable[[Any, ResultFiles], str]
"""Returns a line about a result, which has a `source` and a `report`."""


def disk_full(error: DiskFullError, done: int, total: int, what: str) -> DiskFullError:
    """The error that ends a call on a full disk.

    Args:
        error: that of one result.
        done: how many are done.
        total: how many there are.
        what: "images" or "videos".
    """
    if total == 1:
        return error
    return DiskFullError(f"{error}; {done} of {total} {what} are done, and the same call with --resume does the others")


def print_result(line: str | None) -> None:
    """Print a line to standard output, beside any bar; None prints nothing."""
    if line is not None:
        print_line(line, err=False)
