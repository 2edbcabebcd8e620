"""Journals: crash-safe JSON Lines files that record finished work, and their locks.

A process killed while writing leaves at most one unfinished line at the end. Readers ignore it, and the next `Journal`
that opens the file truncates it. Damaged lines elsewhere are reported and skipped.
"""

import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segvoc.errors import DamagedJournalWarning, OutputError, UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import strict_json

if TYPE_CHECKING:
    from filelock import BaseFileLock


LOCK_NAME = ".segvoc-lock"

_one = threading.Lock()
"""Serializes acquisition: a lock that another thread is just acquiring would look like another process's."""


def lock_folder(folder: str | os.PathLike[str], *, wait: bool = False) -> "AbstractContextManager[BaseFileLock]":
    """Lock a folder against other processes until the end of a `with` block; creates it if needed.

    Several blocks of this process, nested or in threads, can lock a folder; it stays locked until the last one ends.
    `UsageError` if another process holds the lock, unless `wait`.
    """
    from filelock import FileLock, Timeout  # here, since it takes a tenth of a second to import

    path = Path(folder, LOCK_NAME)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.resolve(), is_singleton=True, thread_local=False)
        try:
            with _one:
                return lock.acquire(blocking=False)
        except Timeout:
            if wait:
                return lock.acquire()
            raise UsageError(f"another process works in {os.fspath(folder)!r}; wait until it ends") from None


SYNC_INTERVAL = 5.0
"""Time after which an appended entry also flushes the file to the disk [s]."""


class Journal(AbstractContextManager["Journal"]):
    """A journal open for appending by a single process; use it in a `with` block or close it. Its file is created.

    An entry is a JSON object on one line, written with a single system call: once `append` returns, it survives the
    death of the process. It is flushed to the disk every `SYNC_INTERVAL`: a power failure costs a few seconds of work.

    `exclusive` locks the file against other processes, if the file system supports locks; `busy` is the message of the
    `UsageError` if another process holds the lock.
    """

    def __init__(self, path: str | os.PathLike[str], *, exclusive: bool = False, busy: str | None = None) -> None:
        self.path = Path(path)
        self._synced = time.monotonic()
        with writing(self.path):
            self._file = self._opened()
            try:
                while exclusive and not self._is_locked(busy):
                    self._file.close()
                    self._file = self._opened()
                self._end = _end_of_last_line(self.path)
                self._file.truncate(self._end)
            except BaseException:
                self._file.close()
                raise

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_empty(self) -> bool:
        """Whether the file has no entries yet."""
        return self._end == 0

    def clear(self) -> None:
        """Remove all entries."""
        with writing(self.path):
            self._file.truncate(0)
        self._end = 0

    def append(self, entry: Mapping[str, object]) -> None:
        """Add an entry; NaN and infinity are written as null. After an `OutputError`, the next one takes its place."""
        line = f"{strict_json(entry)}\n".encode()
        with writing(self.path):
            if os.fstat(self._file.fileno()).st_size != self._end:
                self._file.truncate(self._end)  # what the disk took of an entry that failed
            written = self._file.write(line)
            while written < len(line):  # the disk is nearly full; the next write raises
                written += self._file.write(line[written:])
            if time.monotonic() - self._synced > SYNC_INTERVAL:
                self.sync()
        self._end += len(line)

    def sync(self) -> None:
        """Flush all entries to the disk."""
        with writing(self.path):
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Flush all entries to the disk, close the file and release the lock."""
        if self._file.closed:
            return
        try:
            self.sync()
        finally:
            self._file.close()

    def _opened(self) -> FileIO:
        for _ in range(10):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another process has just removed the empty folder
                # unbuffered: an entry is one write, and "a" writes at the end whatever else happens
                return self.path.open("ab", buffering=0)
        return self.path.open("ab", buffering=0)  # the folder is there: a link to nowhere, or an invalid name

    def _is_locked(self, busy: str | None) -> bool:
        """Lock the open file; False if another process has removed it meanwhile, which makes the lock useless."""
        from filelock import lock_descriptor  # here, since it takes a tenth of a second to import

        try:
            locked = lock_descriptor(self._file.fileno(), blocking=False)
        except OSError:  # the file system has no locks
            return True
        if not locked:
            raise UsageError(
                busy
                or f"another process is writing to {str(self.path)!r}; wait until it ends, or choose another folder"
            )
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False


def warn_of_damage(message: str) -> None:
    """Report a damaged line as a `DamagedJournalWarning`."""
    warnings.warn(message, DamagedJournalWarning, stacklevel=3)


def read_journal(
    path: str | os.PathLike[str], *, is_whole: Callable[[Mapping[str, Any]], bool] = lambda entry: True
) -> Iterator[dict[str, Any]]:
    """Read the entries of a journal in order, also while a process writes it; empty if the file doesn't exist.

    Skips empty lines, an unfinished last line, and damaged lines (with a `DamagedJournalWarning`), which include those
    with entries that aren't `is_whole`.
    """
    try:
        file = Path(path).open("rb")
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{os.fspath(path)!r} can't be read: {error.strerror}; check its permissions") from error
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") or not line.strip():
                continue
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                entry = None
            if isinstance(entry, dict) and is_whole(entry):
                yield entry
            else:
                warn_of_damage(f"line {number} of {os.fspath(path)!r} is damaged and ignored")


def _end_of_last_line(path: Path) -> int:
    """Length of the file without an unfinished last line [bytes]."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65_536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
