"""The history of a project: a line per change, which pages poll."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from segvoc import UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import read_json
from segvoc.storage.journal import Journal, lock_folder
from segvoc.storage.records import from_json, to_json
from segvoc_annotate.projects.records import Change, What, now

HISTORY_FILE = "history.jsonl"

_BLOCK = 65_536


class History:
    """The file `history.jsonl` in a project's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / HISTORY_FILE
        self._last: int | None = None
        self._ids: set[str | None] | None = None
        self._one = threading.Lock()

    def append(
        self, what: What, *, by: str, revision: int, image: str | None = None, change: str | None = None
    ) -> Change:
        """Append a change; the caller holds the project's lock. After an `OutputError`, the history is as before."""
        with self._one:
            last, self._last = self._known(), None
            line = Change(seq=last + 1, at=now(), by=by, what=what, image=image, revision=revision, change=change)
            with Journal(self.path) as journal:
                journal.append(to_json(line))
            self._last = line.seq
            if self._ids is not None:
                self._ids.add(change)
            return line

    def has(self, change: str | None) -> bool:
        """Whether a change was made already; a caller that lost the answer repeats it. None has no id."""
        with self._one:
            if self._ids is None:
                self._ids = {line.change for line in self._backwards()}
            return change is not None and change in self._ids

    def last(self) -> int:
        """The number of the last change; 0 before the first."""
        with self._one:
            return self._known()

    def _known(self) -> int:
        if self._last is None:
            self._last = next((change.seq for change in self._backwards()), 0)
        return self._last

    def after(self, seq: int) -> list[Change]:
        """The changes after that of a number, in order; 0: all."""
        found = []
        for change in self._backwards():
            if change.seq <= seq:
                break
            found.append(change)
        return found[::-1]

    def _backwards(self) -> Iterator[Change]:
        """The changes, last first; damaged lines are skipped."""
        for line in _lines_backwards(self.path):
            try:
                yield from_json(Change, json.loads(line))
            except (UsageError, ValueError, RecursionError):
                continue


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """The complete lines of a file, last first."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        end, rest = file.seek(0, os.SEEK_END), b""
        is_last = True
        while end:
            start = max(0, end - _BLOCK)
            file.seek(start)
            first, *lines = (file.read(end - start) + rest).split(b"\n")
            if is_last and lines:
                lines.pop()  # empty, or a line being written
                is_last = False
            yield from reversed(lines)
            rest, end = first, start
        if not is_last:
            yield rest


LOCKED_FOLDER, WRITER_FILE = ".segvoc", ".segvoc/writer.json"
"""Lock and lock owner, below a project's folder."""


class ProjectWriter:
    """State shared by all `Project`s of a folder in this process."""

    def __init__(self, folder: Path) -> None:
        self.history, self.threads = History(folder), threading.RLock()


def lock_project(folder: Path) -> AbstractContextManager[object]:
    """Lock a project's folder (created if missing) against other processes until the end of a `with` block.

    `UsageError` if another process writes the project; `OutputError` if the folder can't be written.
    """
    about = folder / WRITER_FILE
    try:
        lock = lock_folder(folder / LOCKED_FOLDER)
    except UsageError:
        who = "another process"
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = read_json(about)
            who = f"process {found['pid']} on {found['host']} since {found['since']}"
        raise UsageError(f"the project {str(folder)!r} is open in {who}; use its page, or stop it first") from None
    with writing(about):
        about.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()}))
    return lock


_writers: WeakValueDictionary[str, ProjectWriter] = WeakValueDictionary()
_one = threading.Lock()


def writer_of(folder: Path) -> ProjectWriter:
    """The writer of a project in this process."""
    name = os.path.realpath(folder)
    with _one:
        writer = _writers.get(name)
        if writer is None:
            writer = _writers[name] = ProjectWriter(folder)
        return writer
