"""The web page of the service: its files and its capabilities."""

import json
from pathlib import Path

from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from segvoc.inference.clicks import PROGRAM
from segvoc.inference.edges import EDGE_WEIGHTS, EDGES, IMAGE_PROGRAM
from segvoc.inference.exported.manifest import MANIFEST, ExportManifest
from segvoc.models.shipped import TINY_MANIFEST
from segvoc.serving.answers import ServiceFailure
from segvoc.storage.files import SHIPPED
from segvoc_annotate.static_page import CLICKS_FILE, CLICKS_FOLDER, MODEL_FOLDER, TINY_WEIGHTS, click_description

_RUNTIME = "*.wasm*"
"""ONNX Runtime for browsers; if present, the page runs models itself."""

_ALLOW = {"Allow": "GET, HEAD, OPTIONS"}
_NO_CACHE = {"Cache-Control": "no-cache"}
"""Browsers revalidate files on each use."""


class ServedPage:
    """Serves the page, and `tiny` for browsers that can run it, at all paths outside the API, without a key.

    Nothing is served without an index.html in the page's folder.
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
            self._models |= {f"/{CLICKS_FOLDER}/{name}": SHIPPED / name for name in (IMAGE_PROGRAM, PROGRAM)}

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
    """The page's files."""

    def file_response(self, *arguments: object, **options: object) -> Response:
        response = super().file_response(*arguments, **options)  # pyright: ignore[reportArgumentType]
        response.headers.update(_NO_CACHE)
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Serve the file at a path, except hidden files."""
        if any(part.startswith(".") and part != "." for part in Path(path).parts):
            raise ServiceFailure.of_status(404)
        return await super().get_response(path, scope)


def _tiny_files() -> dict[str, Path]:
    """The files of `tiny` for browsers, by name in its folder."""
    manifest = ExportManifest.read(SHIPPED / TINY_MANIFEST)
    assert manifest.text is not None
    names = [*manifest.program_files, manifest.text.tokenizer, EDGE_WEIGHTS, EDGES]
    weights = (path.name for path in SHIPPED.glob("*.safetensors"))
    return {name: SHIPPED / name for name in (*names, *weights)}
