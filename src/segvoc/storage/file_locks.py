"""Locking an open file against other processes, by what the system has: POSIX's flock, or Windows' byte ranges.

A lock ends with the file or the process. Where neither is there, as on some network file systems, nothing is locked.
"""

import os
import time

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_BYTE = 1 << 40
"""The byte that is locked on Windows, whose locks keep other processes from reading: far behind the end of the file."""

_RETRY_SECONDS = 0.05


class LockedError(Exception):
    """Another process has locked the file."""


def lock_file(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file for this process alone.

    Args:
        descriptor: of the file, which is open for writing.
        wait: wait for a process that has locked it, rather than raise.

    Returns:
        Whether it is locked; False where the file system has no locks.

    Raises:
        LockedError: another process has locked it.
    """
    while True:
        try:
            _lock(descriptor, wait=wait)
            return True
        except (BlockingIOError, PermissionError) as error:  # the second one on Windows
            if not wait:
                raise LockedError("another process has locked the file") from error
        except OSError:
            return False
        time.sleep(_RETRY_SECONDS)


def _lock(descriptor: int, *, wait: bool) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt  # there is one of the two

    before = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined] # as typed on Windows alone
    finally:
        os.lseek(descriptor, before, os.SEEK_SET)
