"""A wheel that would lack a file of the page isn't built, and both distributions have one version."""

import gzip
import hashlib
import json
import subprocess
import tomllib
from pathlib import Path

import pytest
from hatchling.bridge.app import Application

from annotate.build_hook import FILES, PAGE, RUNTIME, WASM, CompletePage, problems
from segvoc import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    page = tmp_path / PAGE
    page.mkdir(parents=True)
    for name in FILES:
        (page / name).touch()
    (page / WASM).write_bytes(gzip.compress(b"wasm"))
    described = {"package": "onnxruntime-web 1", "file": Path(WASM).stem, "sha256": hashlib.sha256(b"wasm").hexdigest()}
    (page / RUNTIME).write_text(json.dumps(described))
    return tmp_path


def built(clone: Path) -> None:
    hook = CompletePage(str(clone), {}, None, None, str(clone), "wheel", Application())  # type: ignore[arg-type]
    hook.initialize("standard", {})


@pytest.mark.parametrize("name", [WASM, "app.js"])
def test_a_missing_file_ends_the_build_in_one_line(clone: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    built(clone)
    (clone / PAGE / name).unlink()
    with pytest.raises(SystemExit):
        built(clone)
    (line,) = capfd.readouterr().err.splitlines()
    missing = f"{PAGE}/{name} is missing: run 'make web' (it needs npm)"
    assert line == f"error: the wheel would lack a file: {missing}"


@pytest.mark.parametrize(
    ("content", "what"),
    [(gzip.compress(b"old"), "is not the file"), (b"cut", "can't be read")],
    ids=["another", "damaged"],  # not the content, which has the time in it: xdist's processes wouldn't agree
)
def test_another_webassembly_file_ends_it_too(clone: Path, content: bytes, what: str) -> None:
    (clone / PAGE / WASM).write_bytes(content)
    (line,) = problems(clone)
    assert what in line and line.endswith("run 'make web'")


def test_all_files_of_the_page_are_listed() -> None:
    command = ["git", "-C", str(ROOT), "ls-files", PAGE]
    tracked = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {f"{PAGE}/{name}" for name in FILES} == set(tracked)


def test_both_distributions_have_one_version_and_this_one_needs_the_other_alone() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    segvoc = tomllib.loads((ROOT.parent / "pyproject.toml").read_text("utf-8"))
    assert ours["version"] == __version__
    assert ours["dependencies"] == ["segvoc[serve,data]"]
    assert segvoc["project"]["optional-dependencies"]["annotate"] == [ours["name"]]
