"""A few kills and failing writes of each command, and that the harness notices what is torn."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hardening.faults import ERRORS, Fault, faults
from hardening.kills import kill, torn, unbroken
from hardening.works import Work
from segvoc.errors import OutputError
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.journal import Journal, read_journal
from tests.images import one_line_error

ROOT = Path(__file__).resolve().parents[2]
FIXES = {"ENOSPC": "free some space", "EDQUOT": "free some space", "EROFS": "another folder"}


def kills(*arguments: str) -> list[dict[str, Any]]:
    """Rows that `python -m hardening.kills` prints; its children are forked from a process that did nothing else."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SEGVOC_CACHE": "off"}
    command = [sys.executable, "-W", "ignore", "-m", "hardening.kills", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize(
    "names",
    [
        "segment",
        pytest.param("video,finetune,batch,serve", marks=pytest.mark.slow),
        pytest.param("evaluate,prepare,train,project,export", marks=pytest.mark.slow),
    ],
)
def test_commands_go_on_after_kills_and_failing_writes(names: str) -> None:
    count = len(names.split(","))
    rows = kills("--only", names, f"--kills={2 * count}", f"--faults={count}", "--timed=0")
    assert [row["command"] for row in rows] == names.split(",")
    for row in rows:
        assert row["problems"] == [] and row["kills"] >= 2
        assert row["failing writes"] >= 1


def test_a_work_that_writes_in_place_is_caught(tmp_path: Path) -> None:
    def call() -> None:
        with open("out", "wb", buffering=0) as file:
            for number in range(20):
                file.write(b"%d\n" % number)

    work = Work(
        name="torn",
        set_up=lambda: None,
        call=call,
        result=lambda: {"out": Path("out").read_bytes()} if Path("out").exists() else {},
    )
    whole = unbroken(work, tmp_path / "whole")
    assert whole[1] == 21
    problems = [kill(work, whole, tmp_path / "broken", random.Random(seed), timed=0)[1] for seed in range(4)]
    assert any("torn" in problem for problem in problems)
    assert torn({"a": 1}, {"a": 1, "b": 2}) == []


@pytest.mark.parametrize("kind", sorted(ERRORS))
@pytest.mark.parametrize("lasts", [False, True])
def test_an_atomic_write_that_fails_anywhere_leaves_the_old_file(tmp_path: Path, kind: str, lasts: bool) -> None:
    path = tmp_path / "result"
    write_atomically(path, lambda file: file.write(b"old"))
    with faults(Fault(kind="", moment=0, below=str(tmp_path))) as counted:
        write_atomically(path, lambda file: file.write(b"x" * 100_000))
    assert counted.calls >= 3
    for moment in range(1, counted.calls + 1):
        write_atomically(path, lambda file: file.write(b"old"))
        fault = Fault(kind=kind, moment=moment, lasts=lasts, below=str(tmp_path))
        with faults(fault), one_line_error(OutputError, "result' can't be written", FIXES.get(kind, "")):
            write_atomically(path, lambda file: file.write(b"x" * 100_000))
        assert path.read_bytes() == b"old"
        assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize("lasts", [False, True])
@pytest.mark.parametrize("kind", sorted(ERRORS))
def test_a_journal_whose_disk_fails_keeps_all_entries_and_goes_on(tmp_path: Path, kind: str, lasts: bool) -> None:
    path = tmp_path / "work.journal"
    for moment in range(1, 8):
        path.unlink(missing_ok=True)
        kept, errors = set[int](), list[str]()
        with faults(Fault(kind=kind, moment=moment, lasts=lasts, below=str(tmp_path))):
            try:
                with Journal(path) as journal:
                    for number in range(4):
                        try:
                            journal.append({"number": number})
                            kept.add(number)
                        except OutputError as error:
                            errors.append(str(error))
            except OutputError as error:
                errors.append(str(error))
        assert all(FIXES.get(kind, "can't be written") in error for error in errors)
        entries = [entry["number"] for entry in read_journal(path)]
        assert kept <= set(entries) and entries == sorted(entries)
        with Journal(path) as journal:
            journal.append({"number": "last"})
        assert [entry["number"] for entry in read_journal(path)] == [*entries, "last"]
