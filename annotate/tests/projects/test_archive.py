"""A project as one zip, and zips that would harm."""

import stat
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from annotate.tests.projects.drawn_projects import drawn_project, drawn_work
from segvoc.errors import UsageError
from segvoc_annotate.projects.archive import archived, open_project
from segvoc_annotate.projects.project import Project


def saved(project: Project, path: Path) -> Path:
    path.write_bytes(b"".join(archived(project)))
    return path


def test_a_zip_becomes_the_same_project(tmp_path: Path) -> None:
    project = drawn_project(tmp_path / "street", "a.png", "sub/b.png", "gone.png")
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
    assert other.folder == tmp_path / "other"
    assert other.recover() == []
    assert (other.states(), other.record, other.removed()) == (project.states(), project.record, ["gone.png"])
    assert other.restore("gone.png").pixels == {"2": 3072}
    with pytest.raises(UsageError, match="already exists; open it"):
        open_project(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("images/../../evil.png", b"x", "points outside"),
        ("images\\..\\..\\evil.png", b"x", "points outside"),
        ("images/a.png", b"x", "twice"),
        ("images/zeros.png", bytes(60_000_000), "more than images and label maps can"),
        ("images/link.png", None, "a link or a device"),
        ("project.json", b'{"format": "segvoc project", "name": "x", "images": "/etc"}', "twice"),
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


def test_other_zips_are_refused(tmp_path: Path) -> None:
    path = saved(drawn_project(tmp_path / "street", "a.png"), tmp_path / "cut.zip")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UsageError, match=r"has no project\.json"):
        open_project(path)
    with zipfile.ZipFile(tmp_path / "elsewhere.zip", "w") as archive:
        archive.writestr("project.json", '{"format": "segvoc project", "name": "x", "images": "/etc"}')
    with pytest.raises(UsageError, match="references images outside"):
        open_project(tmp_path / "elsewhere.zip")
    assert not (tmp_path / "elsewhere").exists()
