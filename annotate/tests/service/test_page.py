"""The web page: which files there are, and what it is told."""

from pathlib import Path
from urllib.parse import urljoin

import pytest

from annotate.tests.services import in_process
from tests.serving.services import failure


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
        assert "javascript" in script.headers["content-type"]
        assert script.headers["cache-control"] == "no-cache"
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
        assert {"edges.onnx", manifest["words"][0]["program"], manifest["text"]["tokenizer"]} < set(manifest["files"])
        for name, about in manifest["files"].items():
            assert int(client.head(f"/model/{name}").headers["content-length"]) == about["bytes"]
        assert client.get("/model/tiny.json").status_code == 404
        assert client.get("/model/..%2f__init__.py").status_code == 404


def test_a_page_gets_the_files_of_models_and_clicks_without_a_key(page):
    (page / "ort-wasm-simd-threaded.wasm.gz").write_bytes(b"")
    with in_process(page=page, api_key="k" * 20) as client:
        assert client.get("/v1/models").status_code == 401
        assert client.get("/model/segvoc.json").status_code == 200
        found = client.get("/clicks/clicks.json")
        assert found.status_code == 200
        for name in (found.json()["image"], found.json()["program"], *found.json()["weights"].values()):
            assert client.get(urljoin("/clicks/", name)).status_code == 200
