"""A few bad inputs of every family, and that the pool tells the defects that it is there for."""

import os
import random
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hardening import pool
from hardening.cases import Case, digest, file
from hardening.corpus import corpus
from hardening.pool import run_cases
from hardening.readers import READERS, Reader
from segvoc.errors import InputError
from tests.hardening.programs import run

QUICK = ("images", "texts", "weights", "datasets")


def test_bad_inputs_of_every_family_are_refused_or_agreed_upon() -> None:
    lines = run("fuzz", "--seed=1", "--scale=0.01", "--jobs=1", "--only", ",".join(QUICK)).splitlines()
    *rows, total = (re.fullmatch(r"(.*?) +(\d+) +(\d+) +(\d+) +(\d+)(  \d+ s)?", line) for line in lines)
    assert all(rows) and total is not None, lines  # other lines are defects
    assert {row[1].split(":")[0] for row in rows if row is not None} >= set(QUICK)
    cases, refused, accepted, defects = map(int, total.groups()[1:5])
    assert cases > 150 and refused > 50 and accepted > 10 and defects == 0


@pytest.mark.slow
def test_images_of_other_projects_are_counted_by_project_and_suffix(tmp_path: Path) -> None:
    images = tmp_path / "project" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (8, 6), "red").save(images / "good.png")
    (images / "cut.png").write_bytes((images / "good.png").read_bytes()[:40])
    (images / "other.tga").write_bytes(b"x" * 30)
    (images / "notes.txt").write_text("no image")
    lines = run("peers", f"project={tmp_path / 'project'}", "--jobs=1").splitlines()
    assert [line.split() for line in lines] == [
        ["project", "png", "2", "4", "2", "0"],
        ["project", "tga", "1", "3", "0", "0"],
    ]


def test_the_corpus_is_the_same_each_time(tmp_path: Path) -> None:
    digests = []
    for number in range(2):
        found = []
        for index, case in enumerate(corpus(random.Random(5), 0.01, ("texts",))):
            folder = tmp_path / f"{number}-{index}"
            folder.mkdir()
            case.build(folder)
            found.append(digest(case.reader, folder))
        digests.append(found)
    assert digests[0] == digests[1]
    assert len(set(digests[0])) > 20


def _unkept(source: Path, out: Path) -> None:
    (source.parent / "here" / "beside").write_text("x")


def _kept(source: Path, out: Path) -> None:
    (out / "result").write_text("x")


def _refused(source: Path, out: Path) -> None:
    raise InputError("it is bad; mend it")


def _two_lines(source: Path, out: Path) -> None:
    raise InputError("one\ntwo")


def _killed(source: Path, out: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("read", "verdict", "said"),
    [
        (_kept, "accepted", ""),
        (_refused, "refused", "it is bad; mend it"),
        (_two_lines, "defect", "not one line"),
        (_unkept, "defect", "outside of the results"),
        (_killed, "defect", "ended the process: SIGSEGV"),
        (lambda source, out: 1 / 0, "defect", "ZeroDivisionError"),
        (lambda source, out: time.sleep(30), "defect", "takes more than 1 s"),
        (lambda source, out: np.ones(1 << 40), "defect", "MemoryError"),
    ],
)
def test_every_kind_of_defect_is_found(monkeypatch, read, verdict, said):
    """Also where another case comes after it in the same child."""
    readers = {**READERS, "test": Reader(read=read), "plain": Reader(read=_kept)}
    monkeypatch.setattr(pool, "READERS", readers)
    cases = [Case(family="f", what="w", reader=name, build=file("x", b"x")) for name in ("plain", "test", "plain")]
    found = run_cases(cases, seconds=1)
    assert [one.verdict for one in found] == ["accepted", verdict, "accepted"]
    assert said in found[1].detail


def test_what_another_reading_refuses_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(read=_kept, disagreement=lambda source, out: "it is no image")
    monkeypatch.setattr(pool, "READERS", {"test": reader})
    (found,) = run_cases([Case(family="f", what="w", reader="test", build=file("x", b"x"))])
    assert (found.verdict, found.detail) == ("defect", "accepted, but it is no image")
