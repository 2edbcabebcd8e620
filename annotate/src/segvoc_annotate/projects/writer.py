"""Who writes a project: one process at a time, with all of its threads."""

import json
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from filelock import FileLock, Timeout

from segvoc import UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.json_files import read_json
from segvoc_annotate.projects.history import History
from segvoc_annotate.projects.records import now

LOCK_FILE, WRITER_FILE = ".segvoc/lock", ".segvoc/writer.json"
"""Below a project's folder: what is locked, and who has locked it."""


class ProjectWriter:
    """What all `Project`s of a folder in this process share, as long as there are any.

    Args:
        folder: the project's folder, which is made where needed.

    Raises:
        UsageError: another process writes the project.
        OutputError: the folder can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.history, self.threads = History(folder), threading.RLock()
        lock, about = folder / LOCK_FILE, folder / WRITER_FILE
        self._lock = FileLock(lock, thread_local=False)
        with writing(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            try:
                with suppress(NotImplementedError):  # file systems without locks
                    self._lock.acquire(timeout=0)
            except Timeout:
                raise UsageError(_taken(folder, about)) from None
            about.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()}))

    def __del__(self) -> None:
        """Let others write it."""
        self._lock.release(force=True)


def _taken(folder: Path, about: Path) -> str:
    who = "another process"
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = read_json(about)
        who = f"process {found['pid']} on {found['host']} since {found['since']}"
    return f"the project {str(folder)!r} is open in {who}; use its page, or end it first"


_writers: WeakValueDictionary[str, ProjectWriter] = WeakValueDictionary()
_one = threading.Lock()


def writer_of(folder: Path) -> ProjectWriter:
    """The writer of a project in this process; see `ProjectWriter`."""
    name = os.path.realpath(folder)
    with _one:
        writer = _writers.get(name)
        if writer is None:
            writer = _writers[name] = ProjectWriter(folder)
        return writer
