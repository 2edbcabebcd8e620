"""What makes a release: a wheel that lacks no file, its archives and its version."""

import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from hatchling.bridge.app import Application

from tools.build_hook import MADE, PACKAGE, CompletePackage
from tools.release import files


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with a version, its changes, and a package of a few files and what is made."""
    package = tmp_path / PACKAGE
    own = ("runtime/version.py", "vocabulary/names.py", "data/classes/voc20.json")
    for name in (*own, *(name for names in MADE.values() for name in names)):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    (tmp_path / files.VERSION).write_text('"""Version."""\n\n__version__ = "1.2.0"\n')
    (tmp_path / "annotate").mkdir()
    (tmp_path / "annotate/pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## [Unreleased]\n\n## [1.2.0] - 2026-12-01\n\n- New.\n")
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    return tmp_path


def test_a_tag_is_a_release_only_with_its_version_and_its_dated_section(clone: Path) -> None:
    assert list(files.release_problems("v1.2.0", clone)) == []
    (other,) = files.release_problems("v1.3.0", clone)
    assert "version.py says 1.2.0" in other
    annotate = clone / "annotate/pyproject.toml"
    annotate.write_text('[project]\nversion = "1.1.0"\n')
    (old,) = files.release_problems("v1.2.0", clone)
    assert "annotate/pyproject.toml has another version" in old
    annotate.write_text('[project]\nversion = "1.2.0"\n')
    changes = clone / "CHANGELOG.md"
    for section, problem in (
        ("## [1.2.0] - soon\n\n- New.\n", "has no date"),
        ("## [1.2.0] - 2026-12-01\n\n## [1.1.0] - 2026-11-01\n\n- Old.\n", "is empty"),
        ("## [1.1.0] - 2026-12-01\n\n- Old.\n", "has no section"),
    ):
        changes.write_text(f"# Changes\n\n## [Unreleased]\n\n{section}")
        (line,) = files.release_problems("v1.2.0", clone)
        assert problem in line


def test_a_wheel_has_what_git_tracks_and_what_is_made_and_nothing_else(clone: Path) -> None:
    wheel = clone / "segvoc-1.2.0-py3-none-any.whl"
    notices = [f"segvoc-1.2.0.dist-info/licenses/{name}" for name in files.NOTICES]

    def problems(names: set[str]) -> list[str]:
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in (*names, *notices):
                archive.writestr(name, "")
        return list(files.wheel_problems(wheel, clone))

    whole = {name.removeprefix("src/") for name in files.of_package(clone)}
    assert problems(whole) == []
    assert problems(whole - {"segvoc/weights/tiny.safetensors"} | {"segvoc/draft.py"}) == [
        f"{wheel.name} lacks src/segvoc/weights/tiny.safetensors",
        f"{wheel.name} has src/segvoc/draft.py, which git doesn't track",
    ]
    del notices[1]
    assert problems(whole) == [f"{wheel.name} lacks segvoc-1.2.0.dist-info/licenses/NOTICE"]


def built(clone: Path, version: str = "standard") -> None:
    hook = CompletePackage(str(clone), {}, None, None, str(clone), "wheel", Application())
    hook.initialize(version, {})


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("weights/tiny.safetensors", "run 'make tiny'$"),
        ("weights/clicks.onnx", "run 'make clicks'$"),
        ("vocabulary/names.py", "run 'git restore src/segvoc/vocabulary/names.py'$"),
        ("data/classes/voc20.json", "run 'git restore src/segvoc/data/classes/voc20.json'$"),
    ],
)
def test_a_missing_file_ends_the_build_in_one_line(clone, capfd, name, fix):
    built(clone)
    (clone / PACKAGE / name).unlink()
    with pytest.raises(SystemExit):
        built(clone)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: the wheel would lack a file: {PACKAGE}/{name} is missing: ")
    assert re.search(fix, line)
    built(clone, "editable")
