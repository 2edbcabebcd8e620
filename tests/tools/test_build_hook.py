"""A wheel that would lack a file isn't built."""

import re
import subprocess
from pathlib import Path

import pytest
from hatchling.bridge.app import Application

from tools.build_hook import MADE, PACKAGE, CompletePackage

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with all that is made, and two files of its own."""
    package = tmp_path / PACKAGE
    own = ("vocabulary.py", "data/classes/voc20.json")
    for name in (*own, *(name for names in MADE.values() for name in names)):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(b"")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", *(package / name for name in own)], check=True)
    return tmp_path


def built(clone: Path, version: str = "standard") -> None:
    hook = CompletePackage(str(clone), {}, None, None, str(clone), "wheel", Application())
    hook.initialize(version, {})


def test_a_complete_clone_is_built(clone: Path) -> None:
    built(clone)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("weights/tiny.safetensors", "run 'make tiny'$"),
        ("weights/clicks.onnx", "run 'make clicks'$"),
        ("vocabulary.py", "run 'git restore src/segvoc/vocabulary.py'$"),
        ("data/classes/voc20.json", "run 'git restore src/segvoc/data/classes/voc20.json'$"),
    ],
)
def test_a_missing_file_ends_the_build_in_one_line(
    clone: Path, capfd: pytest.CaptureFixture[str], name: str, fix: str
) -> None:
    (clone / PACKAGE / name).unlink()
    with pytest.raises(SystemExit):
        built(clone)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: the wheel would lack a file: {PACKAGE}/{name} is missing: ")
    assert re.search(fix, line)
    built(clone, "editable")
