"""The files of the page: in a static page, in the wheel, which isn't built without them, made of code; served."""

import gzip
import hashlib
import json
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urljoin

import pytest
from hatchling.bridge.app import Application

from annotate.build_hook import FILES, PAGE, RUNTIME, CompletePage, problems
from annotate.build_hook import WASM as WASM_FILE
from annotate.tests.services import in_process
from annotate.tools.make_web_data import files
from segvoc import __version__
from segvoc.errors import UsageError
from segvoc_annotate import static_page
from tests.serving.services import failure

ANNOTATE = Path(__file__).resolve().parents[1]
WASM = b"\0asm" + bytes(1000)


def described(file: str, content: bytes) -> dict[str, str]:
    return {"package": "onnxruntime-web 1.2.3", "file": file, "sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "index.html").write_text("<p>")
    (folder / "runtime.json").write_text(json.dumps(described("ort.wasm", WASM)))
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
    assert set(files) == {"index.html", "ort.wasm.gz"} and gzip.decompress(files["ort.wasm.gz"]) == WASM


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "can't be read"), (b"cut", "can't be read"), (b"another", r"not the file of onnxruntime-web 1\.2\.3")],
)
def test_a_damaged_installation_is_named(tmp_path: Path, web: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (web / "ort.wasm.gz").write_bytes(gzip.compress(content) if content == b"another" else content)
    with pytest.raises(UsageError, match=rf"{said}.*; install segvoc-annotate again"):
        written(tmp_path)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    page = tmp_path / PAGE
    page.mkdir(parents=True)
    for name in FILES:
        (page / name).touch()
    (page / WASM_FILE).write_bytes(gzip.compress(b"wasm"))
    (page / RUNTIME).write_text(json.dumps(described(Path(WASM_FILE).stem, b"wasm")))
    return tmp_path


def built(clone: Path) -> None:
    hook = CompletePage(str(clone), {}, None, None, str(clone), "wheel", Application())  # type: ignore[arg-type]
    hook.initialize("standard", {})


@pytest.mark.parametrize("name", [WASM_FILE, "app.js"])
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
    (clone / PAGE / WASM_FILE).write_bytes(content)
    (line,) = problems(clone)
    assert what in line and line.endswith("run 'make web'")


def test_all_files_are_listed_and_both_distributions_have_one_version() -> None:
    command = ["git", "-C", str(ANNOTATE), "ls-files", PAGE]
    tracked = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {f"{PAGE}/{name}" for name in FILES} == set(tracked)
    ours = tomllib.loads((ANNOTATE / "pyproject.toml").read_text("utf-8"))["project"]
    segvoc = tomllib.loads((ANNOTATE.parent / "pyproject.toml").read_text("utf-8"))
    assert ours["version"] == __version__ and ours["dependencies"] == ["segvoc[serve,data]"]
    assert segvoc["project"]["optional-dependencies"]["annotate"] == [ours["name"]]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_the_file_is_what_the_code_gives(path):
    made = files()[path]
    assert path.read_text(encoding="utf-8") == made, "run: PYTHONPATH=src python annotate/tools/make_web_data.py"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>segvoc</title>")
    (folder / "app.js").write_text("export {};")
    (folder / ".hidden").write_text("hidden")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def test_files_of_the_page(page):
    with in_process(page=page) as client:
        assert "<title>segvoc</title>" in client.get("/").text
        script = client.get("/app.js")
        assert "javascript" in script.headers["content-type"] and script.headers["cache-control"] == "no-cache"
        assert client.get("/app.js", headers={"If-None-Match": script.headers["etag"]}).status_code == 304
        assert client.head("/").status_code == 200
        answer = client.post("/")
        assert (answer.status_code, failure(answer)) == (405, "method_not_allowed")


def test_no_other_file_is_reached(page):
    paths = (
        "/secret.txt /../secret.txt /%2e%2e/secret.txt /..%2fsecret.txt /....//secret.txt /.hidden /%00 //etc/passwd "
        "/\\..\\secret.txt /model/segvoc.json /{}".format("x" * 5000).split()
    )
    with in_process(page=page) as client:
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 404, path
            failure(answer)


def test_browsers_get_tiny_where_the_page_can_run_it(page):
    (page / "ort-wasm-simd-threaded.wasm.gz").write_bytes(b"")
    with in_process(page=page) as client:
        assert client.get("/backends.json").json()["browser"] == {"model": "model/", "clicks": "clicks/"}
        manifest = client.get("/model/segvoc.json").json()
        assert manifest["name"] == "tiny"
        assert {
            "edge_weights.onnx",
            "edges.onnx",
            manifest["words"][0]["program"],
            manifest["text"]["tokenizer"],
        } < set(manifest["files"])
        for name, about in manifest["files"].items():
            assert int(client.head(f"/model/{name}").headers["content-length"]) == about["bytes"]
        assert client.get("/model/tiny.json").status_code == 404
        assert client.get("/model/..%2f__init__.py").status_code == 404


def test_a_page_gets_the_files_of_models_and_clicks_without_a_key(page):
    (page / "ort-wasm-simd-threaded.wasm.gz").write_bytes(b"")
    with in_process(page=page, api_key="k" * 20) as client:
        assert client.get("/v1/models").status_code == 401 and client.get("/model/segvoc.json").status_code == 200
        found = client.get("/clicks/clicks.json")
        assert found.status_code == 200
        for name in (found.json()["image"], found.json()["program"], *found.json()["weights"].values()):
            assert client.get(urljoin("/clicks/", name)).status_code == 200
