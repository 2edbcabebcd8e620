"""Batches from and to S3, on this machine, with errors."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason='needs the extra "batch"')
pytest.importorskip("moto", reason="needs moto's server")

from segvoc.batch import places
from segvoc.batch.places import place_of, retried
from segvoc.errors import OutputError, UnavailableError, UsageError
from tests.batch.flaky_s3 import FlakyS3, flaky_s3
from tests.batch.runs import Loop, Stopped, contents, folder_of, label, tar_of
from tests.images import one_line_error

NAMES = ["a.jpg", "b.jpg", "bad.jpg", "sub/c.jpg"]


@pytest.fixture(scope="module")
def s3() -> Iterator[FlakyS3]:
    with flaky_s3() as server:
        yield server


@pytest.fixture(autouse=True)
def quick_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "STORAGE_WAIT", 0.001)


def test_a_stopped_run_goes_on_in_spite_of_errors(s3: FlakyS3, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", NAMES)
    for name in NAMES:
        place_of(f"s3://bucket/in/{name}").write((source / name).read_bytes())
    s3.share = 0.25
    try:
        with pytest.raises(Stopped):
            label("s3://bucket/in", "s3://bucket/out", Loop(1, before_record=True), sink="webdataset")
        done = label("s3://bucket/in", "s3://bucket/out", sink="webdataset")
    finally:
        s3.share = 0.0
    assert (done.images, done.before, len(done.failed)) == (4, 2, 1)
    assert s3.answered["errors"] >= 5
    for entry in place_of("s3://bucket/out").files():
        (tmp_path / "out" / entry.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / entry.path).write_bytes(place_of(f"s3://bucket/out/{entry.path}").read())
    label("s3://bucket/in", tmp_path / "whole", sink="webdataset")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_tars_stream_from_s3(s3: FlakyS3) -> None:
    images = {f"{n}.jpg": (b"x" if n == 2 else b"") for n in range(3)}
    place_of("s3://bucket/tars/0.tar").write(tar_of(images))
    done = label("s3://bucket/tars/0.tar", "s3://bucket/from_tars")
    assert (done.images, len(done.failed)) == (3, 3)


@pytest.mark.slow
def test_a_storage_that_does_not_answer_is_one_line(s3: FlakyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ATTEMPTS", 1)  # Arrow tries several times itself
    place_of("s3://bucket/down/a.jpg").write(b"x")
    for name in ("", "/in", "/a.jpg", "/out"):
        place_of(f"s3://bucket/down{name}")
    s3.share = 1.0
    try:
        with one_line_error(UnavailableError, "s3://bucket/down/a.jpg", "run the same call again"):
            place_of("s3://bucket/down/a.jpg").read()
        with one_line_error(OutputError, "s3://bucket/down/out", "can't be written"):
            place_of("s3://bucket/down/out").write(b"x")
    finally:
        s3.share = 0.0


def test_what_could_not_be_read_is_tried_by_the_next_run(s3, tmp_path, monkeypatch):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        place_of(f"s3://bucket/some/{name}").write(folder_of(tmp_path, [name]).joinpath(name).read_bytes())
    plain = places.Location.read

    def read(place: places.Location) -> bytes:
        if place.path.endswith("/c.jpg"):
            raise UnavailableError("'c.jpg' can't be reached")
        return plain(place)

    with monkeypatch.context() as patch:
        patch.setattr(places.Location, "read", read)
        first = label("s3://bucket/some", tmp_path / "out")
    assert (first.images, first.problems) == (2, ("'c.jpg' can't be reached",))
    done = label("s3://bucket/some", tmp_path / "out")
    assert (done.images, done.before, done.problems, done.failed) == (3, 2, (), ())


def test_only_answers_that_may_change_are_asked_for_again() -> None:
    asked: list[int] = []

    def ask(error: Exception, times: int) -> str:
        asked.append(1)
        if len(asked) <= times:
            raise error
        return "found"

    assert retried("it", lambda: ask(OSError("busy"), 3)) == "found"
    assert len(asked) == 4
    for error, raised in (
        (FileNotFoundError("no"), FileNotFoundError),
        (OSError("AWS Error ACCESS_DENIED during GetObject"), PermissionError),
        (OSError("busy"), UnavailableError),
    ):
        asked.clear()
        with pytest.raises(raised):
            retried("it", lambda error=error: ask(error, 99))
        assert len(asked) == (places.ATTEMPTS if raised is UnavailableError else 1)


def test_a_bucket_that_is_not_there_is_refused(s3: FlakyS3, tmp_path: Path) -> None:
    with one_line_error(UsageError, "s3://nobody/in"):
        label("s3://nobody/in", tmp_path / "out")
