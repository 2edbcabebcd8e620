"""The lines that `segvoc segment` prints about big images and videos."""

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from segvoc.imaging.result_paths import ResultFiles

Describe = Callable[[Any, ResultFiles], str]
"""Returns a line about a result, which has a `source` and a `report`."""


def print_result(line: str | None) -> None:
    """Print a line to standard output, beside any bar; None prints nothing."""
    if line is not None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
