"""One change of a project at a time, by whichever thread of whichever process."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segvoc.storage.locks import lock_folder

_thread_locks: dict[str, threading.RLock] = {}
"""A lock for each folder, since those of the file system don't keep the threads of a process apart."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_thread_locks.clear)  # threads that the child doesn't have may hold them


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other threads and processes from changing a project."""
    # `setdefault` gives two threads that come first the same lock, a `defaultdict` may not
    with _thread_locks.setdefault(os.path.realpath(folder), threading.RLock()):
        lock = lock_folder(folder, wait=True)
        try:
            yield
        finally:
            del lock
