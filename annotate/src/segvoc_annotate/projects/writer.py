"""The one process that may write a project, and what all of its threads share: the lock and the index."""

import json
import os
import secrets
import socket
import threading
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from weakref import WeakSet, WeakValueDictionary

from segvoc import UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import read_json
from segvoc.storage.journal import lock_folder
from segvoc_annotate.projects.images import move
from segvoc_annotate.projects.index import INDEX_FILE, Index
from segvoc_annotate.projects.records import DamagedProjectError, now

LOCKED_FOLDER, WRITER_FILE = ".segvoc", ".segvoc/writer.json"
"""Lock and lock owner, below a project's folder."""


class ProjectWriter:
    """What all `Project`s of a folder in this process share. The lock ends with the last of them."""

    def __init__(self, folder: Path) -> None:
        self.threads = threading.RLock()
        """Lock of this process's threads, for changes that belong together."""
        self.users: WeakSet[object] = WeakSet()
        self.notices: list[str] = []
        """What couldn't be rebuilt, a line each."""
        self._resources = ExitStack()
        self._resources.enter_context(lock_project(folder))
        self.index = self._opened(folder)
        self._resources.callback(self.index.close)

    def _opened(self, folder: Path) -> Index:
        """Open the index; if it is missing or damaged, start one without images, which come from the files."""
        path = folder / INDEX_FILE
        if path.exists():
            try:
                return Index.open(path)
            except DamagedProjectError:
                aside = folder / LOCKED_FOLDER / f"damaged-{secrets.token_hex(4)}-{INDEX_FILE}"
                for suffix in ("-wal", "-shm", ""):
                    move(Path(f"{path}{suffix}"), Path(f"{aside}{suffix}"))
                self.notices.append(f"{str(path)!r} was damaged (now {str(aside)!r}) and {_REBUILT}")
        elif (folder / "work").is_dir():
            self.notices.append(f"{str(path)!r} was missing and {_REBUILT}")
        Index.create(path)
        return Index.open(path)

    def close(self) -> None:
        """Close the index, and release the lock."""
        self._resources.close()

    def __del__(self) -> None:
        self.close()


_REBUILT = "is rebuilt from the other files, but for the history and removed images outside the project without labels"


def lock_project(folder: Path) -> AbstractContextManager[object]:
    """Lock a project's folder (created if missing) against other processes until the end of a `with` block.

    `UsageError` if another process writes the project, or its disk has no locks; `OutputError` if the folder can't be
    written.
    """
    about = folder / WRITER_FILE
    try:
        lock = lock_folder(folder / LOCKED_FOLDER)
    except NotImplementedError:  # of file locks
        raise UsageError(f"the disk of {str(folder)!r} has no locks; move the project to a local disk") from None
    except UsageError:
        owner = "another process"
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = read_json(about)
            owner = f"process {found['pid']} on {found['host']} since {found['since']}"
        raise UsageError(f"the project {str(folder)!r} is open in {owner}; use its page, or stop it first") from None
    with writing(about):
        about.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()}))
    return lock


_writers: WeakValueDictionary[str, ProjectWriter] = WeakValueDictionary()
_opening = threading.Lock()


def use_writer(folder: Path, user: object) -> ProjectWriter:
    """The writer of a project in this process, until `leave_writer`, or until the user is garbage."""
    name = os.path.realpath(folder)
    with _opening:
        writer = _writers.get(name)
        if writer is None:
            writer = _writers[name] = ProjectWriter(folder)
        writer.users.add(user)
        return writer


def leave_writer(folder: Path, user: object) -> None:
    """End a use; the last one releases the project."""
    name = os.path.realpath(folder)
    with _opening:
        writer = _writers.get(name)
        if writer is not None and user in writer.users:
            writer.users.discard(user)
            if not writer.users:
                del _writers[name]
                writer.close()
