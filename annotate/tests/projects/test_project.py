"""A project as people and programs change it: revisions, words, trash, history; kills, two people, bad disks."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from annotate.tests.projects.drawn_projects import drawn_project, drawn_work, forget_place
from segvoc import read_dataset
from segvoc.errors import InputError, OutputError, UsageError
from segvoc.imaging.label_maps import read_label_map
from segvoc.imaging.palette import class_colors
from segvoc.imaging.reading import read_image
from segvoc_annotate.projects import records
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.images import shown_image
from segvoc_annotate.projects.importing import Importing
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import ConflictError, ImageState, NotInProjectError
from segvoc_annotate.projects.work_files import read_work
from tests.hardening.faults import Fault, faults, killed_copies, writes_of
from tests.serving.services import drawn_image, png


def states_of(folder: Path) -> dict[str, ImageState]:
    return {state.image: state for state in ProjectFolder(folder).states()[0]}


def check_whole(folder: Path) -> None:
    """All files of each image and the index say the same, and the history knows of it."""
    project = ProjectFolder(folder)
    told = {(change.image, change.revision) for change in project.index.changes(0)}
    for state in project.states()[0]:
        files = project.files(project.image(state.image))
        if not files.work.exists():
            assert not files.labels.exists() and not state.revision
            continue
        written, work = read_work(files.work)
        assert written == state
        assert (read_label_map(files.labels) == work.labels).all()
        assert files.objects.exists() == (work.objects is not None)
        assert (state.image, state.revision) in told
    assert not list(folder.glob("trash/*/work/*")) or project.removed()
    stems = {path.stem for path in folder.glob("work/[!.]*")}
    assert stems <= {path.stem for path in (folder / "images").glob("*")}


def test_it_is_plain_files(tmp_path: Path) -> None:
    project = drawn_project(tmp_path / "street", "a.png", "sub/b.jpg")
    state = project.write("a.png", drawn_work(0, 1), expected=0, by="ben")
    assert (state.revision, state.by, state.source) == (1, "ben", "person")
    assert (state.pixels, state.unlabeled, state.corrected) == ({"0": 1536, "1": 1536}, 0, 1536)
    assert (state.uncertainty, state.objects) == (0.2, {"0": 1, "1": 1})
    with Image.open(tmp_path / "street/labels/a.png") as labels:
        assert labels.mode == "P"
        assert labels.getpalette()[:6] == class_colors(2).ravel().tolist()  # type: ignore[index]
    with Image.open(tmp_path / "street/objects/a.png") as objects:
        assert objects.mode == "I;16"
    content = json.loads((tmp_path / "street/project.json").read_text())
    assert (content["format"], content["version"], content["images"]) == ("segvoc project", 1, "images")
    word = {"id": 1, "name": "sofa", "color": class_colors(2)[1].tolist(), "removed": False, "merged_into": None}
    assert content["words"][1] == word
    told = [(one.seq, one.what, one.image) for one in project.index.changes(0)]
    assert told == [(1, "added", "a.png"), (2, "added", "sub/b.jpg"), (3, "labels", "a.png")]
    assert project.write("a.png", replace(drawn_work(2), objects=None), expected=1).objects is None
    check_whole(tmp_path / "street")


def test_ids_of_words_stay(tmp_path: Path) -> None:
    project = drawn_project(tmp_path / "street")
    cat, sofa, wall = project.record.words
    renamed, gone = replace(sofa, name="couch"), replace(wall, removed=True)
    project.update(expected=1, words=(renamed, gone, cat), options=records.ProjectOptions(threshold=0.2), name="road")
    record = project.add_words(["sofa", "wall", "couch"], by="ben")
    assert [(word.id, word.name) for word in record.present] == [(1, "couch"), (2, "wall"), (0, "cat"), (3, "sofa")]
    assert (record.name, record.options.threshold, record.revision) == ("road", 0.2, 3)
    assert record.words[-1].color == tuple(class_colors(4)[3].tolist())
    with pytest.raises(UsageError, match="the word 'cat' is missing"):
        project.update(expected=3, words=record.words[:2])
    for words, said in (
        ((*record.words, replace(cat, name="dog")), "same id"),
        ((*record.words, replace(cat, id=9)), "'cat' is given twice"),
        ((*record.words, replace(cat, id=32_766, name="x")), "out of range"),
        ((*record.words, replace(cat, id=9, name=" x")), "white space"),
    ):
        with pytest.raises(UsageError, match=said):
            project.update(expected=3, words=words)
    with pytest.raises(ConflictError):
        project.update(expected=2, name="late")
    assert Project(tmp_path / "street").record == record


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.jpg", "'a.jpg' would share its label map with 'a.png'"),
        ("../x.png", "points outside"),
        (".x.png", "is hidden"),
        ("x", "no image suffix"),
        ("x\n.png", "not a file name"),
    ],
)
def test_names_that_cannot_be_used(tmp_path: Path, name: str, said: str) -> None:
    project = drawn_project(tmp_path / "street", "a.png")
    with pytest.raises(UsageError, match=said):
        project.add(name, png())
    assert list(Project(tmp_path / "street").images()) == ["a.png"]


@pytest.mark.parametrize("name", ["Rue de\u00a0Rivoli", "Family \U0001f468\u200d\U0001f469\u200d\U0001f467"])
def test_a_project_may_have_any_name_on_one_line(tmp_path: Path, name: str) -> None:
    with Project.create(tmp_path / name, words=["cat"]) as project:
        assert project.record.name == name
    for bad in ("two\nlines", "two\u2028lines", "\x1b[2J", "\ud800", "x" * 201):
        with pytest.raises(UsageError, match="is not one line"):
            replace(project.record, name=bad)


def test_images_that_cannot_be_read_are_problems_of_their_own(tmp_path: Path) -> None:
    project = drawn_project(tmp_path / "street", "b.png")
    images = project.images_folder
    (images / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    shutil.copy(images / "b.png", images / "b.jpg")
    states, problems = project.states()
    assert [state.image for state in states] == ["b.png"]  # it was there first
    assert len(problems) == 2 and "a.png" in problems[0] and "'b.jpg' would share" in problems[1]
    project.write("b.png", drawn_work(0), expected=0)
    (images / "B.bmp").write_bytes((images / "b.png").read_bytes())
    assert "b.png" in Project(tmp_path / "street").images()
    for name in ("a.png", "b.png"):
        (images / name).unlink()
    project.close()
    (tmp_path / "street/index.sqlite").unlink()
    with Project(tmp_path / "street") as project:  # B.bmp comes first, but the labels are those of b.png
        shutil.copy(images / "b.jpg", images / "b.png")
        assert (list(project.images()), project.state(project.image("b.png")).revision) == (["b.png"], 1)
    project = Project(tmp_path / "street")
    with pytest.raises(InputError, match=r"'c\.png' is not an image"):
        project.add("c.png", b"no image at all")


def test_images_elsewhere_stay_there(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(2):
        (tmp_path / f"photos/{number}.png").write_bytes(png(drawn_image(number)))
    project = Project.create(tmp_path / "street", words=["cat"], images=tmp_path / "photos")
    assert not (tmp_path / "street/images").exists()
    project.write("0.png", drawn_work(0), expected=0)
    project.remove("0.png")
    assert (list(project.images()), project.removed()) == (["1.png"], ["0.png"])
    assert (tmp_path / "photos/0.png").exists() and not (tmp_path / "street/labels/0.png").exists()
    with pytest.raises(records.NotInProjectError):
        project.write("0.png", drawn_work(0), expected=1)
    assert project.restore("0.png").revision == 1
    content = png(drawn_image(2))
    assert project.add("sub/2.png", content).revision == 0  # it is copied there
    assert (tmp_path / "photos/sub/2.png").read_bytes() == content
    project.remove("sub/2.png")
    assert list(project.images()) == ["0.png", "1.png"]
    assert project.add("sub/2.png", content).image == "sub/2.png"  # the same image: it is back
    assert (project.removed(), project.has("sub/2.png", content)) == ([], True)
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="does not exist; restore it"):
        project.add("3.png", content)
    assert "does not exist; restore it" in project.states()[1][0]


def test_what_is_removed_comes_back_with_everything(tmp_path: Path) -> None:
    project = drawn_project(tmp_path / "street", "a.png")
    content = (project.images_folder / "a.png").read_bytes()
    state = project.write("a.png", drawn_work(0, 1), expected=0)
    project.remove("a.png", by="ben")
    assert (project.removed(), states_of(tmp_path / "street")) == (["a.png"], {})
    assert project.add("a.png", png(drawn_image(7))).revision == 0  # another image of that name
    project.remove("a.png")
    assert project.restore("a.png").revision == 0  # the last one
    project.remove("a.png")
    assert project.add("a.png", content) == state  # the same image: its labels are back
    check_whole(tmp_path / "street")
    with pytest.raises(records.NotInProjectError, match="the trash has no image"):
        project.restore("b.png")
    with pytest.raises(UsageError, match="rename it first"):
        project.restore("a.png")
    project.remove("a.png")
    (project.images_folder / "a.jpg").write_bytes(content)
    with pytest.raises(UsageError, match="rename it first"):
        project.restore("a.png")


def test_label_maps_that_other_programs_change_are_told_and_taken_over_when_asked(tmp_path: Path) -> None:
    folder = tmp_path / "street"
    with drawn_project(folder, "a.png", "b.png", "c.png") as project:
        for name in ("a.png", "c.png"):
            project.write(name, drawn_work(0, 1), expected=0)
    os.utime(folder / "labels/c.png")  # copied, not changed
    with Image.open(folder / "labels/a.png") as image:
        image.convert("L").point(lambda _: 2).save(folder / "labels/a.png")
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(folder / "labels/b.png")
    for has_index in (True, False):
        if not has_index:
            (folder / "index.sqlite").unlink()
        with Project(folder) as project:
            told = [line for line in project.recover() if "another program" in line]
            assert ["'a.png'" in told[0], "'b.png'" in told[1], len(told)] == [True, True, 2]
            assert project.state(project.image("a.png")).pixels == {"0": 1536, "1": 1536}, "nothing is taken unasked"
    with Project(folder) as project:
        imported = Importing(project=project, by="ben").edited()
        assert imported.added == ["a.png"] and "value 7, the id of no word" in imported.problems[0]
        state = project.state(project.image("a.png"))
        assert (state.revision, state.by, state.pixels) == (2, "ben", {"2": 3072})
        assert (project.work("a.png")[1].corrections == 4).all()
        assert ["'b.png'" in line for line in project.recover()] == [True]
        # who goes on without it finds it set aside
        project.write("b.png", drawn_work(1), expected=0)
        assert project.recover() == [] and (folder / ".segvoc/edited/b.png").is_file()


ACTIONS: dict[str, Callable[[Project], object]] = {
    "write": lambda project: project.write("a.png", drawn_work(1, 2), expected=1),
    "done": lambda project: project.set_done("a.png", True, expected=1),
    "accept": lambda project: project.review("done.png", "accepted", "", expected=2, change="yes"),
    "add": lambda project: project.add("new.png", png(drawn_image(9)), change="new"),
    "remove": lambda project: project.remove("a.png"),
    "restore": lambda project: project.restore("gone.png"),
    "words": lambda project: project.update(expected=1, name="road"),
}
"""What is done to a project, and repeated if there was no answer; the errors of a repetition say that it was done."""


def timeless(folder: Path) -> dict[str, ImageState]:
    def timeless_review(state: ImageState) -> ImageState:
        return replace(state, at=None, review=state.review and replace(state.review, at=""))

    return {name: timeless_review(state) for name, state in states_of(folder).items()}


@pytest.mark.parametrize(
    "action",
    [
        name if name in ("write", "accept", "add", "remove", "restore") else pytest.param(name, marks=pytest.mark.slow)
        for name in ACTIONS
    ],
)
def test_a_kill_at_any_write_loses_nothing_and_leaves_nothing_half(tmp_path: Path, action: str) -> None:
    original, ended = tmp_path / "original", tmp_path / "ended"
    project = drawn_project(original, "a.png", "done.png", "gone.png")
    for name in ("a.png", "done.png", "gone.png"):
        project.write(name, drawn_work(0, 1), expected=0)
    project.set_done("done.png", True, expected=1)
    project.remove("gone.png")
    forget_place(project)
    done = Project(shutil.copytree(original, ended))
    ACTIONS[action](done)
    before, after = timeless(original), timeless(ended)
    for folder in killed_copies(lambda folder: ACTIONS[action](Project(folder)), original, tmp_path):
        with Project(folder) as left:
            assert left.recover() == []
            check_whole(folder)
            assert timeless(folder) in (before, after), folder.name
            with suppress(ConflictError, NotInProjectError):
                ACTIONS[action](Project(folder))
            check_whole(folder)
            assert (timeless(folder), left.name, left.removed()) == (after, done.name, done.removed())
            assert [one.image for one in left.index.history() if one.what == "added"].count("new.png") == (
                "new.png" in after
            )


def _work_until_killed(folder: Path, seed: int, acknowledged: BinaryIO) -> None:
    """Change a project at random; a line for each change that was made."""
    drawn = np.random.default_rng(seed)
    with Project(folder) as project:
        project.recover()
        while True:
            states, removed = project.states()[0], project.removed()
            state = states[drawn.integers(len(states))]
            match drawn.integers(6):
                case 0 if len(states) > 2:
                    project.remove(state.image)
                case 1 if removed:
                    project.restore(removed[0])
                case 2 if state.revision:
                    project.set_done(state.image, not state.done, expected=state.revision)
                case _ if not state.done:
                    project.write(state.image, drawn_work(*drawn.permutation(3).tolist()), expected=state.revision)
                case _:
                    continue
            told = {one.image: (one.revision, one.done) for one in project.states()[0]}
            acknowledged.write(f"{json.dumps(told)}\n".encode())
            acknowledged.flush()


def test_nothing_acknowledged_is_lost_by_kills_of_the_process(tmp_path: Path) -> None:
    folder, names = tmp_path / "street", {f"{number}.png" for number in range(4)}
    drawn_project(folder, *sorted(names)).close()
    for seed in range(6):
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                _work_until_killed(folder, seed, os.fdopen(writing, "wb"))
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as lines:
            told = [json.loads(lines.readline()) for _ in range(np.random.default_rng(seed).integers(1, 6))]
            os.kill(pid, signal.SIGKILL)
            assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
            told += [json.loads(line) for line in lines.read().split(b"\n")[:-1]]
        with Project(folder) as left:
            assert left.recover() == []
            check_whole(folder)
            found = {state.image: state.revision for state in left.states()[0]}
            assert {*found, *left.removed()} == names
            # at most one change was made after the last that was acknowledged
            assert all(found.get(name, revision) - revision in (0, 1) for name, (revision, _) in told[-1].items())


@pytest.mark.parametrize("kind", ["ENOSPC", pytest.param("EROFS", marks=pytest.mark.slow)])
def test_a_disk_that_fails_at_any_write_leaves_what_was_there(tmp_path: Path, kind: str) -> None:
    original = tmp_path / "original"
    with drawn_project(original, "a.png") as project:
        project.write("a.png", drawn_work(0, 1), expected=0)
        forget_place(project)
    counted = shutil.copytree(original, tmp_path / "counted")
    for moment in range(1, writes_of(lambda: ACTIONS["write"](Project(counted)), counted) + 1):
        folder, error = shutil.copytree(original, tmp_path / str(moment)), None
        with faults(Fault(kind=kind, moment=moment, lasts=True, below=str(folder))):
            try:
                ACTIONS["write"](Project(folder))
            except OutputError as raised:
                error = raised
        assert Project(folder).recover() == []
        check_whole(folder)
        assert "can't be written" in str(error) if error else states_of(folder)["a.png"].revision == 2


def test_two_people_lose_no_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, count = tmp_path / "street", 10
    project = drawn_project(folder, "a.png")
    project.write("a.png", drawn_work(0), expected=0)
    monkeypatch.setattr("os.fsync", lambda _: None)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda row: _write_often(Project(folder), row, count), (0, 1)))
    state = states_of(folder)["a.png"]
    assert (state.revision, state.pixels["1"]) == (1 + 2 * count, 2 * count)
    assert [change.seq for change in project.index.changes(0)] == list(range(1, 2 * count + 3))
    check_whole(folder)


def test_a_second_process_is_told_who_has_the_project(tmp_path: Path) -> None:
    project = drawn_project(tmp_path / "street", "a.png")
    command = [sys.executable, "-m", "segvoc", "annotate", str(project.folder), "--no-browser"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert f"is open in process {os.getpid()} on {socket.gethostname()} since 2" in refused.stderr
    assert states_of(project.folder).keys() == {"a.png"}  # who only reads it may


def _write_often(project: Project, half: int, count: int) -> None:
    """Give the word 1 to one more pixel of a half of the image, so many times."""
    for number in range(count):
        while True:
            state, work = project.work("a.png")
            labels = work.labels.copy()
            labels[24 * half + number // 64, number % 64] = 1
            try:
                project.write("a.png", replace(work, labels=labels), expected=state.revision)
                break
            except ConflictError:
                time.sleep(0.0005)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "street"
    project = drawn_project(folder, "a.png", "b.png")
    for name in ("a.png", "b.png"):
        project.write(name, drawn_work(0, 1), expected=0)
    content = (folder / "work/a.zip").read_bytes()
    (folder / "work/a.zip").write_bytes(content[: len(content) // 2])
    (problem,) = Project(folder).recover()
    assert "work/a.zip' is damaged" in problem
    with pytest.raises(records.DamagedProjectError, match=r"work/a\.zip"):
        project.write("a.png", drawn_work(1), expected=1)
    assert project.write("b.png", drawn_work(1), expected=1).revision == 2
    for text, said in (
        ("{", "project.json' is damaged: it is not JSON"),
        ('{"a": 1}', "is not a segvoc project"),
        ('{"format": "segvoc project", "version": 2}', "made by a newer segvoc"),
        ('{"format": "segvoc project", "version": 1}', "'id' is missing"),
    ):
        (folder / "project.json").write_text(text)
        with pytest.raises(UsageError, match=said):
            Project(folder)
    (folder / "project.json").write_text("{")
    with pytest.raises(UsageError, match=r"project\.json' is damaged: it is not JSON"):
        read_dataset(folder)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("name", "by", "is_own"),
    [("a.jpg", "exif", True), ("a.jpg", "xmp", False), ("a.webp", "exif", False), ("a.png", "xmp", False)],
)
def test_browsers_get_images_as_they_are_read(tmp_path: Path, name: str, by: str, is_own: bool) -> None:
    """Chromium turns JPEG files by EXIF, and no others; masks fit what is seen."""
    exif, text = Image.Exif(), PngInfo()
    exif[0x0112] = 6
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    options = {"exif": exif} if by == "exif" else {"pnginfo": text} if name == "a.png" else {"xmp": XMP}
    upright = Image.fromarray(drawn_image())
    upright.save(tmp_path / name, **options)
    project = Project.create(tmp_path / "street", words=["cat"])
    state = project.add(name, (tmp_path / name).read_bytes())
    assert (state.width, state.height) == upright.size[::-1]
    shown = shown_image(tmp_path / name)
    assert (shown is None) == is_own
    if shown is not None:
        assert (np.array(Image.open(io.BytesIO(shown))) == read_image(tmp_path / name)).all()
    upright.save(tmp_path / "plain.png")
    assert shown_image(tmp_path / "plain.png") is None


def test_done_images_are_accepted_or_sent_back(tmp_path: Path) -> None:
    project = drawn_project(tmp_path / "street", "a.png")
    project.write("a.png", drawn_work(0, 1), expected=0)
    with pytest.raises(UsageError, match="isn't done"):
        project.review("a.png", "accepted", "", expected=1)
    project.set_done("a.png", True, expected=1, by="anna")
    back = project.review("a.png", "sent back", " the leg \n", expected=2, by="ben")
    told = (back.done, back.review.verdict, back.review.comment, back.review.by)
    assert told == (False, "sent back", "the leg", "ben")
    assert project.write("a.png", drawn_work(0, 2), expected=3, by="anna").review == back.review
    assert project.set_done("a.png", True, expected=4, by="anna").review is None
    accepted = project.review("a.png", "accepted", "", expected=5, by="ben")
    assert (accepted.done, states_of(project.folder)) == (True, {"a.png": accepted})
    assert [change.what for change in project.index.changes(0)][-4:] == ["sent back", "labels", "done", "accepted"]
    check_whole(project.folder)


def test_an_image_that_the_page_would_be_slow_with_is_refused(tmp_path):
    content = io.BytesIO()
    Image.new("1", (10_001, 10_000)).save(content, "PNG")
    with Project.create(tmp_path / "project") as project:
        with pytest.raises(InputError, match=r"100 megapixels; the page edits at most 100\. Scale it down"):
            project.add("large.png", content.getvalue())
        assert not project.images()
