"""`segvoc page`: a static page around a model."""

import gzip
import json
from pathlib import Path

import pytest

from segvoc.inference.exported.segmenter import copy_tiny
from segvoc_annotate import static_page
from tests.cli.command import Command


@pytest.fixture(autouse=True)
def no_files_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of one file."""
    monkeypatch.setattr(static_page, "write_page_files", lambda folder: (folder / "index.html").touch())


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_tiny_has_its_weights_once(segvoc_command: Command) -> None:
    for _ in range(2):  # an earlier page is replaced
        assert segvoc_command("page", "tiny", "site").out == "-> site\n"
    assert written(Path("site")) == {"index.html", "model", "clicks"}
    assert json.loads(Path("site/model/segvoc.json").read_text())["name"] == "tiny"
    assert written(Path("site/clicks")) == {"clicks.json", "clicks.onnx", "clicks_image.onnx"}
    assert json.loads(Path("site/clicks/clicks.json").read_text())["weights"] == {
        "tiny.safetensors": "../model/tiny.safetensors"
    }


def test_an_exported_folder_becomes_a_page(segvoc_command: Command) -> None:
    Path("exported").mkdir()
    copy_tiny(Path("exported"))
    Path("exported/tiny.safetensors").write_bytes(gzip.compress(b"other weights"))
    assert segvoc_command("page", "exported", "site").code == 0
    assert written(Path("site/model")) == written(Path("exported"))
    assert json.loads(Path("site/clicks/clicks.json").read_text())["weights"] == {
        "tiny.safetensors": "tiny.safetensors"
    }
    segvoc_command("page", "exported", "other", "--weights", "x").refused("with fixed weights; leave out")
    assert not Path("other").exists()


def test_other_folders_are_left_alone(segvoc_command: Command) -> None:
    Path("photos").mkdir()
    Path("photos/a.txt").write_text("a")
    segvoc_command("page", "tiny", "photos").refused("'photos' exists and is not a page; name another folder")
    segvoc_command("page", "no-such-model", "site").refused("no-such-model")
    assert written(Path(".")) == {"photos"}
