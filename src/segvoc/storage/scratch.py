"""Temporary folders, for code that can only write to a folder."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from segvoc.errors import OutputError


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A folder in the system's temporary directory, deleted afterwards.

    Raises:
        OutputError: it can't be made.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="segvoc-", ignore_cleanup_errors=True)
    except OSError as error:
        problem = f"no temporary folder can be made: {error.strerror or error}"
        raise OutputError(f"{problem}; free some space, or set TMPDIR to another folder") from error
    with folder as path:
        yield path
