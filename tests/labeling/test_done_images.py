"""Which images of a folder of results are done: files that changed since, and calls at the same time."""

import os
from pathlib import Path

import pytest

from segvoc.errors import UsageError
from segvoc.imaging.result_paths import ResultPaths
from segvoc.labeling.labeling import Planned, finished, image_work, result_stamp
from segvoc.storage.resume import RESUME_FOLDER, ResumableWork, stamp_of

KEY = {"model": "tiny"}


def _planned(out: Path, *names: str) -> list[Planned]:
    """Images and results as a finished run leaves them."""
    planned = []
    for name in names:
        results = ResultPaths.below(out, Path(name).stem)
        for path in (out / name, *results):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
        planned.append((out / name, results))
    return planned


def _keep(out: Path, planned: list[Planned], *sources: str) -> None:
    with image_work(out, KEY, sources) as work:
        for path, results in planned:
            work.finish(results.stem, result_stamp(path, stamp_of(path), results))


def _finished(out: Path, planned: list[Planned]) -> set[str]:
    with image_work(out, KEY, []) as work:
        return finished(work, planned)


def test_all_calls_and_processes_count(tmp_path: Path) -> None:
    planned = _planned(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert _finished(tmp_path, planned) == set()
    _keep(tmp_path, planned[:1], "in")
    _keep(tmp_path, planned[1:2], "other")
    with image_work(tmp_path, KEY, ["in"]) as work, ResumableWork(work.path.with_stem("images-1"), KEY) as own:
        path, results = planned[2]
        own.finish(results.stem, result_stamp(path, stamp_of(path), results))
    assert _finished(tmp_path, planned) == {"a", "b", "c"}
    assert len(list((tmp_path / RESUME_FOLDER).iterdir())) == 3


def test_another_image_of_the_same_stem_is_not_done(tmp_path: Path) -> None:
    ((image, results),) = planned = _planned(tmp_path, "a.jpg")
    _keep(tmp_path, planned)
    other = image.with_name("a.webp")
    other.write_text("a.jpg")
    os.utime(other, ns=(0, image.stat().st_mtime_ns))
    assert _finished(tmp_path, [(other, results)]) == set()
    assert _finished(tmp_path, planned) == {"a"}
    image.unlink()
    assert _finished(tmp_path, planned) == set()


def test_the_same_images_are_labeled_by_one_call_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with image_work("out", KEY, ["in", "more"]):
        with pytest.raises(UsageError, match=r"into 'out'; wait until it ends, or stop it and share them: --shard 1/2"):
            image_work("out", {"model": "other"}, ["more/", "./in"])
        for others in (["in"], ["in", "more", "x"]):
            image_work("out", KEY, others).close()
        with image_work("out", KEY, ["in", "more"], "1/2"), image_work("out", KEY, ["in", "more"], "2/2"):
            with pytest.raises(UsageError, match=r"labeling --shard 2/2 of .* give another --shard"):
                image_work("out", KEY, ["in", "more"], "2/2")
