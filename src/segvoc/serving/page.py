"""The web page: its files, and what it may use."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from segvoc.exported.click_files import DESCRIPTION, IMAGE, PROGRAM, TINY_WEIGHTS, click_description
from segvoc.exported.manifest import MANIFEST, ExportManifest
from segvoc.exported.shipped import SHIPPED, TINY_MANIFEST
from segvoc.serving.failures import ServiceFailure

_RUNTIME = "*.wasm*"
"""ONNX Runtime for browsers, which a page has beside it where it can run models itself."""


_ALLOW = {"Allow": "GET, HEAD, OPTIONS"}


class _PageFiles(StaticFiles):
    """The page's files; browsers ask each time whether they changed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] in ("GET", "HEAD"):
            await super().__call__(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_ALLOW)(scope, receive, send)
        else:
            raise ServiceFailure.of_status(405, _ALLOW)

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file at a path; hidden files aren't there."""
        if any(part.startswith(".") and part != "." for part in Path(path).parts):
            raise ServiceFailure.of_status(404)
        return await super().get_response(path, scope)


def add_page(app: FastAPI, folder: Path, *, has_project: bool = False) -> None:
    """Add the page to the application, and `tiny` for browsers that can run it; nothing where there is no page.

    Args:
        app: the application, which has all other routes.
        folder: the page's folder.
        has_project: whether the service has a project.
    """
    has_page = (folder / "index.html").is_file()
    runs_models = has_page and any(folder.glob(_RUNTIME))

    @app.get("/backends.json", include_in_schema=False)
    async def backends() -> Response:
        service = {"segment": "v1/segment", "models": "v1/models"}
        browser = {"model": "model/", "clicks": "clicks/"} if runs_models else None
        return JSONResponse({"service": service, "browser": browser, "project": has_project})

    if runs_models:
        files = _browser_files()

        @app.get("/model/{name}", include_in_schema=False)
        async def model_file(name: str) -> Response:
            if name not in files:
                raise ServiceFailure.of_status(404)
            return FileResponse(files[name], headers={"Cache-Control": "no-cache"})

        @app.get(f"/clicks/{DESCRIPTION}", include_in_schema=False)
        async def click_files() -> Response:
            return JSONResponse(click_description(f"../model/{TINY_WEIGHTS}"))

        @app.get("/clicks/{name}", include_in_schema=False)
        async def click_program(name: str) -> Response:
            if name not in (IMAGE, PROGRAM):
                raise ServiceFailure.of_status(404)
            return FileResponse(SHIPPED / name, headers={"Cache-Control": "no-cache"})

    if has_page:
        # not mounted at "/", where it would take wrong methods of the API's addresses too
        app.router.default = _PageFiles(directory=folder, html=True)


def _browser_files() -> dict[str, Path]:
    """The files of `tiny` as an exported folder, by their names in it."""
    manifest = ExportManifest.read(SHIPPED / TINY_MANIFEST)
    assert manifest.text is not None
    names = [*manifest.program_files, manifest.text.tokenizer]
    weights = (path.name for path in SHIPPED.glob("*.safetensors"))
    return {MANIFEST: SHIPPED / TINY_MANIFEST} | {name: SHIPPED / name for name in (*names, *weights)}
