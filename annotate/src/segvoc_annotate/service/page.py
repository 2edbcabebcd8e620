"""The web page that the service shows: its files, and what it may use."""

import json
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from segvoc.clicks.clicked_image import IMAGE, PROGRAM
from segvoc.exported.manifest import MANIFEST, ExportManifest
from segvoc.exported.shipped import SHIPPED, TINY_MANIFEST
from segvoc.inference.edges import EDGES
from segvoc.serving.failures import ServiceFailure
from segvoc_annotate.static_page import CLICKS_FILE, CLICKS_FOLDER, MODEL_FOLDER, TINY_WEIGHTS, click_description

_RUNTIME = "*.wasm*"
"""ONNX Runtime for browsers, which a page has beside it where it can run models itself."""

_ALLOW = {"Allow": "GET, HEAD, OPTIONS"}
_NO_CACHE = {"Cache-Control": "no-cache"}
"""Browsers ask each time whether files have changed."""


class ServedPage:
    """The page, and `tiny` for browsers that can run it. It takes what is no address of the API, and needs no key.

    Args:
        folder: the page's folder; without an index.html in it, there are no files.
        has_project: whether the service has a project.
    """

    def __init__(self, folder: Path, *, has_project: bool) -> None:
        has_page = (folder / "index.html").is_file()
        runs_models = has_page and any(folder.glob(_RUNTIME))
        self._files = _PageFiles(directory=folder, html=True) if has_page else None
        browser = {"model": f"{MODEL_FOLDER}/", "clicks": f"{CLICKS_FOLDER}/"} if runs_models else None
        service = {"segment": "v1/segment", "models": "v1/models"}
        self._described: dict[str, object] = {
            "/backends.json": {"service": service, "browser": browser, "project": has_project}
        }
        self._models: dict[str, Path] = {}
        if runs_models:
            self._described[f"/{CLICKS_FOLDER}/{CLICKS_FILE}"] = click_description(f"../{MODEL_FOLDER}/{TINY_WEIGHTS}")
            files = _tiny_files()
            self._models = {f"/{MODEL_FOLDER}/{name}": path for name, path in files.items()}
            sizes = {name: {"bytes": path.stat().st_size} for name, path in files.items()}
            about = json.loads((SHIPPED / TINY_MANIFEST).read_text(encoding="utf-8"))
            self._described[f"/{MODEL_FOLDER}/{MANIFEST}"] = about | {"files": sizes}
            self._models |= {f"/{CLICKS_FOLDER}/{name}": SHIPPED / name for name in (IMAGE, PROGRAM)}

    def add(self, app: FastAPI) -> None:
        """Let the page have what no route of the application takes."""
        # not mounted at "/", where it would take wrong methods of the API's addresses too
        app.router.default = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        path, answer = scope["path"], self._files
        if scope["method"] == "OPTIONS":
            answer = Response(status_code=204, headers=_ALLOW)
        elif scope["method"] not in ("GET", "HEAD"):
            raise ServiceFailure.of_status(405, _ALLOW)
        elif path in self._described:
            answer = JSONResponse(self._described[path])
        elif path in self._models:
            answer = FileResponse(self._models[path], headers=_NO_CACHE)
        if answer is None:
            raise ServiceFailure.of_status(404)
        await answer(scope, receive, send)


class _PageFiles(StaticFiles):
    """The page's own files."""

    def file_response(self, *arguments: object, **options: object) -> Response:
        response = super().file_response(*arguments, **options)  # pyright: ignore[reportArgumentType]
        response.headers.update(_NO_CACHE)
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file at a path; hidden files aren't there."""
        if any(part.startswith(".") and part != "." for part in Path(path).parts):
            raise ServiceFailure.of_status(404)
        return await super().get_response(path, scope)


def _tiny_files() -> dict[str, Path]:
    """The files that browsers run `tiny` with, by their names in its folder."""
    manifest = ExportManifest.read(SHIPPED / TINY_MANIFEST)
    assert manifest.text is not None
    names = [*manifest.program_files, manifest.text.tokenizer, EDGES]
    weights = (path.name for path in SHIPPED.glob("*.safetensors"))
    return {name: SHIPPED / name for name in (*names, *weights)}
