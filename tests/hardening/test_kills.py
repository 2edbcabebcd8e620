"""Commands that end at a write go on, in this process and after real kills, and files are never half written.

`make kills` ends the commands by a thousand signals.
"""

import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from segvoc.cli.options import ModelOptions
from segvoc.errors import OutputError
from segvoc.labeling.batch import run as batch_run
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.journal import Journal, read_journal
from tests.hardening.faults import ERRORS, Fault, Killed, faults, killed_copies
from tests.hardening.kills import torn
from tests.hardening.works import WORKS, Work, inside
from tests.images import one_line_error

ROOT = Path(__file__).resolve().parents[2]
FIXES = {"ENOSPC": "free some space", "EDQUOT": "free some space", "EROFS": "another folder"}


def kills(*arguments: str) -> list[dict[str, Any]]:
    """Rows that `tests.hardening.kills` prints; its children are forked from a process that did nothing else."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SEGVOC_CACHE": "off"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.hardening.kills", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize(
    ("names", "arguments"),
    [
        ("segment,train", ("--kills=2", "--faults=0", "--signals=SIGKILL", "--most=1")),
        pytest.param("video,finetune,batch,serve", ("--kills=8", "--faults=4"), marks=pytest.mark.slow),
        pytest.param("evaluate,prepare,train,project,export", ("--kills=10", "--faults=5"), marks=pytest.mark.slow),
    ],
    ids=["resumed", "some", "others"],
)
def test_commands_go_on_after_kills_and_failing_writes(names: str, arguments: tuple[str, ...]) -> None:
    rows = kills("--only", names, *arguments, "--timed=0")
    assert [row["command"] for row in rows] == names.split(",")
    for row in rows:
        assert row["problems"] == [] and row["kills"] >= 1


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the works replace in their process is put back."""
    for owner, name in ((ModelOptions, "open"), (ModelOptions, "open_network"), (sys, "argv"), (batch_run, "_ray")):
        monkeypatch.setattr(owner, name, getattr(owner, name))


def called(work: Work, fault: Fault) -> Fault:
    """Call a work in this process, in the working folder, until a fault ends it."""
    with faults(fault), suppress(Killed):
        try:
            work.call()
        except SystemExit as end:
            assert not end.code
    return fault


FAST = ("video", "evaluate", "prepare", "batch", "project", "export")


@pytest.mark.usefixtures("as_before", "small_preset")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # files that a death leaves open
@pytest.mark.parametrize(
    ("work", "seed"),
    [
        pytest.param(work, seed, marks=() if work.name in FAST and not seed else pytest.mark.slow)
        for work in WORKS
        for seed in range(6)
        if work.name != "serve"
    ],
    ids=lambda given: getattr(given, "name", None),
)
def test_a_command_that_died_at_a_write_goes_on(work: Work, seed: int, tmp_path: Path) -> None:
    def fault(kind: str = "", moment: int = 0) -> Fault:
        return Fault(kind=kind, moment=moment, below=f"{Path.cwd()}/")

    with inside(tmp_path / "whole"):
        work.set_up()
        writes = called(work, fault()).calls
        expected = work.result()
    with inside(tmp_path / "broken"):
        work.set_up()
        moment = random.Random(f"{work.name} {seed}").randint(1, writes)
        called(work, fault("Killed", moment))
        assert torn(work.result(), expected) == []
        called(work, fault())
        assert work.result() == expected


def test_a_work_that_writes_in_place_is_torn(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        with (folder / "out").open("wb", buffering=0) as file:
            for number in range(20):
                file.write(b"%d\n" % number)

    (tmp_path / "empty").mkdir()
    *left, whole = [
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in killed_copies(write, tmp_path / "empty", tmp_path)
    ]
    assert len(left) == 21 and torn({}, whole) == torn(whole, whole | {"b": 2}) == []
    assert [torn(one, whole) for one in left] == [[], *[["out"]] * 20]


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
