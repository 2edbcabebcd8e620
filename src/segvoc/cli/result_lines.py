"""The lines that `segvoc segment` prints about big images and films."""

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from segvoc.imaging.result_paths import ResultFiles
from segvoc.progress import print_line

Describe = Callable[[Any, ResultFiles], str]
"""Returns a line about a result, which has a `source` and a `report`."""


def print_result(line: str | None) -> None:
    """Print a line to standard output, beside any bar; None prints nothing."""
    if line is not None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def print_failures(failures: int, total: int, what: str) -> None:
    """Print how many images or films of a call failed, if any did."""
    if failures:
        print_line(f"segvoc: {failures} of {total} {what} failed, the others are done")
