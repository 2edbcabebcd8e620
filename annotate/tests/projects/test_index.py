"""The index of a project: lost, damaged, on bad disks; and what is found without it."""

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.projects.drawn_projects import drawn_labels, drawn_project, drawn_work
from annotate.tests.projects.test_project import states_of
from segvoc.errors import UsageError
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.importing import Importing
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import NotInProjectError
from tests.serving.services import drawn_image, png


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """One image is accepted, one was removed, one isn't labeled."""
    with drawn_project(tmp_path / "street", "a.png", "sub/b.png", "c.png", "gone.png") as project:
        for name in ("a.png", "sub/b.png", "gone.png"):
            project.write(name, drawn_work(0, 1), expected=0, by="anna")
        project.set_done("a.png", True, expected=1)
        project.review("a.png", "accepted", "fine", expected=2, by="ben")
        project.remove("gone.png")
        return project.folder


@pytest.mark.parametrize("damage", ["missing", "no index", "cut", "a page"])
def test_it_is_rebuilt_from_the_other_files(street: Path, damage: str) -> None:
    before, index = states_of(street), street / "index.sqlite"
    content = index.read_bytes()
    index.unlink()
    if damage != "missing":
        page = 4096
        index.write_bytes(
            {
                "no index": b"x" * 5000,
                "cut": content[: 3 * page],
                "a page": content[:page] + b"\7" * page + content[2 * page :],
            }[damage]
        )
    assert states_of(street) == before  # also for who only reads it
    with Project(street) as project:
        (notice,) = project.recover()
        assert "index.sqlite' was " in notice and "rebuilt from the other files, but for the history" in notice
        assert (states_of(street), project.removed()) == (before, ["gone.png"])
        assert project.restore("gone.png").pixels == {"0": 1536, "1": 1536}
        assert project.recover() == []
        kept = list((street / ".segvoc").glob("damaged-*-index.sqlite"))
        assert len(kept) == (damage != "missing")
    assert states_of(street)["a.png"].review == before["a.png"].review


