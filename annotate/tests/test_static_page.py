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


def written(tmp_path: Path, runtime: Path | None = None) -> dict[str, bytes]:
    out = tmp_path / "out"
    out.mkdir()
    static_page.write_page_files(out, runtime)
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("place", ["", "dist"])
def test_the_runtime_is_taken_from_the_npm_package_and_packed(tmp_path: Path, web: Path, place: str):
    package = tmp_path / "onnxruntime-web"
    (package / place).mkdir(parents=True)
    (package / place / "ort.wasm").write_bytes(WASM)
    files = written(tmp_path, package)
    assert set(files) == {"index.html", "ort.wasm.gz"}
    assert gzip.decompress(files["ort.wasm.gz"]) == WASM


def test_the_runtime_is_taken_from_beside_the_front_end(tmp_path: Path, web: Path):
    (web / "ort.wasm.gz").write_bytes(gzip.compress(WASM))
    assert gzip.decompress(written(tmp_path)["ort.wasm.gz"]) == WASM


def test_a_missing_runtime_is_named_with_what_to_do(tmp_path: Path, web: Path):
    with pytest.raises(UsageError, match=r"ort\.wasm.*is missing; run 'make web', or 'npm install onnxruntime-web@1"):
        written(tmp_path)
    with pytest.raises(UsageError, match=r"is missing; give the folder of npm's onnxruntime-web 1\.2\.3"):
        static_page.write_page_files(tmp_path, tmp_path / "nowhere")


def test_the_runtime_of_another_version_is_refused(tmp_path: Path, web: Path):
    (tmp_path / "ort.wasm").write_bytes(b"another")
    with pytest.raises(UsageError, match=r"not the file of onnxruntime-web 1\.2\.3"):
        static_page.write_page_files(tmp_path, tmp_path)
