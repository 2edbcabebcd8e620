"""Locks on folders: one process at a time works in a folder, and a process that dies lets go of it."""

import os
import threading
import weakref
from contextlib import suppress
from pathlib import Path

from segvoc.errors import UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.file_locks import LockedError, lock_file

LOCK_NAME = ".segvoc-lock"
"""The file in a folder that is locked. It is never replaced or removed: a lock holds for a file, not for its name."""


class FolderLock:
    """A lock that this process holds; it lasts as long as the object, and at most as long as the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor  # no file object, which would warn where it ends together with this one

    def __del__(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


_held: weakref.WeakValueDictionary[tuple[int, int, int], FolderLock] = weakref.WeakValueDictionary()
"""Locks by process, device and inode: a process may lock a folder once more, but not one that its parent has locked."""

_one = threading.Lock()
"""Held while a lock is looked up or taken, never while another process is waited for."""


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
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    status = os.fstat(descriptor)
    key = os.getpid(), status.st_dev, status.st_ino
    try:
        with _one:  # two threads that lock a folder at once get one lock
            if (held := _held.get(key)) is not None:
                os.close(descriptor)
                return held
            with suppress(LockedError):
                return _locked(key, descriptor, wait=False)
        if wait:
            return _locked(key, descriptor, wait=True)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    raise UsageError(f"another process works in {os.fspath(folder)!r}; wait until it ends")


def _locked(key: tuple[int, int, int], descriptor: int, *, wait: bool) -> FolderLock | None:
    if not lock_file(descriptor, wait=wait):
        os.close(descriptor)
        return None
    lock = _held[key] = FolderLock(descriptor)
    return lock
