"""Journals of results: several in one folder, damaged ones, and files that changed since."""

import os
from pathlib import Path

import pytest

from segvoc.errors import DamagedJournalWarning, UsageError
from segvoc.imaging.result_paths import ResultPaths
from segvoc.labeling.journal import JOURNAL_FOLDER, Planned, ResultJournal, finished, stamp_of

SETTINGS = {"model": "tiny", "words": "cat", "pair": (1, 2)}


def _done(out: Path, *names: str) -> list[Planned]:
    """Images and results as a finished run leaves them."""
    planned = []
    for name in names:
        results = ResultPaths.below(out, Path(name).stem)
        for path in (out / name, *results):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
        planned.append((out / name, results))
    return planned


def _keep(out: Path, planned: list[Planned], settings: dict[str, object] | None = None) -> Path:
    with ResultJournal(out, SETTINGS if settings is None else settings) as journal:
        for path, results in planned:
            journal.append(path, stamp_of(path), results)
    return journal.path


def test_journals_of_all_processes_count(tmp_path: Path) -> None:
    planned = _done(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    assert finished(tmp_path, SETTINGS, planned) == set()
    assert _keep(tmp_path, planned[:1]) != _keep(tmp_path, planned[1:2])
    assert finished(tmp_path, SETTINGS, planned) == {"a", "b"}


def test_process_without_results_leaves_no_file(tmp_path: Path) -> None:
    _keep(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_a_kill_cut_and_a_damaged_one_are_no_entries(tmp_path: Path) -> None:
    planned = _done(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    path = _keep(tmp_path, planned)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{damaged\n", lines[3][:-5]]))
    with pytest.warns(DamagedJournalWarning):
        assert finished(tmp_path, SETTINGS, planned) == {"a"}


def test_another_image_of_the_same_stem_is_not_done(tmp_path: Path) -> None:
    ((image, results),) = planned = _done(tmp_path, "a.jpg")
    _keep(tmp_path, planned)
    other = image.with_suffix(".png").with_name("a.webp")
    other.write_text("a.jpg")
    os.utime(other, ns=(0, image.stat().st_mtime_ns))
    assert finished(tmp_path, SETTINGS, [(other, results)]) == set()
    assert finished(tmp_path, SETTINGS, planned) == {"a"}
    image.unlink()
    assert finished(tmp_path, SETTINGS, planned) == set()


def test_only_other_settings_are_refused_with_the_newest_of_them(tmp_path: Path) -> None:
    planned = _done(tmp_path, "a.jpg")
    old = _keep(tmp_path, planned, SETTINGS | {"words": "dog"})
    os.utime(old, (0, 0))
    _keep(tmp_path, planned, SETTINGS | {"words": "bird", "pair": None})
    with pytest.raises(UsageError) as error:
        finished(tmp_path, SETTINGS, planned)
    assert str(error.value) == (
        f"{str(tmp_path)!r} has results of another call (words: bird, now cat; pair: none, now [1, 2]); "
        "leave out --resume to replace them, or give another --out"
    )
    assert finished(tmp_path, SETTINGS | {"words": "dog"}, planned) == {"a"}


def test_journals_are_hidden(tmp_path: Path) -> None:
    assert _keep(tmp_path, _done(tmp_path, "a.jpg")).parent == tmp_path / JOURNAL_FOLDER
    assert JOURNAL_FOLDER.startswith(".")
