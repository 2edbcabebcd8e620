"""Locks on folders: one process at a time works in a folder, and a process that dies releases it."""

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from segvoc.errors import UsageError
from segvoc.storage.atomic_writes import writing

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_NAME = ".segvoc-lock"
"""The file in a folder that is locked."""

_one = threading.Lock()
"""Held while a lock is taken, since one that another thread is just taking counts as taken by another process."""


def lock_folder(folder: str | os.PathLike[str], *, wait: bool = False) -> "BaseFileLock":
    """Lock a folder against other processes; it is made where needed.

    Args:
        folder: the folder.
        wait: wait for a process that has locked it, rather than raise.

    Returns:
        The lock, which lasts as long as somebody keeps it. A process that locks a folder again gets the same one.

    Raises:
        UsageError: another process has locked it.
        OutputError: the folder can't be written.
    """
    from filelock import FileLock, Timeout  # here, since it takes a tenth of a second to import

    path = Path(folder, LOCK_NAME)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.resolve(), is_singleton=True, thread_local=False)
        try:
            with _one:
                lock.acquire(blocking=False)
        except Timeout:
            if wait:
                lock.acquire()
                return lock
            raise UsageError(f"another process works in {os.fspath(folder)!r}; wait until it ends") from None
    return lock
