"""Faults at the k-th write, flush, rename or commit of this process: an error of the system, a signal, or two.

The functions of the operating system that segvoc's writers call are wrapped; segvoc itself knows nothing of it.
"""

import builtins
import contextlib
import errno
import io
import os
import pathlib
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


@dataclass
class Fault:
    """What happens, and when; counts the calls until then."""

    kind: str
    """One of `ERRORS` or `SIGNALS`; empty to count only."""
    moment: int
    """The call at which it happens, from 1."""
    lasts: bool = False
    """Whether an error comes back at each later call too, as on a full disk."""
    below: str = ""
    """Only files below this folder count."""
    calls: int = 0
    """How many calls there were."""
    lock: Any = field(default_factory=threading.Lock)

    def __call__(self, path: object) -> None:
        """Count a call, and let the fault happen if its time has come."""
        if not str(path).startswith(self.below):
            return
        with self.lock:
            self.calls += 1
            now = self.calls == self.moment or (self.lasts and self.calls > self.moment)
        if not now or not self.kind:
            return
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
        """The file."""
        return super().execute("PRAGMA database_list").fetchone()[2]


@contextlib.contextmanager
def faults(fault: Fault) -> Iterator[Fault]:
    """Let a fault happen inside the block."""
    plain_open, plain_fsync, plain_replace, plain_mkdir = io.open, os.fsync, os.replace, os.mkdir
    plain_connect, databases = sqlite3.connect, list[_Database]()

    def connected(*args: Any, **options: Any) -> sqlite3.Connection:
        databases.append(plain_connect(*args, factory=_Database, **options))
        databases[-1].fault = fault
        return databases[-1]

    def opened(path: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
        plain = isinstance(path, int) or not set(mode) & set("wxa+") or "b" not in mode
        if plain or not str(path).startswith(fault.below):
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

    def before(plain: Callable[..., Any]) -> Callable[..., Any]:
        def run(path: Any, *args: Any, **options: Any) -> Any:
            fault(path)
            return plain(path, *args, **options)

        return run

    plain_path_open = pathlib.Path.open
    try:
        builtins.open, pathlib.Path.open = opened, path_opened  # type: ignore[assignment]
        os.fsync, os.replace, os.mkdir = flushed, before(plain_replace), before(plain_mkdir)
        sqlite3.connect = connected
        yield fault
    finally:
        builtins.open, pathlib.Path.open = plain_open, plain_path_open
        os.fsync, os.replace, os.mkdir = plain_fsync, plain_replace, plain_mkdir
        sqlite3.connect = plain_connect
        for database in databases:
            database.fault = Fault(kind="", moment=0)
