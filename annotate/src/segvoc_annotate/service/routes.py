"""The routes of a project, which only this process writes."""

import asyncio
import io
import re
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, Request
from jaxtyping import UInt8
from PIL import Image
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from segvoc import OutputError, SegvocError, TaughtWords, UsageError
from segvoc.serving.admission import requires
from segvoc.serving.answers import ServiceFailure
from segvoc.serving.app import Service, unless_gone
from segvoc.serving.bodies import json_request
from segvoc.serving.middleware import FIELDS, LOGGER
from segvoc.serving.settings import ROLES, TEXT_BYTES, ServiceSettings
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import scratch_folder, strict_json
from segvoc.storage.records import to_json
from segvoc_annotate.projects.agreement import Agreement, agreement, difference_map
from segvoc_annotate.projects.archive import archived
from segvoc_annotate.projects.images import shown_image, thumbnail
from segvoc_annotate.projects.importing import Imported, Importing
from segvoc_annotate.projects.index import stamp_of
from segvoc_annotate.projects.merging import follow_merges
from segvoc_annotate.projects.people import assign
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.pyramid import SCALED, tile
from segvoc_annotate.projects.records import (
    ConflictError,
    DamagedProjectError,
    ImageDoneError,
    ImageState,
    NotInProjectError,
    ProjectRecord,
)
from segvoc_annotate.service.bodies import (
    PROJECT_HEADER,
    change_of,
    expected_revision,
    sent_file,
    sent_form,
    user_of,
    whole_number,
)
from segvoc_annotate.service.exports import Exports, ExportState
from segvoc_annotate.service.improvement import Improvement, ImprovementState
from segvoc_annotate.service.improving import why_no_finetuning
from segvoc_annotate.service.openapi import FILES, described
from segvoc_annotate.service.schemas import (
    AddedAnswer,
    AssignedAnswer,
    AssignedJson,
    ChangesAnswer,
    DoneJson,
    ExportJson,
    ExportsAnswer,
    ImprovementJson,
    MergeJson,
    ProjectAnswer,
    ProjectJson,
    RemovedAnswer,
    ReviewJson,
)
from segvoc_annotate.settings import MAX_EDITED_PIXELS, AnnotateSettings

WATCHING_SECONDS = 25.0
"""Long-polling timeout for changes [s]."""

LOOK_SECONDS = 0.1
"""Polling interval for changes [s]."""

ZIP = "application/zip"

MOST_VALUES = 200_000
"""Max values of a project in JSON: seven a word, or one an image that is assigned."""

MOST_NAMES = 20_000_000
"""Max bytes of the names of images that are assigned."""

AT_ONCE = 2
"""Max concurrent image decodes per project; each takes a few hundred megabytes."""

_Answer = Callable[[Request], Awaitable[Response]]
_T = TypeVar("_T")
_P = ParamSpec("_P")


