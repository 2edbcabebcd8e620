"""The files of a page, with a stand-in for the WebAssembly file."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from segvoc.errors import UsageError
from segvoc_annotate import static_page

WASM = b"\0asm" + bytes(1000)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "index.html").write_text("<p>")
    description = {"package": "onnxruntime-web 1.2.3", "file": "ort.wasm", "sha256": hashlib.sha256(WASM).hexdigest()}
    (folder / "runtime.json").write_text(json.dumps(description))
    monkeypatch.setattr(static_page, "WEB", folder)
    return folder


def written(tmp_path: Path) -> dict[str, bytes]:
    out = tmp_path / "out"
    out.mkdir()
    static_page.write_page_files(out)
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_the_files_are_there_but_for_the_digest(tmp_path: Path, web: Path) -> None:
    (web / "ort.wasm.gz").write_bytes(gzip.compress(WASM))
    files = written(tmp_path)
    assert set(files) == {"index.html", "ort.wasm.gz"}
    assert gzip.decompress(files["ort.wasm.gz"]) == WASM


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "can't be read"), (b"cut", "can't be read"), (b"another", r"not the file of onnxruntime-web 1\.2\.3")],
)
def test_a_damaged_installation_is_named(tmp_path: Path, web: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (web / "ort.wasm.gz").write_bytes(gzip.compress(content) if content == b"another" else content)
    with pytest.raises(UsageError, match=rf"{said}.*; install segvoc-annotate again"):
        written(tmp_path)
