"""Projects as datasets and as one zip, datasets and zips as projects; and zips that would harm."""

import io
import json
import os
import shutil
import stat
import zipfile
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.projects.drawn_projects import damaged, drawn_labels, drawn_project, drawn_work
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.opening import read_dataset
from segvoc.labeling.formats.table import writers
from segvoc_annotate.projects.archive import archived, open_project
from segvoc_annotate.projects.exporting import ProjectExport
from segvoc_annotate.projects.importing import Importing
from segvoc_annotate.projects.project import Project
from tests.serving.services import drawn_image, png


@pytest.fixture
def street(tmp_path: Path) -> Project:
    """Two of three images are done; the second word was removed."""
    project = drawn_project(tmp_path / "street", "sub/a.png", "b.png", "c.png")
    for name in project.images():
        project.write(name, drawn_work(0, 1, 2), expected=0)
    for name in ("sub/a.png", "b.png"):
        project.set_done(name, True, expected=1)
    cat, sofa, wall = project.record.words
    project.update(expected=1, words=(wall, replace(sofa, removed=True), cat))
    return project


def test_a_project_is_a_dataset_of_what_is_done(street: Project) -> None:
    for path in (street.folder, street.folder / "project.json"):
        dataset = read_dataset(path)
        assert dataset.vocabulary.words == ("wall", "cat")
        assert [image.stem for image in dataset.images] == ["b", "sub/a"]
        expected = drawn_labels(1, UNLABELED, 0)
        assert (dataset.read(0).labels == expected).all()
    for name in ("b.png", "sub/a.png"):
        street.set_done(name, False, expected=2)
    with pytest.raises(UsageError, match="is done; mark images as done"):
        read_dataset(street.folder)


FAST_FORMATS = ("voc", "labelme", "coco-panoptic", "cvat")
"""Formats with JPEGs, polygons, objects and names in files; tests/labeling/formats has all of them."""


@pytest.mark.parametrize(
    "name", [name if name in FAST_FORMATS else pytest.param(name, marks=pytest.mark.slow) for name in writers()]
)
def test_what_is_exported_can_be_imported(street: Project, tmp_path: Path, name: str) -> None:
    export = ProjectExport(project=street, format=name)
    assert export.to_folder(str(tmp_path / "out")) == []
    steps: list[tuple[int, int]] = []
    assert export.to_zip(tmp_path / "out.zip", lambda *step: steps.append(step)) == []
    assert steps == [(number, len(export.states)) for number in range(1, len(export.states) + 1)]
    found = []
    for source in ("out", "out.zip"):
        project = Project.create(tmp_path / f"from {source}", words=["door"])
        for _ in range(2):  # the second time changes nothing
            result = Importing(project=project, done=True).path(tmp_path / source, name)
            names = sorted(result.added)
            suffix = ".jpg" if name == "voc" else ".png"
            assert (names, result.problems) == ([f"b{suffix}", f"sub/a{suffix}"], [])
        words = {word.name: word.id for word in project.record.present}
        assert words["door"] == 0 and {"wall", "cat"} <= set(words)
        states = project.states()[0]
        assert all(state.done and state.source == "import" and state.revision == 2 for state in states)
        found.append([(state.image, state.pixels) for state in states])
        if name != "labelme":  # whose polygons are a little smoother
            assert found[-1][0][1] == {str(words["cat"]): 1024, str(words["wall"]): 1024}
    assert found[0] == found[1]


def test_what_is_outside_all_shapes_is_a_word_and_the_project_s_background(street: Project, tmp_path: Path) -> None:
    ProjectExport(project=street, format="coco-instances").to_folder(str(tmp_path / "coco"))
    file = tmp_path / "coco/annotations/instances_default.json"
    content = json.loads(file.read_text())
    (wall,) = (one["id"] for one in content["categories"] if one["name"] == "wall")
    content["annotations"] = [one for one in content["annotations"] if one["category_id"] != wall]
    file.write_text(json.dumps(content))
    (remark, *_) = Importing(project=Project.create(tmp_path / "plain")).path(tmp_path / "coco").remarks[::-1]
    assert remark.startswith("67% of the pixels are outside of all shapes") and "--background NAME" in remark
    with Project.create(tmp_path / "named") as named:
        result = Importing(project=named).path(tmp_path / "coco", background="the rest")
        assert not any("outside" in line for line in result.remarks)
        ids = {word.name: str(word.id) for word in named.record.present}
        assert named.record.options.background == "the rest"
        assert all(state.pixels == {ids["cat"]: 1024, ids["the rest"]: 2048} for state in named.states()[0])


