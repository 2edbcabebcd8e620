"""Locks on folders: one process at a time works in a folder, and a process that dies lets go of it."""

import fcntl
import os
import weakref
from pathlib import Path
from typing import BinaryIO

from segvoc.errors import UsageError
from segvoc.storage.atomic_writes import output_error

LOCK_NAME = ".segvoc-lock"
"""The file in a folder that is locked. It is never replaced or removed: a lock holds for a file, not for its name."""


class FolderLock:
    """A lock that this process holds; it lasts as long as the object, and at most as long as the process."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file


_held: weakref.WeakValueDictionary[tuple[int, int, int], FolderLock] = weakref.WeakValueDictionary()
"""Locks by process, device and inode: a process may lock a folder once more, but not one that its parent has locked."""


def lock_folder(folder: str | os.PathLike[str], *, wait: bool = False) -> FolderLock | None:
    """Lock a folder against other processes; it is made where needed.

    Args:
        folder: the folder.
        wait: wait for a process that has locked it, rather than raise.

    Returns:
        The lock, which the caller keeps as long as it works there; None where the file system has no locks.

    Raises:
        UsageError: another process has locked it.
        OutputError: the folder can't be written.
    """
    path = Path(folder) / LOCK_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise output_error(path, error) from error
    status = os.fstat(file.fileno())
    key = os.getpid(), status.st_dev, status.st_ino
    if (held := _held.get(key)) is not None:
        file.close()
        return held
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(f"another process works in {os.fspath(folder)!r}; wait until it ends") from None
    except OSError:
        file.close()
        return None
    lock = _held[key] = FolderLock(file)
    return lock
