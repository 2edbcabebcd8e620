"""Who writes a project: one process at a time, with all of its threads."""

import json
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from segvoc import UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.journal import lock_folder
from segvoc.storage.json_files import read_json
from segvoc_annotate.projects.history import History
from segvoc_annotate.projects.records import now

LOCKED_FOLDER, WRITER_FILE = ".segvoc", ".segvoc/writer.json"
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
        about = folder / WRITER_FILE
        try:
            self._lock = lock_folder(folder / LOCKED_FOLDER)  # for as long as this object is there
        except UsageError:
            raise UsageError(_taken(folder, about)) from None
        with writing(about):
            about.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()}))


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