class ProjectRoutes:
    """The project's routes; `UsageError` if the folder isn't a project, or another process has it open."""

    def __init__(self, service: Service, settings: AnnotateSettings, folder: Path) -> None:
        self._service, self._limits, self.project = service, settings, Project(folder)
        self._max_pixels = MAX_EDITED_PIXELS
        self._taught = TaughtModel(self.project, service)
        self._improvement = Improvement(self.project, service.open_models[0], self._taught.follow_from_thread)
        self._exports = Exports(self.project)
        self._decoding, self._waiting = asyncio.Semaphore(AT_ONCE), 0
        self._merging: asyncio.Task[None] | None = None
        self._ending = threading.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run with the service.

        On startup, interrupted changes are finished, damaged files are logged, and the model loads the project's
        taught words.
        """
        for problem in await asyncio.to_thread(self.project.recover):
            LOGGER.warning("a file of the project can't be used", extra={FIELDS: {"problem": problem}})
        await self._taught.follow()
        self._merging = asyncio.create_task(self._follow_merges(None))
        yield
        self._ending.set()
        await self._merging
        await asyncio.to_thread(self._improvement.stop)
        await asyncio.to_thread(self._exports.stop)
        self.project.close()

    def add(self, router: APIRouter) -> None:
        """Add the routes: with the model of the answer unless that is a file, and the role that a key needs."""
        for method, path, answer, model, role, *body in (
            ("GET", "/v1/project", self._get, ProjectAnswer, "read"),
            ("PUT", "/v1/project", self._put, ProjectAnswer, "annotate", ProjectJson),
            ("POST", "/v1/project/merged", self._merge, ProjectAnswer, "annotate", MergeJson),
            ("GET", "/v1/project/changes", self._changes, ChangesAnswer, "read"),
            ("POST", "/v1/project/images", self._add_images, AddedAnswer, "annotate"),
            ("GET", "/v1/project/images/{name:path}", self._image, None, "read"),
            ("DELETE", "/v1/project/images/{name:path}", self._remove, RemovedAnswer, "administer"),
            ("POST", "/v1/project/restored/{name:path}", self._restore, ImageState, "annotate"),
            ("DELETE", "/v1/project/removed", self._empty_trash, RemovedAnswer, "administer"),
            ("GET", "/v1/project/thumbnails/{name:path}", self._thumbnail, None, "read"),
            ("GET", "/v1/project/tiles/{name:path}", self._tile, None, "read"),
            ("GET", "/v1/project/work/{name:path}", self._work, None, "read"),
            ("PUT", "/v1/project/work/{name:path}", self._put_work, ImageState, "annotate"),
            ("PUT", "/v1/project/done/{name:path}", self._put_done, ImageState, "annotate", DoneJson),
            ("PUT", "/v1/project/review/{name:path}", self._put_review, ImageState, "annotate", ReviewJson),
            ("POST", "/v1/project/assigned", self._assign, AssignedAnswer, "administer", AssignedJson),
            ("GET", "/v1/project/agreement", self._agreement, Agreement, "read"),
            ("GET", "/v1/project/differences/{name:path}", self._differences, None, "read"),
            ("GET", "/v1/project/archive", self._archive, None, "read"),
            ("GET", "/v1/project/exports", self._export_states, ExportsAnswer, "read"),
            ("POST", "/v1/project/exports", self._export, ExportState, "read", ExportJson),
            ("GET", "/v1/project/exports/{id}", self._export_state, ExportState, "read"),
            ("DELETE", "/v1/project/exports/{id}", self._remove_export, ExportState, "read"),
            ("GET", "/v1/project/exports/{id}/file", self._export_file, None, "read"),
            ("POST", "/v1/project/import", self._import, AddedAnswer, "administer"),
            ("GET", "/v1/project/improvement", self._improvement_state, ImprovementState, "read"),
            ("POST", "/v1/project/improvement", self._improve, ImprovementState, "administer", ImprovementJson),
            ("DELETE", "/v1/project/improvement", self._cancel_improvement, ImprovementState, "administer"),
        ):
            kind, content = FILES.get(f"{method} {path}"), {"schema": {"type": "string", "format": "binary"}}
            answers: dict[str, Any] = {"model": model} if kind is None else {"content": {kind: content}}
            router.add_api_route(
                path,
                self._of_project(answer),
                methods=[method],
                response_class=Response if kind is not None else JSONResponse,
                responses={200: answers},
                dependencies=[Depends(requires(role))],
                openapi_extra=described(method, path, *body or [None]),
            )

    def _of_project(self, answer: _Answer) -> _Answer:
        """A route that refuses callers who mean another project, and says which project answers."""

        @wraps(answer)
        async def checked(request: Request) -> Response:
            record = self.project.record
            meant = request.headers.get(PROJECT_HEADER, record.id)
            if meant != record.id:
                message = f"the project {record.name!r} answers here, and the request is meant for another one"
                details = {"project": strict_json({"id": record.id, "name": record.name})}
                raise ServiceFailure("another_project", message, status=409, details=details)
            response = await answer(request)
            response.headers[PROJECT_HEADER] = record.id
            return response

        return checked

    @property
    def _settings(self) -> ServiceSettings:
        return self._service.settings

    async def _get(self, request: Request) -> Response:
        key = request.state.key
        caller = {"role": ROLES[-1], "user": None} if key is None else {"role": key.role, "user": key.name}
        with self._service.request_slot(labels=False):
            return await self._in_thread(self._whole, caller)

    def _whole(self, caller: Mapping[str, str | None] | None = None) -> Response:
        """The project with its images, and who the caller is and what it may do."""
        # read the last change number first: a later change may be reported twice, but is never missed
        seq, record = self.project.index.seq, self.project.record
        states, problems = self.project.listing()
        settings = self._settings
        answer = {
            **to_json(record),
            "seq": seq,
            "images_folder": record.images,
            **(caller or {}),
            "removed": self._removed(),
            "problems": problems,
            "limits": {
                "bytes": settings.max_bytes,
                "pixels": self._max_pixels,
                "words": settings.max_words,
                "upload": self._limits.upload_bytes,
                "archive": self._limits.archive_bytes,
            },
        }
        answer.pop("images")
        # the states are JSON already
        text = f'{strict_json(answer)[:-1]}, "images": [{", ".join(states)}]}}'
        return Response(text, media_type="application/json", headers=_etag(record.revision))

    async def _put(self, request: Request) -> Response:
        expected, user, change = expected_revision(request), user_of(request), change_of(request)
        with self._service.request_slot(labels=False):
            body = await json_request(request, ProjectJson, self._settings, limit=TEXT_BYTES, values=MOST_VALUES)
            await self._in_thread(self._update, body, expected, user, change)
            await self._taught.follow()
            return await self._in_thread(self._whole)

    async def _merge(self, request: Request) -> Response:
        user, change = user_of(request), change_of(request)
        with self._service.request_slot(labels=False):
            body = await json_request(request, MergeJson, self._settings, limit=1000, values=10)
            await self._in_thread(self.project.merge_words, body.word, body.into, by=user, change=change)
            self._merging = asyncio.create_task(self._follow_merges(self._merging))
            return await self._in_thread(self._whole)

    async def _follow_merges(self, before: asyncio.Task[None] | None) -> None:
        """Let pixels of merged words follow, after an earlier run; the next start goes on with what is left."""
        if before is not None:
            await before
        try:
            problems = await asyncio.to_thread(follow_merges, self.project, self._ending.is_set)
        except (SegvocError, OSError) as error:
            problems = [str(error)]
        for problem in problems:
            LOGGER.warning("merged words can't follow in an image", extra={FIELDS: {"problem": problem}})

    def _update(self, body: ProjectJson, expected: int, user: str, change: str | None) -> ProjectRecord:
        options = body.options
        if options is not None:
            kept = self.project.record.options
            options = replace(options, reviewers=kept.reviewers, model=kept.model)
        return self.project.update(
            expected=expected, by=user, change=change, name=body.name, words=body.words, options=options
        )

    async def _changes(self, request: Request) -> Response:
        after = int(whole_number(request, "after", 0, 1e15))
        wait = whole_number(request, "wait", 0, WATCHING_SECONDS)
        async with self._watching():
            if self.project.index.seq == after and wait:
                await unless_gone(request, self._change(after, wait))
                self._service.keys.check(request.state.key)
            answer = await self._in_thread(self._changes_after, after)
            await self._taught.follow()  # clients that learn of new words get labels by them
        return Response(answer, media_type="application/json")

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        """A slot for a long poll, separate from the request slots."""
        if self._waiting >= self._limits.watchers:
            raise ServiceFailure("busy", f"{self._waiting} requests wait for changes; try again later", retry_after=5)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _change(self, after: int, wait: float) -> None:
        """Wait until the history grows, or the service stops."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        await asyncio.sleep(LOOK_SECONDS)
        while self.project.index.seq == after and loop.time() < end and not self._service.stopping:
            await asyncio.sleep(LOOK_SECONDS)

    def _changes_after(self, after: int) -> str:
        index = self.project.index
        last, changes = index.seq, index.changes(after)
        answer: dict[str, Any] = {
            "seq": changes[-1].seq if changes else last,
            "changes": [to_json(change) for change in changes],
            "states": {},
        }
        if not index.knows(after):
            answer["restart"] = True
        for id_, name in dict.fromkeys((change.image_id, change.image) for change in changes):
            row = None if name is None else index.image(name)
            if row is not None and row.state is not None and row.state.id == id_:  # it wasn't removed
                answer["states"][id_] = to_json(row.state)
        if any(change.what in ("words", "improved") for change in changes):
            answer["project"] = to_json(self.project.record)
        return strict_json(answer)

    async def _add_images(self, request: Request) -> Response:
        settings, user, change = self._settings, user_of(request), change_of(request)
        added, problems = [], []
        with self._service.request_slot(labels=False):
            async with sent_form(request, "image", self._limits.upload_bytes, self._limits) as (files, _):
                for file in files:
                    name, size = file.filename or "", file.size or 0
                    if size > settings.max_bytes:
                        problems.append(f"{name[:80]!r} has {size} bytes; an image has at most {settings.max_bytes}")
                        continue
                    # of several images, the first that was added would stand for all
                    options = {"max_pixels": self._max_pixels, "change": change if len(files) == 1 else None}
                    add = partial(self.project.add, name, await file.read(), by=user, **options)
                    try:
                        async with self._decoding:
                            added.append(to_json(await asyncio.to_thread(add)))
                    except OutputError as error:
                        raise _storage(error) from error
                    except SegvocError as error:
                        problems.append(str(error))
        return _json({"added": added, "problems": problems})

    async def _image(self, request: Request) -> Response:
        image = await self._in_thread(self.project.image, request.path_params["name"])
        status = await self._in_thread(image.path.stat)
        response = FileResponse(image.path, headers=_REVALIDATED, stat_result=status)
        if request.headers.get("if-none-match") == response.headers["etag"]:
            return Response(status_code=304, headers={**_REVALIDATED, "ETag": response.headers["etag"]})
        async with self._decoding:
            shown = await self._in_thread(shown_image, image.path)
        if shown is None:
            return response
        return Response(shown, media_type="image/png", headers={**_REVALIDATED, "ETag": response.headers["etag"]})

    async def _thumbnail(self, request: Request) -> Response:
        with self._service.request_slot(labels=False):
            image = await self._in_thread(self.project.image, request.path_params["name"])
            async with self._decoding:
                content = await self._in_thread(thumbnail, self.project.folder, image)
        return Response(content, media_type="image/jpeg", headers=_REVALIDATED)

    async def _tile(self, request: Request) -> Response:
        """A tile of an image, whose level, row and column the query has; without them, the image as it is labeled."""
        query = request.query_params
        place = "/".join(query.get(part, "") for part in ("level", "row", "column"))
        image = await self._in_thread(self.project.image, request.path_params["name"])
        async with self._decoding:
            content = await self._in_thread(tile, self.project.folder, image, SCALED if place == "//" else place)
        return Response(content, media_type="image/jpeg", headers=_REVALIDATED)

    async def _remove(self, request: Request) -> Response:
        with self._service.request_slot(labels=False):
            name, user, change = request.path_params["name"], user_of(request), change_of(request)
            await self._in_thread(self.project.remove, name, by=user, change=change)
            return _json({"removed": await self._in_thread(self._removed)})

    async def _empty_trash(self, request: Request) -> Response:
        with self._service.request_slot(labels=False):
            await self._in_thread(self.project.empty_trash, by=user_of(request))
            return _json({"removed": await self._in_thread(self._removed)})

    def _removed(self) -> list[dict[str, str]]:
        """The images in the trash, the last one last; of one that has no id, its name."""
        removed = reversed(self.project.index.removed())
        return [{"id": one.image_id or one.image, "image": one.image} for one in removed]

    async def _restore(self, request: Request) -> Response:
        with self._service.request_slot(labels=False):
            name, user, change = request.path_params["name"], user_of(request), change_of(request)
            return _answered(await self._in_thread(self.project.restore, name, by=user, change=change))

    async def _work(self, request: Request) -> Response:
        with self._service.request_slot(labels=False):
            revision, content = await self._in_thread(self.project.work_content, request.path_params["name"])
        return Response(content, media_type=ZIP, headers=_etag(revision))

    async def _put_work(self, request: Request) -> Response:
        name, expected, user = request.path_params["name"], expected_revision(request), user_of(request)
        with self._service.request_slot(labels=False):
            async with sent_file(request, ZIP, self._limits) as file, self._decoding:
                done = {"true": True, "false": False}.get(request.query_params.get("done", ""))
                keep_draft, change = request.query_params.get("draft") == "kept", change_of(request)
                rows = _rows_of(request)
                receive = partial(self.project.receive, done=done, change=change, keep_draft=keep_draft, rows=rows)
                return _answered(await self._in_thread(receive, name, file, expected=expected, by=user))

    async def _put_done(self, request: Request) -> Response:
        name, expected, user = request.path_params["name"], expected_revision(request), user_of(request)
        with self._service.request_slot(labels=False):
            body = await json_request(request, DoneJson, self._settings, limit=1000, values=10)
            set_done = partial(self.project.set_done, expected=expected, by=user, change=change_of(request))
            return _answered(await self._in_thread(set_done, name, body.done))

    async def _put_review(self, request: Request) -> Response:
        name, expected = request.path_params["name"], expected_revision(request)
        user = user_of(request)
        with self._service.request_slot(labels=False):
            body = await json_request(request, ReviewJson, self._settings, limit=TEXT_BYTES, values=10)
            review = partial(self.project.review, expected=expected, by=user, change=change_of(request))
            return _answered(await self._in_thread(review, name, body.verdict, body.comment))

    async def _assign(self, request: Request) -> Response:
        user, change = user_of(request), change_of(request)
        with self._service.request_slot(labels=False):
            body = await json_request(request, AssignedJson, self._settings, limit=MOST_NAMES, values=MOST_VALUES)
            call = partial(assign, as_copies=body.copies, by=user, change=change)
            states = await self._in_thread(call, self.project, body.images, body.people)
        return _json({"images": [to_json(state) for state in states]})

    async def _agreement(self, request: Request) -> Response:
        only_done = request.query_params.get("all", "false") != "true"
        with self._service.request_slot(labels=False):
            async with self._decoding:
                return _json(to_json(await self._in_thread(agreement, self.project, only_done=only_done)))

    async def _differences(self, request: Request) -> Response:
        with self._service.request_slot(labels=False):
            async with self._decoding:
                shown = await self._in_thread(difference_map, self.project, request.path_params["name"])
                return Response(await asyncio.to_thread(_png, shown), media_type="image/png")

    async def _archive(self, request: Request) -> Response:
        headers = {"Content-Disposition": f'attachment; filename="{self._zip_name()}"'}
        key = request.state.key
        has_trash = key is None or key.role == ROLES[-1]
        return StreamingResponse(archived(self.project, has_trash=has_trash), media_type=ZIP, headers=headers)

    def _zip_name(self, what: str = "") -> str:
        """Name of a zip: the project's, in ASCII."""
        name = "".join(character for character in self.project.name if character.isalnum() or character in " -_.")
        return f"{name.strip(' .').encode('ascii', 'ignore').decode() or 'project'}{what}.zip"

    async def _export_states(self, request: Request) -> Response:
        return _json({"exports": [to_json(state) for state in self._exports.states()]})

    async def _export(self, request: Request) -> Response:
        user = user_of(request)
        with self._service.request_slot(labels=False):
            body = await json_request(request, ExportJson, self._settings, limit=1000, values=10)
            state = await self._in_thread(self._exports.start, body.format, only_done=not body.all, by=user)
        return _json(to_json(state))

    async def _export_state(self, request: Request) -> Response:
        return _json(to_json(await self._in_thread(self._exports.state, request.path_params["id"])))

    async def _remove_export(self, request: Request) -> Response:
        key = request.state.key
        by = user_of(request) if key is not None and key.role != ROLES[-1] else None
        return _json(to_json(await self._in_thread(self._exports.remove, request.path_params["id"], by)))

    async def _export_file(self, request: Request) -> Response:
        state, path = await self._in_thread(self._exports.file, request.path_params["id"])
        return FileResponse(path, media_type=ZIP, filename=self._zip_name(f" {state.format}"))

    async def _import(self, request: Request) -> Response:
        user = user_of(request)
        with self._service.request_slot(labels=False):
            async with sent_form(request, "archive", self._limits.archive_bytes, self._limits, most=1) as (
                files,
                texts,
            ):
                done, format_ = texts.get("done") == "true", texts.get("format")
                importing = Importing(project=self.project, done=done, by=user, max_pixels=self._max_pixels)
                async with self._decoding:
                    found = await self._in_thread(_imported, importing, files[0].file, format_)
        return await self._in_thread(self._imported_answer, found)

    def _imported_answer(self, found: Imported) -> Response:
        states = []
        for name in found.added:
            with suppress(SegvocError):  # it was removed meanwhile
                states.append(to_json(self.project.state(self.project.image(name))))
        return _json({"added": states, "problems": found.problems})

    async def _improvement_state(self, request: Request) -> Response:
        return self._progress(await self._in_thread(self._improvement.state))

    async def _improve(self, request: Request) -> Response:
        user = user_of(request)
        with self._service.request_slot(labels=False):
            body = await json_request(request, ImprovementJson, self._settings, limit=1000, values=10)
            why = why_no_finetuning(self._service.labeler.model) if body.finetune else None
            if why is not None:
                raise ServiceFailure("invalid_request", why)
            return self._progress(await self._in_thread(self._improvement.start, finetune=body.finetune, by=user))

    async def _cancel_improvement(self, request: Request) -> Response:
        return self._progress(await self._in_thread(self._improvement.cancel))

    def _progress(self, state: ImprovementState) -> Response:
        offered = why_no_finetuning(self._service.labeler.model) is None
        return _json(to_json(replace(state, can_finetune=offered)))

    async def _in_thread(self, call: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Run a call in a thread, mapping its errors to request failures."""

        def answered() -> _T:
            try:
                return call(*arguments, **options)
            except (SegvocError, OSError) as error:
                raise _failure(error) from error

        return await asyncio.to_thread(answered)


def _rows_of(request: Request) -> tuple[int, int] | None:
    """The rows that are sent, from the query; None: all."""
    if (text := request.query_params.get("rows")) is None:
        return None
    if (found := re.fullmatch(r"(\d{1,6})-(\d{1,6})", text)) is None:
        raise ServiceFailure("invalid_request", f"rows={text[:40]!r} aren't FIRST-END")
    return int(found[1]), int(found[2])


_REVALIDATED = {"Cache-Control": "private, no-cache"}
"""Browsers cache images but revalidate on each use."""


def _failure(error: SegvocError | OSError) -> Exception:
    if isinstance(error, ConflictError):
        code, status = ("done", 409) if isinstance(error, ImageDoneError) else ("conflict", 412)
        headers, details = _etag(error.current.revision), {"current": strict_json(to_json(error.current))}
        return ServiceFailure(code, str(error), status=status, headers=headers, details=details)
    if isinstance(error, NotInProjectError):
        return ServiceFailure("not_found", str(error))
    if isinstance(error, DamagedProjectError):
        return ServiceFailure("damaged", str(error), status=500)
    return _storage(error) if isinstance(error, OutputError) else error


def _imported(importing: Importing, file: BinaryIO, format_: str | None) -> Imported:
    """Import an uploaded zip."""
    with scratch_folder() as folder:
        path = Path(folder, "archive.zip")
        with writing(path), path.open("wb") as stored:
            shutil.copyfileobj(file, stored)
        try:
            found = importing.path(path, format_ or None)
        except UsageError as error:
            raise UsageError(_about_upload(str(error))) from None
        return replace(found, problems=[_about_upload(problem) for problem in found.problems])


_TEMPORARY = re.compile(re.escape(tempfile.gettempdir()) + r"/segvoc-[a-z0-9_]+(/archive\.zip|/dataset|/project)?/?")


def _about_upload(text: str) -> str:
    """An error about an uploaded archive: without temporary paths, with fields in place of options."""
    text = _TEMPORARY.sub("", text).replace("''", "the archive").replace("with --dataset-format", "in the field format")
    problem, _, advice = text.rpartition("; ")
    return f"{problem}; change the archive, or name its format in the field format" if "--" in advice else text


def _storage(error: OutputError) -> ServiceFailure:
    return ServiceFailure("storage", str(error), status=507)


def _json(content: object, headers: Mapping[str, str] | None = None) -> Response:
    """A response in ASCII, since states that other programs wrote may have lone surrogates."""
    return Response(strict_json(content), media_type="application/json", headers=headers)


def _answered(state: ImageState) -> Response:
    return _json(to_json(state), headers=_etag(state.revision))


def _png(pixels: UInt8[np.ndarray, "H W 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _etag(revision: int) -> dict[str, str]:
    return {"ETag": f'"{revision}"'}


FOLLOW_SECONDS = 60.0
"""Timeout for a thread that waits for the model to change [s]."""


class TaughtModel:
    """Reloads the project's files of taught words when they change; the service starts without taught words."""

    def __init__(self, project: Project, service: Service) -> None:
        self._project, self._service = project, service
        self._followed: dict[Path, str] = {}
        self._one = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def follow(self) -> None:
        """Load changed files; an unusable file is logged and the model kept."""
        self._loop = asyncio.get_running_loop()
        async with self._one:
            stamps = await asyncio.to_thread(self._stamps)
            if stamps == self._followed:
                return
            self._followed = stamps
            files = list(stamps)
            try:
                await self._service.labeler.adapt_model(
                    lambda plain: plain.with_taught(*map(TaughtWords.load, files)) if files else plain
                )
            except (SegvocError, OSError) as error:
                LOGGER.warning("taught words of the project can't be used", extra={FIELDS: {"problem": str(error)}})

    def follow_from_thread(self) -> None:
        """Call `follow` from another thread and wait."""
        if self._loop is not None:
            with suppress(TimeoutError):  # the model changes after its queued work
                asyncio.run_coroutine_threadsafe(self.follow(), self._loop).result(FOLLOW_SECONDS)

    def _stamps(self) -> dict[Path, str]:
        folder, files = self._project.folder, self._project.record.options.taught
        return {folder / file: stamp_of(folder / file) for file in files}
