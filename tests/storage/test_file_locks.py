"""Locks of files, on Windows too: simulated by a stand-in for its module."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from segvoc.errors import UsageError
from segvoc.storage import atomic_writes, file_locks
from segvoc.storage.atomic_writes import put_in_place
from segvoc.storage.file_locks import LockedError, lock_file
from segvoc.storage.journal import Journal, read_journal
from segvoc.storage.locks import lock_folder


class Windows(ModuleType):
    """Its module `msvcrt`, for one process that stands for two: a byte is locked until it is let go of."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.locked: set[tuple[int, int]] = set()
        self.refusals: list[OSError] = []

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        if self.refusals:
            raise self.refusals.pop()
        place = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR)
        if place in self.locked:
            raise PermissionError(13, "Permission denied")
        assert mode == self.LK_NBLCK and count == 1 and place[1] > os.fstat(descriptor).st_size
        self.locked.add(place)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Windows:
    module = Windows()
    monkeypatch.setattr(file_locks, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    return module


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"content")
    yield descriptor
    os.close(descriptor)


def test_windows_locks_a_byte_behind_the_file_and_leaves_the_place(windows: Windows, opened: int) -> None:
    assert lock_file(opened)
    assert os.lseek(opened, 0, os.SEEK_CUR) == len(b"content")
    with pytest.raises(LockedError):
        lock_file(opened)


def test_windows_waits_until_it_is_let_go_of(windows: Windows, opened: int) -> None:
    windows.refusals += [PermissionError(13, "Permission denied")] * 2
    assert lock_file(opened, wait=True)
    assert not windows.refusals


def test_without_locks_nothing_is_locked(windows: Windows, opened: int) -> None:
    windows.refusals.append(OSError(22, "Invalid argument"))
    assert not lock_file(opened)


def test_journals_and_folders_are_locked_on_windows(windows: Windows, tmp_path: Path) -> None:
    with Journal(tmp_path / "journal", exclusive=True) as journal:
        journal.append({"a": 1})
        with pytest.raises(UsageError, match="another process is writing"):
            Journal(tmp_path / "journal", exclusive=True)
    assert list(read_journal(tmp_path / "journal")) == [{"a": 1}]
    lock = lock_folder(tmp_path / "folder")
    assert lock is not None and lock_folder(tmp_path / "folder") is lock
    assert len(windows.locked) == 2


def test_windows_waits_for_a_reader_of_a_file_that_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, target, refused = tmp_path / "new", tmp_path / "target", [2]
    replace = os.replace

    def refuse(one: Path, other: Path) -> None:
        if refused[0]:
            refused[0] -= 1
            raise PermissionError(13, "Access is denied")
        replace(one, other)

    monkeypatch.setattr(os, "replace", refuse)
    new.write_text("new")
    with pytest.raises(PermissionError):
        put_in_place(new, target)
    monkeypatch.setattr(sys, "platform", "win32")
    put_in_place(new, target)
    assert target.read_text() == "new" and refused == [0]
    refused[0] = 1
    monkeypatch.setattr(atomic_writes, "WINDOWS_SECONDS", 0.0)
    new.write_text("newer")
    with pytest.raises(PermissionError):
        put_in_place(new, target)
