"""`segvoc batch` as people call it; a plain loop stands for Ray."""

import re
import sys
from pathlib import Path

import pytest

from segvoc.cli.options import ModelOptions
from segvoc.labeling.batch import run
from segvoc.labeling.batch.count import Estimate, Rest, SourceCount
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
    assert "2 images were already done" in again.err


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
    assert again.code == 1 and "4 images were already done" in again.err


def test_a_dry_run_counts_tries_and_writes_nothing(batch: Command) -> None:
    folder_of(Path("many"), [f"{number:02}.jpg" for number in range(12)])
    size = sum(path.stat().st_size for path in Path("many").iterdir())
    done = batch("many", "--out", "out", *WORDS, "--dry-run")
    assert done.code == 0 and not Path("out").exists()
    count, rate, hours = done.out.splitlines()
    assert count == f"to label: 12 images in 12 files, {size / 1000:.3g} kB"
    (images,) = re.findall(r"^a sample on a worker of 2 cores: (\S+) images/s$", rate)
    (total,) = re.findall(r"^the rest: (\S+) hours of a worker, so \S+ hours with 1 worker, 2 cores$", hours)
    assert float(total) == pytest.approx(12 / float(images) / 3600, rel=0.02)
    done = batch("many", "--out", "out", *WORDS, "--dry-run", "--price", "3600000")
    *_, hours, price = done.out.splitlines()
    (total,) = re.findall(r"^the rest: (\S+) hours", hours)
    (asked,) = re.findall(r"^the price: (\S+), at 3.6e\+06 for each hour of 1 machine$", price)
    assert float(asked.replace(",", "")) == pytest.approx(3_600_000 * float(total), rel=0.01)
    batch("many", "--out", "out", *WORDS)
    done = batch("many", "--out", "out", *WORDS, "--dry-run")
    assert done.out == "done before: 12 images, of which 0 failed\nto label: 0 images in 0 files, 0 B\n"


def test_a_dry_run_says_what_it_does_as_it_goes(batch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segvoc.runtime.progress.FIRST_LINE", 0.0)
    monkeypatch.setattr("segvoc.runtime.progress.LINE_EVERY", 0.0)
    done = batch("in", "--out", "out", *WORDS, "--dry-run")
    assert "counting: 2 files" in done.err
    batch("in", "--out", "out", *WORDS, "--price", "1.20").refused("--price is only for --dry-run")


def test_a_price_is_of_the_machines_that_the_workers_take() -> None:
    rest = Rest(files=7200, bytes=10, sample=())
    estimate = Estimate(rest=rest, images=7200, seconds=3.0, workers=3, cores=6.0, machines=2)
    assert list(estimate.lines(1.2))[-1] == "the price: 4.80, at 1.2 for each hour of 2 machines"


def test_files_of_a_million_images_are_warned_of(batch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for dry in ((), ("--dry-run",)):
        assert (
            "objects for an image"
            not in (done := batch("in", "--out", "few", *WORDS, "--to", "files", *dry)).out + done.err
        )
    monkeypatch.setattr("segvoc.cli.batch.MANY_FILES", 2)
    assert "--to files makes two objects for an image" in batch("in", "--out", "out", *WORDS, "--to", "files").err
    done = batch("in", "--out", "dry", *WORDS, "--to", "files", "--dry-run")
    assert "--to files makes two objects for an image; --to parquet makes one for 50,000 images" in done.out


def test_progress_says_images_rate_failures_workers_and_time_left(
    batch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segvoc.runtime.progress.FIRST_LINE", 0.0)
    monkeypatch.setattr("segvoc.runtime.progress.LINE_EVERY", 0.0)
    monkeypatch.setattr(SourceCount, "start", SourceCount._count)  # counted before the first shard
    folder_of(Path("many"), [*(f"{number:02}.jpg" for number in range(9)), "bad.jpg"])
    done = batch("many", "--out", "out", *WORDS, "--shard-images", "1")
    assert re.search(r"labeling: 8 of 10 images, \d failed, 1 worker, \S+ images per second, \d+:\d\d left", done.err)


@pytest.mark.parametrize("missing", ["ray", "pyarrow"])
def test_what_isnt_installed_is_named_with_its_extra(segvoc_command, monkeypatch, missing):
    folder_of(Path("in"), ["a.jpg"])
    for name in [
        name for name in sys.modules if name.partition(".")[0] == missing or name == "segvoc.labeling.batch.engine"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    segvoc_command("batch", "in", "--out", "out", *WORDS).refused("[batch]")