def test_folders_of_images_and_labels(street: Project, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(json.dumps(["cat", "sky"]))
    for number in range(3):
        Image.fromarray(np.full((48, 64, 3), 40 * number, np.uint8)).save(street.folder / f"../{number}.png")
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / f"{number}.png").rename(tmp_path / f"images/{number}.png")
    (tmp_path / "labels").mkdir()
    Image.fromarray(np.ones((48, 64), np.uint8)).save(tmp_path / "labels/0.png")
    Image.fromarray(np.ones((48, 60), np.uint8)).save(tmp_path / "labels/1.png")
    dataset = LabeledImages.from_folders(tmp_path / "images", tmp_path / "labels", tmp_path / "classes.json")
    result = Importing(project=street).dataset(dataset)
    assert result.added == ["0.png", "2.png"]
    assert len(result.problems) == 1 and "export both at the same size" in result.problems[0]
    assert street.state(street.image("0.png")).pixels == {"3": 3072}
    assert street.state(street.image("2.png")).revision == 0
    street.write("2.png", drawn_work(0), expected=0)
    Image.fromarray(np.ones((48, 64), np.uint8)).save(tmp_path / "labels/2.png")
    assert "'2.png' has other labels already" in "".join(Importing(project=street).dataset(dataset).problems)
    plain = Importing(project=Project.create(tmp_path / "plain"))
    (tmp_path / "images" / os.fsdecode(b"\xff.png")).write_bytes(png())
    result = plain.images(str(tmp_path / "images"))
    assert result.added == ["0.png", "1.png", "2.png"]
    assert len(result.problems) == 1 and "characters that can't be shown" in result.problems[0]


def saved(project: Project, path: Path) -> Path:
    path.write_bytes(b"".join(archived(project)))
    return path


