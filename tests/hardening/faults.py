"""Faults at the k-th write, flush, rename, removal or commit of this process: an error of the system, or its end.

The functions of the operating system that segvoc's writers call are wrapped; segvoc itself knows nothing of it.

Tests let a call die in their own process, at some or all of its writes, each time in a new copy of a folder:

    for folder in killed_copies(lambda folder: change(folder), original, tmp_path, most=5, seed=seed):
        check_whole(folder)

`make kills` ends real processes by signals (`tests.hardening.kills`).
"""

import builtins
import contextlib
import errno
import io
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS, "EDQUOT": errno.EDQUOT}
"""Errors of a disk that is full, failing, read-only, or over its quota."""

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT twice")
"""Ways to end a process."""


class Killed(BaseException):
    """The process is dead: code that cleans up after it changes no file either."""


@dataclass
class Fault:
    """What happens, and when; counts the calls until then."""

    kind: str
    """One of `ERRORS` or `SIGNALS`, or "Killed", which raises it and lasts; empty to count only."""
    moment: int
    """The call at which it happens, from 1."""
    lasts: bool = False
    """Whether an error comes back at each later call too, as on a full disk."""
    below: str = ""
    """Only files below this folder count."""
    calls: int = 0
    """How many calls there were."""
    lock: Any = field(default_factory=threading.Lock)

    def counts(self, path: Any) -> bool:
        """Whether a file is below the folder whose files count."""
        return os.path.abspath(os.fsdecode(path)).startswith(self.below)

    def __call__(self, path: Any, *, removes: bool = False) -> None:
        """Count a call, and let the fault happen if its time has come. A disk that fails can still remove files."""
        if not self.counts(path):
            return
        with self.lock:
            self.calls += 1
            lasts = self.lasts or self.kind == "Killed"
            now = self.calls == self.moment or (lasts and self.calls > self.moment)
        if not now or not self.kind or (removes and self.kind in ERRORS):
            return
        if self.kind == "Killed":
            raise Killed
        if self.kind in ERRORS:
            raise OSError(ERRORS[self.kind], os.strerror(ERRORS[self.kind]), str(path))
        if self.kind == "SIGINT twice":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        else:
            os.kill(os.getpid(), signal.Signals[self.kind])


class _Raw(io.FileIO):
    """A file whose writes may fail."""

    fault: Fault

    def write(self, data: Any, /) -> int:
        try:
            self.fault(self.name)
        except OSError:
            super().write(data[: len(data) // 2])  # as far as a disk has room
            raise
        return super().write(data) or 0

    def truncate(self, size: int | None = None, /) -> int:
        self.fault(self.name)
        return super().truncate(size)


class _Database(sqlite3.Connection):
    """A database whose commits may fail."""

    fault: Fault

    def execute(self, sql: str, /, *parameters: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            try:
                self.fault(self.path)
            except OSError as error:
                failure = sqlite3.OperationalError("database or disk is full")
                failure.sqlite_errorcode = sqlite3.SQLITE_FULL if error.errno == errno.ENOSPC else sqlite3.SQLITE_IOERR
                raise failure from error
        return super().execute(sql, *parameters)

    @property
    def path(self) -> str:
        return super().execute("PRAGMA database_list").fetchone()[2]


_CHANGES, _REMOVALS = ("replace", "rename", "link", "mkdir"), ("unlink", "rmdir")
"""Functions of `os` that count beside writes to files."""


def _faulty(fault: Fault, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function of `os` that changes files, or doesn't."""
    removes, makes = name in _REMOVALS, name == "mkdir"

    def run(path: Any, *args: Any, dir_fd: int | None = None, **options: Any) -> Any:
        options |= {} if dir_fd is None else {"dir_fd": dir_fd}
        whole = path if dir_fd is None else os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
        if not (removes or makes) or os.path.lexists(whole) == removes:  # else it changes nothing
            fault(whole, removes=removes)
        return plain(path, *args, **options)

    return run


@contextlib.contextmanager
def faults(fault: Fault) -> Iterator[Fault]:
    """Let a fault happen inside the block."""
    plain_open, plain_fsync = io.open, os.fsync
    plain_changes = {name: getattr(os, name) for name in (*_CHANGES, *_REMOVALS)}
    plain_connect, databases = sqlite3.connect, list[_Database]()

    def connected(*args: Any, **options: Any) -> sqlite3.Connection:
        databases.append(plain_connect(*args, factory=_Database, **options))
        databases[-1].fault = fault
        return databases[-1]

    def opened(path: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
        plain = isinstance(path, int) or not set(mode) & set("wxa+") or "b" not in mode
        if plain or not fault.counts(path):
            return plain_open(path, mode, buffering, *args, **options)
        fault(path)
        raw = _Raw(path, mode.replace("b", ""))
        raw.fault = fault
        return raw if buffering == 0 else (io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw))

    def path_opened(path: pathlib.Path, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
        return opened(str(path), mode, buffering, *args, **options)

    def flushed(descriptor: int) -> None:
        fault(os.readlink(f"/proc/self/fd/{descriptor}"))
        plain_fsync(descriptor)

    plain_path_open = pathlib.Path.open
    try:
        builtins.open, pathlib.Path.open = opened, path_opened  # type: ignore[assignment]
        os.fsync = flushed
        for name, plain in plain_changes.items():
            setattr(os, name, _faulty(fault, name, plain))
        sqlite3.connect = connected
        yield fault
    finally:
        builtins.open, pathlib.Path.open = plain_open, plain_path_open
        os.fsync = plain_fsync
        for name, plain in plain_changes.items():
            setattr(os, name, plain)
        sqlite3.connect = plain_connect
        for database in databases:
            database.fault = Fault(kind="", moment=0)
            if fault.kind == "Killed":
                database.close()


def writes_of(call: Callable[[], object], folder: pathlib.Path) -> int:
    """The number of writes, flushes, renames, removals and commits of a call below a folder."""
    with faults(Fault(kind="", moment=0, below=str(folder))) as counted:
        call()
    return counted.calls


def killed_copies(
    call: Callable[[pathlib.Path], object],
    original: pathlib.Path,
    scratch: pathlib.Path,
    *,
    most: int | None = None,
    seed: int = 0,
) -> Iterator[pathlib.Path]:
    """Copies of a folder, in each of which a call died at another of its writes.

    All of its writes, in order, or the first, the last and others that are drawn, so that they are at most `most`. The
    last copy is one in which the call came to its end.
    """
    whole = shutil.copytree(original, scratch / "whole")
    writes = writes_of(lambda: call(whole), whole)
    moments = list(range(1, writes + 1))
    if most is not None and most < writes:
        moments = [1, *sorted(random.Random(seed).sample(moments[1:-1], most - 2)), writes]
    for moment in moments:
        folder = shutil.copytree(original, scratch / f"killed at {moment} of {writes}")
        with faults(Fault(kind="Killed", moment=moment, below=str(folder))) as fault, contextlib.suppress(Killed):
            call(folder)
        if fault.calls < moment:
            raise RuntimeError(f"{fault.calls} writes this time, not {writes}")
        yield folder
    yield whole
