"""Journals: what a kill, a full disk or a damaged line leaves behind; and a folder belongs to one process at a time."""

import errno
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from segvoc.errors import DamagedJournalWarning, OutputError, UsageError
from segvoc.storage import journal
from segvoc.storage.journal import LOCK_NAME, Journal, lock_folder, read_journal


def filled(path, count=3):
    with Journal(path) as journal:
        for step in range(1, count + 1):
            journal.append({"step": step})
    return path


def steps(path):
    return [entry["step"] for entry in read_journal(path)]


def test_entries_come_back_in_their_order(tmp_path):
    assert steps(filled(tmp_path / "new/folder/lines.jsonl")) == [1, 2, 3]
    assert list(read_journal(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize("cut", [0, 1, 5, 11, 12, 13, 35])
def test_a_file_cut_anywhere_is_continued_after_its_last_complete_line(tmp_path, cut):
    path = filled(tmp_path / "lines.jsonl")
    path.write_bytes(path.read_bytes()[:cut])
    complete = list(range(1, cut // 12 + 1))  # a line has 12 bytes
    assert steps(path) == complete
    with Journal(path) as journal:
        assert journal.is_empty == (not complete)
        journal.append({"step": 9})
    assert steps(path) == [*complete, 9]


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b'{"step": \n', b"[1]\n", b"\xff\xfe\n", b"[" * 100_000])
def test_a_damaged_line_is_reported_and_skipped(tmp_path, damage):
    path = filled(tmp_path / "lines.jsonl", 1)
    with path.open("ab") as file:
        file.write(damage + b'\n{"step": 3}\n')
    with pytest.warns(DamagedJournalWarning, match=r"line 2 of '.*lines\.jsonl' is damaged"):
        assert steps(path) == [1, 3]


def test_a_link_to_nowhere_is_an_error(tmp_path):
    (tmp_path / "lines.jsonl").symlink_to(tmp_path / "missing/lines.jsonl")
    with pytest.raises(OutputError, match="can't be written"):
        Journal(tmp_path / "lines.jsonl")


def test_what_a_full_disk_leaves_is_taken_back(tmp_path, monkeypatch):
    path = filled(tmp_path / "lines.jsonl", 1)

    class Full:
        """A file on a disk with room for five bytes more."""

        def __init__(self, file):
            self.file, self.room = file, 5

        def write(self, line):
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written, self.room = self.file.write(line[: self.room]), 0
            return written

        def __getattr__(self, name):
            return getattr(self.file, name)

    with Journal(path) as journal:
        monkeypatch.setattr(journal, "_file", Full(journal._file))
        with pytest.raises(OutputError, match=r"lines\.jsonl' can't be written: .*; free some space"):
            journal.append({"step": 2})
        journal._file.room = 100
        journal.append({"step": 3})
    assert steps(path) == [1, 3]


def test_one_process_at_a_time_holds_an_exclusive_journal(tmp_path):
    path = tmp_path / "lines.jsonl"
    code = "import sys; from segvoc.storage.journal import Journal; Journal(sys.argv[1], exclusive=True)"
    with Journal(path, exclusive=True) as journal:
        with pytest.raises(UsageError, match="another process is writing to"):
            Journal(path, exclusive=True)
        other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
        assert f"another process is writing to {str(path)!r}" in other.stderr
        # an entry that the holder has not finished is not cut off by others
        journal.append({"step": 1})
    Journal(path, exclusive=True).close()
    assert steps(path) == [1]


def test_entries_reach_the_disk_at_intervals_and_at_the_end(tmp_path, monkeypatch):
    synced, now, fsync = [], [100.0], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: fsync(file) or synced.append(os.fstat(file).st_size))
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    with Journal(tmp_path / "lines.jsonl") as lines:  # a line has 12 bytes
        for step, (seconds, sizes) in enumerate([(1, []), (5, []), (5.5, [36]), (10, [36]), (10.75, [36, 60])], 1):
            now[0] = 100 + seconds
            lines.append({"step": step})
            assert synced == sizes
        lines.append({"step": 6})
        lines.sync()
        lines.append({"step": 7})
    assert synced == [36, 60, 72, 84]


def attempt(folder, start, done, results) -> None:
    start.wait()
    try:
        lock = lock_folder(folder)
    except UsageError as error:
        results.put(str(error))
        return
    with lock:
        results.put("locked")
        done.wait()


def test_of_many_processes_that_start_at_once_one_gets_the_folder(tmp_path):
    context, count = multiprocessing.get_context("fork"), 5
    for number in range(2):
        start, done, results = context.Barrier(count), context.Event(), context.Queue()
        folder = tmp_path / f"new-{number}"
        processes = [context.Process(target=attempt, args=(folder, start, done, results)) for _ in range(count)]
        for process in processes:
            process.start()
        outcomes = [results.get(timeout=60) for _ in processes]
        done.set()
        for process in processes:
            process.join()
        refused = f"another process works in {str(folder)!r}; wait until it ends"
        assert sorted(outcomes, key=len) == ["locked", *[refused] * (count - 1)]


def locked_by_another(folder) -> bool:
    context = multiprocessing.get_context("fork")
    start, done, results = context.Barrier(1), context.Event(), context.Queue()
    done.set()
    process = context.Process(target=attempt, args=(folder, start, done, results))
    process.start()
    process.join()
    return results.get(timeout=60) != "locked"


def test_a_folder_is_locked_until_the_last_block_of_this_process_ends(tmp_path):
    with lock_folder(tmp_path):
        with lock_folder(tmp_path):
            assert locked_by_another(tmp_path)
        assert locked_by_another(tmp_path)
    assert not locked_by_another(tmp_path)
    assert (tmp_path / LOCK_NAME).exists()


def test_threads_can_lock_a_folder_at_once(tmp_path):
    with ThreadPoolExecutor(4) as threads, ExitStack() as stack:
        for lock in threads.map(lock_folder, [tmp_path] * 20):
            stack.enter_context(lock)
        assert locked_by_another(tmp_path)
    assert not locked_by_another(tmp_path)
