"""Journals: what a kill, a full disk or a damaged line leaves behind."""

import errno
import json
import os
import subprocess
import sys

import pytest

from segvoc.errors import DamagedJournalWarning, OutputError, UsageError
from segvoc.storage.journal import Journal, read_journal


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


@pytest.mark.parametrize("damage", [b"\0\0\0\n", b'{"step": \n', b"[1]\n", b"\xff\xfe\n"])
def test_a_damaged_line_is_reported_and_skipped(tmp_path, damage):
    path = filled(tmp_path / "lines.jsonl", 1)
    with path.open("ab") as file:
        file.write(damage + b'\n{"step": 3}\n')
    with pytest.warns(DamagedJournalWarning, match=r"line 2 of '.*lines\.jsonl' is damaged"):
        assert steps(path) == [1, 3]


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


def test_an_entry_survives_a_kill(tmp_path):
    code = (
        "import os, signal, sys; from segvoc.storage.journal import Journal\n"
        "Journal(sys.argv[1]).append({'step': 1}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "lines.jsonl")], check=False)
    assert json.loads((tmp_path / "lines.jsonl").read_text()) == {"step": 1}