def test_a_zip_becomes_the_same_project(tmp_path: Path) -> None:
    project = drawn_project(tmp_path / "theirs/street", "a.png", "sub/b.png", "gone.png")
    project.write("a.png", drawn_work(0, 1), expected=0)
    project.write("gone.png", drawn_work(2), expected=0)
    project.set_done("a.png", True, expected=1)
    project.remove("gone.png")
    path = saved(project, tmp_path / "other.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert all(not name.split("/")[-1].startswith(".") for name in archive.namelist())
        kinds = {entry.filename: entry.compress_type for entry in archive.infolist()}
        assert (kinds["images/a.png"], kinds["project.json"]) == (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    other = open_project(path)
    assert other.folder == tmp_path / "other" and other.recover() == []
    assert (other.states(), other.record, other.removed()) == (project.states(), project.record, ["gone.png"])
    assert other.restore("gone.png").pixels == {"2": 3072}
    with pytest.raises(UsageError, match="already exists; open it"):
        open_project(path)


def test_a_copy_has_an_id_of_its_own_and_what_moved_keeps_its_id(tmp_path: Path) -> None:
    with drawn_project(tmp_path / "street", "a.png") as project:
        first = project.record.id
        with open_project(saved(project, tmp_path / "zipped.zip")) as beside:
            assert beside.record.id != first
        assert open_project(saved(project, tmp_path / "elsewhere.zip").rename(tmp_path / "street/z.zip")).id == first
    copied = shutil.copytree(project.folder, tmp_path / "copied")
    with Project(copied) as copy:
        second = copy.record.id
        assert second != first and f"is a copy of '{project.folder}'" in copy.recover()[0]
    for place, known in ((copied.rename(tmp_path / "moved"), second), (project.folder, first)):
        with Project(place) as opened:
            assert (opened.record.id, opened.recover()) == (known, [])
    (tmp_path / "link").symlink_to(project.folder)
    assert Project(tmp_path / "link").record.id == first


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("images/../../evil.png", b"x", "points outside"),
        ("images\\..\\..\\evil.png", b"x", "points outside"),
        ("images/a.png", b"x", "twice"),
        ("images/zeros.png", bytes(60_000_000), "more than images and label maps can"),
        ("images/link.png", None, "a link or a device"),
        ("project.json", b'{"format": "segvoc project", "id": "x", "name": "x", "images": "/etc"}', "twice"),
    ],
)
def test_zips_that_would_harm_are_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    path = saved(drawn_project(tmp_path / "street", "a.png"), tmp_path / "evil.zip")
    with pytest.warns(UserWarning) if "twice" in said else nullcontext(), zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo(name)
        entry.compress_type = zipfile.ZIP_DEFLATED
        if content is None:
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, content or b"/etc/passwd")
    with pytest.raises(UsageError, match=said):
        open_project(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["evil.zip", "street"]


def test_paths_in_the_files_of_a_zip_lead_nowhere(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    for name in ("diary.png", "diary.json"):
        (private / name).write_text("secret")
    path = saved(drawn_project(tmp_path / "street", "a.png"), tmp_path / "shared.zip")
    listed = ["../../private/diary.png", "../../../private/diary.png", str(private / "diary.png"), "a.png"]
    state = {"image": "../../../private/diary.png", "width": 64, "height": 48, "unlabeled": 0, "revision": 1}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("trash/removed.json", json.dumps({"images": listed}))
        archive.writestr("trash/7/labels/x.png", png(drawn_image()))
        archive.writestr("trash/99999999999999999999/images/x.png", png(drawn_image()))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as work:
            work.writestr("state.json", json.dumps(state))
        archive.writestr("trash/7/work/x.zip", buffer.getvalue())
    before = {path: path.read_bytes() for path in private.iterdir()}
    with open_project(path) as project:
        project.recover()
        for name in project.removed():
            with suppress(UsageError):
                project.restore(name)
        for name in listed:
            with suppress(UsageError):
                project.remove(name)
        assert not any("diary" in name for name in [*project.images(), *project.removed()])
    assert {path: path.read_bytes() for path in private.iterdir()} == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["private", "shared", "shared.zip", "street"]


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        *(("history.jsonl", field, "\ud800") for field in ("by", "at", "image", "change")),
        *((name, "revision", value) for name in ("history.jsonl", "project.json", "a") for value in (10**15, -1)),
        *(("a", name, value) for name, value in (("corrected", -1), ("pixels", {"0": -5}), ("unlabeled", 10**9))),
    ],
)
def test_values_that_an_index_cannot_hold_are_damage(tmp_path: Path, name: str, field: str, value: object) -> None:
    with drawn_project(tmp_path / "theirs/street", "a.png", "b.png") as street:
        street.write("a.png", drawn_work(0), expected=0)
        with zipfile.ZipFile(saved(street, tmp_path / "old.zip")) as archive:
            files = {entry: archive.read(entry) for entry in archive.namelist()}
    if name == "a":
        work = io.BytesIO(files["work/a.zip"])
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(work, "a") as packed:
            packed.writestr("state.json", json.dumps(json.loads(packed.read("state.json")) | {field: value}))
        files["work/a.zip"] = work.getvalue()
    else:
        first, *rest = files[name].decode().splitlines() if name == "history.jsonl" else [files[name].decode()]
        files[name] = "\n".join([json.dumps(json.loads(first) | {field: value}), *rest]).encode()
    with zipfile.ZipFile(tmp_path / "shared.zip", "w") as archive:
        for entry, content in files.items():
            archive.writestr(entry, content)
    if name == "project.json":
        with pytest.raises(UsageError, match=r"project\.json' is damaged: the revision .* is out of range"):
            open_project(tmp_path / "shared.zip")
        return
    with open_project(tmp_path / "shared.zip") as project:
        problems = project.recover()
        assert [problem.split("work/")[-1][:20] for problem in problems] == (["a.zip' is damaged: t"] * (name == "a"))
        assert project.write("b.png", drawn_work(1), expected=0).revision == 1
        assert project.add_words(["tree"]).revision == 2


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_zips_are_named(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", kind) as archive:
        archive.writestr("images/a.png", png(drawn_image()) * 20)
    whole = (tmp_path / "set.zip").read_bytes()
    for content in (damaged(whole, b"a.png", 60), whole[:-20]):
        (tmp_path / "set.zip").write_bytes(content)
        with pytest.raises(UsageError, match=r"can't be unpacked as a zip: .*save it again") as error:
            Importing(project=Project.create(tmp_path / "street")).path(tmp_path / "set.zip")
        assert "\n" not in str(error.value)
        shutil.rmtree(tmp_path / "street")


def test_names_in_a_zip_are_utf_8(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("images/é.png", png(drawn_image()))
    content = (tmp_path / "set.zip").read_bytes().replace("é".encode(), b"\xff\xfe")
    (tmp_path / "set.zip").write_bytes(content)
    project = Project.create(tmp_path / "street")
    for read in (open_project, Importing(project=project).path):
        with pytest.raises(UsageError, match=r"can't be unpacked as a zip: byte 8 is no UTF-8 text"):
            read(tmp_path / "set.zip")


def test_parts_come_with_another_project(tmp_path: Path) -> None:
    with drawn_project(tmp_path / "street", "a.png") as source:
        work = replace(drawn_work(0, 1), parts=png(np.ones((48, 64), np.uint16)))
        source.write("a.png", work, expected=0)
    with Project.create(tmp_path / "other", words=["wall", "sofa"]) as project:
        assert Importing(project=project).path(source.folder).problems == []
        assert project.work("a.png")[1].parts == work.parts


def test_long_names_are_exported_one_by_one(tmp_path: Path) -> None:
    long = f"{'l' * 251}.png"
    with drawn_project(tmp_path / "street", "a.png", long) as project:
        for name in ("a.png", long):
            project.write(name, drawn_work(0, 1), expected=0)
        for format_ in writers():
            export = ProjectExport(project=project, format=format_, only_done=False)
            (problem,) = export.to_folder(str(tmp_path / format_))
            assert "File name too long" in problem
            (same,) = export.to_zip(tmp_path / f"{format_}.zip")
            assert "File name too long" in same
            with zipfile.ZipFile(tmp_path / f"{format_}.zip") as archive:
                names = archive.namelist()
                assert "File name too long" in archive.read("problems.txt").decode()
            assert any(name.split("/")[-1].startswith("a.") for name in names)
            assert not any(name.split("/")[-1].startswith("l" * 250) for name in names)


def test_a_zip_of_a_project_whose_images_are_outside_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "elsewhere.zip", "w") as archive:
        archive.writestr("project.json", '{"format": "segvoc project", "id": "x", "name": "x", "images": "/etc"}')
    with pytest.raises(UsageError, match="references images outside"):
        open_project(tmp_path / "elsewhere.zip")
    assert not (tmp_path / "elsewhere").exists()
