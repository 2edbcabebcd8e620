"""One change of a project at a time, by whichever thread of whichever process."""

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segvoc.storage.locks import lock_folder

_thread_locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
"""A lock for each folder, since those of the file system don't keep the threads of a process apart."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other threads and processes from changing a project."""
    with _thread_locks[os.path.realpath(folder)]:
        lock = lock_folder(folder, wait=True)
        try:
            yield
        finally:
            del lock