def test_a_disk_without_locks_is_named(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoLocks(sqlite3.Connection):
        def executescript(self, sql: str, /) -> sqlite3.Cursor:
            error = sqlite3.OperationalError("locking protocol")
            error.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
            raise error

    plain = sqlite3.connect
    with monkeypatch.context() as patched:
        patched.setattr("sqlite3.connect", lambda *args, **options: plain(*args, **options, factory=NoLocks))
        with pytest.raises(UsageError, match=r"can't be locked .*move the project to a local disk"):
            Project(street)
    with monkeypatch.context() as patched:

        def no_flock(*_: object) -> None:
            raise NotImplementedError("FileSystem does not appear to support flock")

        patched.setattr("segvoc_annotate.projects.writer.lock_folder", no_flock)
        with pytest.raises(UsageError, match="has no locks; move the project to a local disk"):
            Project(street)
    Project(street).close()


def test_saves_read_no_folders(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Project(street) as project:
        assert project.recover() == []

        def no_scan(*_: object, **__: object) -> None:
            raise AssertionError("a folder was listed")

        with monkeypatch.context() as patched:
            for name in ("walk", "scandir", "listdir"):
                patched.setattr(os, name, no_scan)
            assert project.write("c.png", drawn_work(2), expected=0).revision == 1
            assert project.set_done("c.png", True, expected=1).done
            project.update(expected=1, name="road")
            assert project.add("d.png", png(drawn_image(8))).revision == 0
            assert [change.what for change in project.index.changes(project.index.seq - 4)] == [
                *("labels", "done", "words", "added")
            ]
        assert len(project.listing()[0]) == 4


@pytest.mark.parametrize(
    ("size", "said"),
    [((48, 64), "'a.png' was replaced by another picture"), ((20, 30), "'a.png' has 30 x 20 pixels, its labels have")],
)
def test_another_picture_in_the_place_of_an_image_is_noticed(street: Path, size: tuple[int, int], said: str) -> None:
    with Project(street) as project:
        before, path = states_of(street), project.images_folder / "a.png"
        former, other = path.read_bytes(), png(drawn_image(77, size))
        os.utime(path)  # it is the same
        assert project.recover() == [] and states_of(street) == before
        path.write_bytes(other)
        (problem,) = project.recover()
        assert said in problem
        with pytest.raises(UsageError, match="put the former image back"):
            project.set_done("a.png", False, expected=before["a.png"].revision)
        path.write_bytes(former)
        assert project.recover() == [] and states_of(street) == before
        (project.images_folder / "c.png").write_bytes(other)  # it has no labels
        assert project.recover() == [] and states_of(street)["c.png"].id != before["c.png"].id
        assert states_of(street)["c.png"].width == size[1]
        project.remove("a.png")
        assert project.add("a.png", png(drawn_image(1, (20, 30)))).revision == 0 and project.recover() == []


def test_removed_images_outside_are_told_apart(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(drawn_image()).save(photos / "a.jpg")
    project = Project.create(tmp_path / "street", words=["cat", "sofa"], images=photos)
    project.write("a.jpg", drawn_work(0), expected=0)
    project.remove("a.jpg")
    (photos / "a.png").write_bytes(png(drawn_image()))
    project.write("a.png", drawn_work(1), expected=0)
    project.remove("a.png")
    assert project.removed() == ["a.jpg", "a.png"] and not project.images()
    assert project.restore("a.jpg").pixels == {"0": 3072}
    with pytest.raises(UsageError, match=r"'a\.png' would share its label map with 'a\.jpg'"):
        project.restore("a.png")
    project.remove("a.jpg")
    assert project.restore("a.png").pixels == {"1": 3072}
    assert sorted(path.name for path in photos.iterdir()) == ["a.jpg", "a.png"]
    assert list(project.images()) == ["a.png"]
    (photos / "a.bmp").write_bytes((photos / "a.png").read_bytes())
    os.utime(photos, (1e9, 1e9))  # nothing was added since
    assert "'a.bmp' would share its label map with 'a.png'" in project.states()[1][0]
    project.remove("a.png")
    assert list(project.images()) == ["a.bmp"]
    project.remove("a.bmp")
    assert project.restore("a.png").pixels == {"1": 3072}
    (photos / "a.bmp").unlink()
    check = ProjectFolder(project.folder)
    assert (list(check.images()), check.removed()) == (["a.png"], ["a.bmp", "a.jpg"])


def test_names_that_disks_or_zips_cannot_have_are_problems_of_their_own(street: Path) -> None:
    images = street / "images"
    long = f"{'l' * 251}.png"
    for name in (long, f"{'n' * 250}.webp", "a\\b.png", " c.png", "d\n.png", os.fsdecode(b"e\xff.png")):
        (images / name).write_bytes(png(drawn_image(1)))
    with Project(street) as project:
        states, problems = project.states()
        assert {state.image for state in states} >= {"a.png", "c.png", "sub/b.png", long, f"{'n' * 250}.webp"}
        assert len(states) == 5 and len(problems) == 4 and all("\n" not in problem for problem in problems)
        assert project.write(long, drawn_work(1), expected=0).revision == 1
        assert project.states() == (project.states()[0], problems)
        for name in (f"{'m' * 252}.im", f"{'é' * 126}.im"):
            with pytest.raises(UsageError, match=r"too long|no image suffix"):
                project.add(name, png())
        for odd in ("\0", "\ud800.png", "d\n.png", "../a.png"):
            with pytest.raises(NotInProjectError):
                project.image(odd)


def test_parts_stay_when_another_program_changes_the_labels(street: Path) -> None:
    with Project(street) as project:
        work = replace(drawn_work(0, 1), parts=png(np.ones((48, 64), np.uint16)))
        project.write("c.png", work, expected=0)
        Image.fromarray(drawn_labels(1, 0).astype(np.uint8)).save(street / "labels/c.png")
        project.recover()
        Importing(project=project).edited()
        adopted = project.work("c.png")[1]
        assert adopted.parts == work.parts and (adopted.labels == drawn_labels(1, 0)).all()


def test_new_labels_take_an_acceptance_back(street: Path) -> None:
    with Project(street) as project:
        accepted = project.state(project.image("a.png"))
        labels = street / "labels/a.png"
        assert project.set_done("a.png", True, expected=3) == accepted  # it is
        Image.fromarray(drawn_labels(1, 0).astype(np.uint8)).save(labels)
        project.recover()
        Importing(project=project, by="another program").edited()
        state = project.state(project.image("a.png"))
        assert (state.done, state.review, state.by) == (True, None, "another program")
        assert project.index.changes(project.index.seq - 1)[0].what == "no longer accepted"
