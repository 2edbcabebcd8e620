"""How the addresses of a project answer: who may ask, parameters that several of them take, and errors."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import unquote

from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from segvoc import OutputError
from segvoc.serving.admission import requires
from segvoc.serving.answers import ServiceFailure
from segvoc.serving.app import Service
from segvoc.serving.bodies import json_request
from segvoc.serving.middleware import failure_response
from segvoc.storage.files import strict_json
from segvoc.storage.records import to_json
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.record_changes import SOMEONE
from segvoc_annotate.projects.records import (
    ConflictError,
    DamagedProjectError,
    ImageDoneError,
    ImageState,
    NotInProjectError,
)
from segvoc_annotate.service.taught_model import TaughtModel
from segvoc_annotate.settings import MAX_EDITED_PIXELS, AnnotateSettings

PROJECT_HEADER = "X-Segvoc-Project"
"""Header with the id of the project: of the one that answers, and of the one that the caller means."""

DECODED_AT_ONCE = 2
"""Max concurrent image decodes per project; each takes a few hundred megabytes."""

ZIP = "application/zip"

REVALIDATED = {"Cache-Control": "private, no-cache"}
"""Browsers cache images but revalidate on each use."""

BINARY = {"type": "string", "format": "binary"}
"""The schema of a file."""

_Endpoint = Callable[..., Awaitable[Response]]


async def _user_of(request: Request, user: Annotated[str, Header(alias="X-Segvoc-User")] = "") -> str:
    """The name of the request's API key; without keys, the one that the caller gives, percent-encoded, on one line."""
    if request.state.key is not None:
        return request.state.key.name
    name = " ".join(unquote(user).split())
    return "".join(character for character in name if character.isprintable())[:64].strip() or SOMEONE


User = Annotated[str, Depends(_user_of)]
"""Who makes a change."""

_REVISION = r'^\s*(W/)?"?[0-9]{1,15}"?\s*$'


async def _expected_revision(revision: Annotated[str, Header(alias="If-Match", pattern=_REVISION)]) -> int:
    """The revision that the change is based on."""
    return int(re.sub(r"[^0-9]", "", revision))


Expected = Annotated[int, Depends(_expected_revision)]
"""The revision that a change is based on."""

ChangeId = Annotated[str | None, Query(alias="change", min_length=1, max_length=64)]
"""The caller's id of a change, which isn't made twice."""


class JsonBody(BaseModel):
    """A body in JSON."""

    model_config = ConfigDict(extra="forbid")
    most_bytes: ClassVar[int] = 1000
    most_values: ClassVar[int] = 10


_Body = TypeVar("_Body", bound=JsonBody)


class _AnyName(PathConvertor):
    """Any text in a path, also with line breaks."""

    regex = r"[\s\S]*"


register_url_convertor("any", _AnyName())


