"""Journals, and what they say is done: after a kill, on a full disk, with damaged lines, of several processes,
for other settings; and a folder belongs to one process at a time."""

import errno
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from segvoc.errors import DamagedJournalWarning, OutputError, UsageError
from segvoc.storage import journal
from segvoc.storage.journal import LOCK_NAME, Journal, lock_folder, read_journal
from segvoc.storage.resume import ResumableWork, read_done


def filled(path, count=3):
    with Journal(path) as journal:
        for step in range(1, count + 1):
            journal.append({"step": step})
    return path


def steps(path):
    return [entry["step"] for entry in read_journal(path)]


def test_entries_come_back_in_their_order_and_a_link_to_nowhere_is_an_error(tmp_path):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "missing/lines.jsonl")
    with pytest.raises(OutputError, match="can't be written"):
        Journal(tmp_path / "link.jsonl")
    assert steps(filled(tmp_path / "new/folder/lines.jsonl")) == [1, 2, 3]
    assert list(read_journal(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize("cut", [0, 5, 11, 12, 35])
def test_a_file_cut_anywhere_is_continued_after_its_last_complete_line(tmp_path, cut):
    path = filled(tmp_path / "lines.jsonl")
    path.write_bytes(path.read_bytes()[:cut])
    complete = list(range(1, cut // 12 + 1))  # a line has 12 bytes
    assert steps(path) == complete
    with Journal(path) as journal:
        assert journal.is_empty == (not complete)
        journal.append({"step": 9})
    assert steps(path) == [*complete, 9]


@pytest.mark.parametrize("damage", [b"\0\0\0", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_line_is_reported_and_skipped(tmp_path, damage):
    path = filled(tmp_path / "lines.jsonl", 1)
    with path.open("ab") as file:
        file.write(damage + b'\n{"step": 3}\n')
    with pytest.warns(DamagedJournalWarning, match=r"line 2 of '.*lines\.jsonl' is damaged"):
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


def outcomes(folder, count=1) -> list[str]:
    """What processes get that try to lock a folder at once."""
    context = multiprocessing.get_context("fork")
    start, done, results = context.Barrier(count), context.Event(), context.Queue()
    processes = [context.Process(target=attempt, args=(folder, start, done, results)) for _ in range(count)]
    for process in processes:
        process.start()
    found = [results.get(timeout=300) for _ in processes]
    done.set()
    for process in processes:
        process.join()
    return sorted(found, key=len)


def test_what_a_full_disk_leaves_is_taken_back(tmp_path, monkeypatch):
    path = filled(tmp_path / "lines.jsonl", 1)
    with Journal(path) as journal:
        file, room = journal._file, [5]

        def write(line):
            if not room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return file.write(line[: room.pop()])

        full = Mock(wraps=file, write=write)
        with monkeypatch.context() as patch:
            patch.setattr(journal, "_file", full)
            with pytest.raises(OutputError, match=r"lines\.jsonl' can't be written: .*; free some space"):
                journal.append({"step": 2})
        assert steps(path) == [1]
        journal.append({"step": 3})
    assert steps(path) == [1, 3]


def test_of_many_processes_that_start_at_once_one_gets_the_folder(tmp_path):
    refused = f"another process works in {str(tmp_path / 'new')!r}; wait until it ends"
    assert outcomes(tmp_path / "new", 5) == ["locked", *[refused] * 4]


def test_a_folder_is_locked_until_the_last_block_of_this_process_ends_in_any_thread(tmp_path):
    with ThreadPoolExecutor(4) as threads, ExitStack() as stack:
        for lock in threads.map(lock_folder, [tmp_path] * 20):
            stack.enter_context(lock)
        assert outcomes(tmp_path) != ["locked"]
    with lock_folder(tmp_path):
        with lock_folder(tmp_path):
            assert outcomes(tmp_path) != ["locked"]
        assert outcomes(tmp_path) != ["locked"]
    assert outcomes(tmp_path) == ["locked"]
    assert (tmp_path / LOCK_NAME).exists()


KEY = {"model": "tiny", "words": "cat", "pair": (1, 2)}


def kept(path: Path, key: dict[str, object] = KEY, **values: object) -> Path:
    with ResumableWork(path, key) as work:
        for item, value in values.items():
            work.finish(item, (1, 2), value)
    return path


def items(*paths: Path, key: dict[str, object] = KEY) -> dict[str, Any]:
    return {item: value for item, _, value in read_done(paths, key)}


def test_items_are_done_with_their_stamp_alone(tmp_path: Path) -> None:
    done = read_done([kept(tmp_path / "new/a.jsonl", a=3, b=None)], KEY)
    assert done.has("a", (1, 2)) and done.has("b", [1, 2]) and done.get("a", (1, 2)) == 3
    assert not done.has("a", (1, 3)) and not done.has("a") and not done.has("c", (1, 2))
    assert done.get("a", (2, 2)) is None and list(done) == [("a", [1, 2], 3), ("b", [1, 2], None)]


def test_journals_of_all_processes_count(tmp_path: Path) -> None:
    kept(tmp_path / "work-0.jsonl", a=1)
    kept(tmp_path / "other.jsonl", x=1)
    with ResumableWork(tmp_path / "work-1.jsonl", KEY, writers="work-*.jsonl") as work:
        assert {item for item, _, _ in work.done} == {"a"}
        work.finish("b")
    assert items(*tmp_path.glob("work-*")) == {"a": 1, "b": None}


def test_only_other_keys_are_refused_with_the_newest_of_them(tmp_path: Path) -> None:
    old = kept(tmp_path / "z.jsonl", KEY | {"words": "dog"}, a=1)
    os.utime(old, (0, 0))
    kept(tmp_path / "a.jsonl", KEY | {"words": "bird", "pair": None}, a=1)
    with pytest.raises(UsageError) as error:
        read_done(tmp_path.iterdir(), KEY).require_key("out/", "do something")
    differences = "words: bird, now cat; pair: none, now [1, 2]"
    assert str(error.value) == f"'out/' has results of another call ({differences}); do something"
    kept(old, b=1)
    read_done(tmp_path.iterdir(), KEY).require_key("out/")
    read_done([], KEY).require_key("out/")


def test_a_line_that_a_kill_cut_and_a_damaged_one_are_no_entries(tmp_path: Path) -> None:
    path = kept(tmp_path / "a.jsonl", a=1, b=2, c=3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{damaged\n", lines[3][:-5]]))
    with pytest.warns(DamagedJournalWarning):
        assert items(path) == {"a": 1}
    path.write_bytes(b"".join([lines[1], lines[3]]))
    assert items(path) == {"a": 1, "c": 3}  # also without the line that spells the key out


def test_a_second_writer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with ResumableWork(path, KEY), pytest.raises(UsageError, match=r"^wait!$"):
        ResumableWork(path, KEY, busy="wait!")
    ResumableWork(path, KEY, busy="wait!").close()
