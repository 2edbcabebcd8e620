"""`segvoc batch` as people call it; a plain loop stands for Ray."""

import sys
from pathlib import Path

import pytest

from segvoc.cli.options import ModelOptions
from segvoc.labeling.batch import run
from tests.cli.command import WORDS, Command
from tests.labeling.batch.runs import Loop, folder_of, quick, rows_of
from tests.lazy_modules import lazily

lazily("pyarrow", 'needs the extra "batch"')


@pytest.fixture
def batch(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setattr(run, "_ray", lambda batch: Loop()(batch))
    monkeypatch.setattr(ModelOptions, "open", lambda self, model: quick())
    folder_of(Path("in"), ["a.jpg", "sub/b.jpg"])
    return lambda *arguments: segvoc_command("batch", *arguments)


def test_all_done_is_0_and_the_same_call_goes_on(batch: Command) -> None:
    done = batch("in", "--out", "out", *WORDS)
    assert (done.code, done.out) == (0, "in: 2 images -> out, of which 0 failed\n")
    assert [row["key"] for row in rows_of("out")] == ["a.jpg", "sub/b.jpg"]
    again = batch("in", "--out", "out", *WORDS)
    assert (again.code, again.out) == (0, done.out)
    assert "2 of 2 images were already done" in again.err


def test_an_unreadable_image_is_1_and_named(batch: Command) -> None:
    folder_of(Path("in"), ["bad.jpg"])
    batch("in", "--out", "out", *WORDS).failed(1, "'in/bad.jpg' is not an image")
    again = batch("in", "--out", "out", *WORDS)
    assert again.code == 1
    assert "1 images failed before; --retry-failed" in again.err
    batch("in", "--out", "out", *WORDS, "--retry-failed").failed(1, "'in/bad.jpg'")


def test_a_name_too_long_for_its_results_fails_alone(batch: Command) -> None:
    folder_of(Path("long"), ["a.jpg", f"{251 * 'n'}.jpg", f"{83 * chr(0x732B)}.jpg", "z.jpg"])
    done = batch("long", "--out", "out", *WORDS, "--to", "files")
    done.failed(1, "File name too long; give the input a shorter name", 251 * "n")
    assert done.out == "long: 4 images -> out, of which 1 failed\n"
    assert sorted(path.name for path in Path("out").glob("[!.]*")) == sorted(
        f"{stem}{suffix}" for stem in ("a", "z", 83 * chr(0x732B)) for suffix in (".json", ".png")
    )
    again = batch("long", "--out", "out", *WORDS, "--to", "files")
    assert again.code == 1 and "4 of 4 images were already done" in again.err


@pytest.mark.parametrize("missing", ["ray", "pyarrow"])
def test_what_isnt_installed_is_named_with_its_extra(segvoc_command, monkeypatch, missing):
    folder_of(Path("in"), ["a.jpg"])
    for name in [
        name for name in sys.modules if name.partition(".")[0] == missing or name == "segvoc.labeling.batch.engine"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    segvoc_command("batch", "in", "--out", "out", *WORDS).refused("[batch]")