class ProjectAddresses:
    """A project at `/v1/project`, and what its routes share; `UsageError` as `Project`."""

    def __init__(self, app: FastAPI, service: Service, limits: AnnotateSettings, folder: Path) -> None:
        self.service, self.settings, self.limits = service, service.settings, limits
        self.project = Project(folder)
        self.taught = TaughtModel(self.project, service)
        self.max_pixels = MAX_EDITED_PIXELS
        self.waiting: list[str] = []
        """The names of those whose requests wait for changes, which take none of the slots of requests."""
        self.decoding = asyncio.Semaphore(DECODED_AT_ONCE)
        self._router, self._route_class = app.router, _route_class(self.project)

    def route(
        self,
        method: str,
        path: str = "",
        *,
        role: str,
        answer: Any = None,
        file: str | None = None,
        body: type[JsonBody] | tuple[str, Mapping[str, Any]] | None = None,
        takes_slot: bool = True,
    ) -> Callable[[_Endpoint], _Endpoint]:
        """Add a route.

        Args:
            method: HTTP's.
            path: below `/v1/project`.
            role: what a key needs.
            answer: the model of the answer, unless that is a file.
            file: the media type of that file.
            body: the model of a body in JSON, or the media type and schema of another one.
            takes_slot: whether it takes one of the slots of open requests.
        """
        extra = {}
        if body is not None:
            kind, schema = body if isinstance(body, tuple) else ("application/json", _schema_of(body))
            extra = {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}
        checks = [Depends(requires(role)), Depends(self._check_project)]
        if takes_slot:
            checks.append(Depends(self._slot, scope="function"))

        def add(endpoint: _Endpoint) -> _Endpoint:
            self._router.add_api_route(
                f"/v1/project{path}",
                endpoint,
                methods=[method],
                response_class=JSONResponse if file is None else Response,
                responses={200: {"model": answer} if file is None else {"content": {file: {"schema": BINARY}}}},
                dependencies=checks,
                openapi_extra=extra,
                route_class_override=self._route_class,
            )
            return endpoint

        return add

    async def json(self, request: Request, model: type[_Body]) -> _Body:
        """Read a body in JSON, within its limits."""
        return await json_request(request, model, self.settings, limit=model.most_bytes, values=model.most_values)

    async def _check_project(self, meant: Annotated[str | None, Header(alias=PROJECT_HEADER)] = None) -> None:
        """Refuse callers who mean another project, and say which one answers."""
        record = self.project.record
        if meant not in (None, record.id):
            message = f"the project {record.name!r} answers here, and the request is meant for another one"
            details = {"project": strict_json({"id": record.id, "name": record.name})}
            raise ServiceFailure("another_project", message, status=409, details=details)

    async def _slot(self) -> AsyncIterator[None]:
        with self.service.request_slot(labels=False):
            yield


def _schema_of(body: type[JsonBody]) -> dict[str, Any]:
    """The schema of a body; those that it names are also those of answers."""
    schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return schema


def _route_class(project: Project) -> type[APIRoute]:
    """The class of routes of a project, whose answers and errors have its id."""

    class ProjectRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def answered(request: Request) -> Response:
                try:
                    response = await answer(request)
                except Exception as error:
                    # in a thread: the words of a conflict take a while
                    if (failure := await asyncio.to_thread(failure_of, error)) is None:
                        raise
                    response = failure_response(failure)
                response.headers[PROJECT_HEADER] = project.id
                return response

            return answered

        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["method"] not in (self.methods or ()):
                same = (one for one in scope["app"].routes if isinstance(one, APIRoute) and one.path == self.path)
                allowed = sorted({method for one in same for method in one.methods or ()})
                raise HTTPException(405, headers={"Allow": ", ".join(allowed)})
            await super().handle(scope, receive, send)

    return ProjectRoute


def failure_of(error: Exception) -> ServiceFailure | None:
    """The failure to show to the client; None for internal errors."""
    if isinstance(error, RequestValidationError):
        problem = error.errors()[0]
        name = problem["loc"][-1]
        said = f"{name} is missing" if problem["type"] == "missing" else f"{name}: {problem['msg']}"
        return ServiceFailure("invalid_request", f"{said}; see /openapi.json")
    if isinstance(error, ConflictError):
        code, status = ("done", 409) if isinstance(error, ImageDoneError) else ("conflict", 412)
        headers, details = etag(error.current.revision), {"current": strict_json(to_json(error.current))}
        return ServiceFailure(code, str(error), status=status, headers=headers, details=details)
    if isinstance(error, NotInProjectError):
        return ServiceFailure("not_found", str(error))
    if isinstance(error, DamagedProjectError):
        return ServiceFailure("damaged", str(error), status=500)
    if isinstance(error, OutputError):
        return ServiceFailure("storage", str(error), status=507)
    return ServiceFailure.of(error)


def json_answer(content: object, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in ASCII, since states that other programs wrote may have lone surrogates."""
    return Response(strict_json(content), media_type="application/json", headers=headers)


def state_answer(state: ImageState) -> Response:
    """An image's state."""
    return json_answer(to_json(state), etag(state.revision))


def etag(revision: int) -> dict[str, str]:
    """The header with a revision."""
    return {"ETag": f'"{revision}"'}
