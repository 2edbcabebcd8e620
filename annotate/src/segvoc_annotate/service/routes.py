"""The routes of a project, which only this process writes."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fastapi import APIRouter, Depends, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from segvoc import OutputError, SegvocError, TaughtWords, UsageError
from segvoc.serving.answers import ServiceFailure
from segvoc.serving.app import Service, unless_gone
from segvoc.serving.bodies import json_request
from segvoc.serving.middleware import FIELDS, LOGGER, requires
from segvoc.serving.settings import TEXT_BYTES, ServiceSettings
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import scratch_folder, strict_json
from segvoc.storage.records import to_json
from segvoc_annotate.projects.archive import archived
from segvoc_annotate.projects.exporting import ProjectExport
from segvoc_annotate.projects.folder import FileStamp, file_stamp
from segvoc_annotate.projects.images import shown_image, thumbnail
from segvoc_annotate.projects.importing import Imported, Importing
from segvoc_annotate.projects.merging import merge_words, resume_merge, take_back_merge
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import (
    ConflictError,
    DamagedProjectError,
    ImageDoneError,
    ImageState,
    NotInProjectError,
    ProjectOptions,
    ProjectRecord,
    ProjectWord,
)
from segvoc_annotate.projects.work_files import read_state_of
from segvoc_annotate.service import schemas
from segvoc_annotate.service.bodies import change_of, expected_revision, sent_file, sent_form, user_of, whole_number
from segvoc_annotate.service.improvement import Improvement, ImprovementState
from segvoc_annotate.service.improving import why_no_finetuning
from segvoc_annotate.service.schemas import DoneJson, ImprovementJson, MergeJson, ProjectJson, ReviewJson
from segvoc_annotate.settings import MAX_EDITED_PIXELS, AnnotateSettings

WATCHING_SECONDS = 25.0
"""Long-polling timeout for changes [s]."""

LOOK_SECONDS = 0.1
"""Polling interval for changes [s]."""

ZIP = "application/zip"

AT_ONCE = 2
"""Max concurrent image decodes per project; each takes a few hundred megabytes."""

_T = TypeVar("_T")


class ProjectRoutes:
    """The project's routes; `UsageError` if the folder isn't a project, or another process has it open."""

    def __init__(self, service: Service, settings: AnnotateSettings, folder: Path) -> None:
        self._service, self._limits, self.project = service, settings, Project.open(folder)
        self._max_pixels = min(service.settings.max_pixels, MAX_EDITED_PIXELS)
        self._taught = TaughtModel(self.project, service)
        self._improvement = Improvement(self.project, service.open_model, self._taught.follow_from_thread)
        self._decoding, self._waiting = asyncio.Semaphore(AT_ONCE), 0
        self._coloring: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run with the service.

        On startup, interrupted changes are finished, damaged files are logged, and the model loads the project's
        taught words.
        """
        for problem in await asyncio.to_thread(self.project.recover):
            LOGGER.warning("a file of the project can't be used", extra={FIELDS: {"problem": problem}})
        await asyncio.to_thread(resume_merge, self.project)
        await self._taught.follow()
        yield
        if self._coloring is not None:
            self._coloring.cancel()
        await asyncio.to_thread(self._improvement.stop)
        self.project.close()

    def add(self, router: APIRouter) -> None:
        """Add the routes."""
        for method, path, answer in (
            ("GET", "/v1/project", self._get),
            ("PUT", "/v1/project", self._put),
            ("POST", "/v1/project/merged", self._merge),
            ("DELETE", "/v1/project/merged", self._take_back_merge),
            ("GET", "/v1/project/changes", self._changes),
            ("POST", "/v1/project/images", self._add_images),
            ("GET", "/v1/project/images/{name:path}", self._image),
            ("DELETE", "/v1/project/images/{name:path}", self._remove),
            ("POST", "/v1/project/restored/{name:path}", self._restore),
            ("GET", "/v1/project/thumbnails/{name:path}", self._thumbnail),
            ("GET", "/v1/project/work/{name:path}", self._work),
            ("PUT", "/v1/project/work/{name:path}", self._put_work),
            ("PUT", "/v1/project/done/{name:path}", self._put_done),
            ("PUT", "/v1/project/review/{name:path}", self._put_review),
            ("GET", "/v1/project/archive", self._archive),
            ("GET", "/v1/project/export", self._export),
            ("POST", "/v1/project/import", self._import),
            ("GET", "/v1/project/improvement", self._improvement_state),
            ("POST", "/v1/project/improvement", self._improve),
            ("DELETE", "/v1/project/improvement", self._cancel_improvement),
        ):
            model = _ANSWERS.get(answer.__name__)
            role = "administer" if answer.__name__ in _FOR_ADMINISTRATORS else "read" if method == "GET" else "annotate"
            router.add_api_route(
                path,
                answer,
                methods=[method],
                responses=None if model is None else {200: {"model": model}},
                dependencies=[Depends(requires(role))],
            )

    @property
    def _settings(self) -> ServiceSettings:
        return self._service.settings

    async def _get(self, request: Request) -> Response:
        with self._service.place(labels=False):
            content, revision = await self._in_thread(self._content)
        return Response(content, media_type="application/json", headers=_etag(revision))

    def _content(self) -> tuple[str, int]:
        # read the last change number first: a later change may be reported twice, but is never missed
        seq, record = self.project.history.last(), self.project.record
        states, problems = self.project.states()
        settings = self._settings
        told = {
            **to_json(record),
            "seq": seq,
            "images": [to_json(state) for state in states],
            "images_folder": record.images,
            "removed": self.project.removed(),
            "problems": problems,
            "limits": {
                "bytes": settings.max_bytes,
                "pixels": self._max_pixels,
                "words": settings.max_words,
                "upload": self._limits.upload_bytes,
                "archive": self._limits.archive_bytes,
            },
        }
        return strict_json(told), record.revision

    async def _put(self, request: Request) -> Response:
        expected, user, change = expected_revision(request), user_of(request), change_of(request)
        with self._service.place(labels=False):
            body = await json_request(request, ProjectJson, self._settings, limit=TEXT_BYTES, values=500_000)
            before = self.project.record.colors
            after = (await self._in_thread(partial(self._update, body, expected, user, change))).colors
            if any(after[number] != color for number, color in before.items()):
                self._coloring = asyncio.create_task(self._recolor(self._coloring))
            await self._taught.follow()
            content, revision = await self._in_thread(self._content)
        return Response(content, media_type="application/json", headers=_etag(revision))

    async def _merge(self, request: Request) -> Response:
        user = user_of(request)
        body = await json_request(request, MergeJson, self._settings, limit=1000, values=10)
        return await self._changed(partial(merge_words, self.project, body.word, body.into, by=user))

    async def _take_back_merge(self, request: Request) -> Response:
        names = [name for name in ("word", "into") if name in request.query_params]
        words = [int(whole_number(request, name, 0, 65_535)) for name in names]
        return await self._changed(partial(take_back_merge, self.project, words, by=user_of(request)))

    async def _changed(self, change: Callable[[], ProjectRecord]) -> Response:
        """Change the record, and answer the project."""
        with self._service.place(labels=False):
            await self._in_thread(change)
            content, revision = await self._in_thread(self._content)
        return Response(content, media_type="application/json", headers=_etag(revision))

    async def _recolor(self, before: asyncio.Task[None] | None) -> None:
        """Recolor all label maps; the next start finishes an interrupted run."""
        if before is not None:
            before.cancel()
        for image in self.project.images().values():
            with suppress(ServiceFailure, SegvocError):
                await self._in_thread(partial(self.project.recolor, image.name))

    def _update(self, body: ProjectJson, expected: int, user: str, change: str | None) -> ProjectRecord:
        words, options = body.words, None
        if body.options is not None:
            given, reviewers = _tuples(body.options.model_dump()), self.project.record.options.reviewers
            options = replace(ProjectOptions(**given), reviewers=reviewers)
        return self.project.update(
            expected=expected,
            by=user,
            change=change,
            name=body.name,
            words=None if words is None else tuple(_word(word.model_dump()) for word in words),
            options=options,
        )

    async def _changes(self, request: Request) -> Response:
        after = int(whole_number(request, "after", 0, 1e15))
        wait = whole_number(request, "wait", 0, WATCHING_SECONDS)
        async with self._watching():
            seq = await self._in_thread(self.project.history.last)
            if seq == after and wait:
                await unless_gone(request, self._change(after, wait))
            told = await self._in_thread(partial(self._told, after))
            await self._taught.follow()  # whoever is told of new words gets labels by them
        return Response(told, media_type="application/json")

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
        while self.project.history.last() == after and loop.time() < end and not self._service.stopping:
            await asyncio.sleep(LOOK_SECONDS)

    def _told(self, after: int) -> str:
        changes = self.project.history.after(after)
        told: dict[str, Any] = {
            "seq": changes[-1].seq if changes else self.project.history.last(),
            "changes": [to_json(change) for change in changes],
            "states": {},
        }
        for name, revision in {change.image: change.revision for change in changes if change.image is not None}.items():
            try:
                image = self.project.image(name)
                state = self.project.state(image)
                if state.revision < revision:
                    # the history is written after the work file and before the state
                    state = read_state_of(self.project.files(image).work)
            except (SegvocError, FileNotFoundError):
                continue  # removed, or damaged
            told["states"][name] = to_json(state)
        if any(change.what in ("words", "improved") for change in changes):
            told["project"] = to_json(self.project.record)
        return strict_json(told)

    async def _add_images(self, request: Request) -> Response:
        settings, user, change = self._settings, user_of(request), change_of(request)
        limits = self._limits.upload_bytes, self._limits.transfer_seconds
        added, problems = [], []
        with self._service.place(labels=False):
            async with sent_form(request, "image", *limits) as (files, _):
                for file in files:
                    name, size = file.filename or "", file.size or 0
                    if size > settings.max_bytes:
                        problems.append(f"{name[:80]!r} has {size} bytes; an image has at most {settings.max_bytes}")
                        continue
                    content = await file.read()
                    # of several images, the first that was added would stand for all
                    only = change if len(files) == 1 else None
                    options = {"by": user, "max_pixels": self._max_pixels, "change": only}
                    add = partial(self.project.add, name, content, **options)
                    try:
                        async with self._decoding:
                            added.append(to_json(await asyncio.to_thread(add)))
                    except OutputError as error:
                        raise _storage(error) from error
                    except SegvocError as error:
                        problems.append(str(error))
        return JSONResponse({"added": added, "problems": problems})

    async def _image(self, request: Request) -> Response:
        image = await self._in_thread(partial(self.project.image, request.path_params["name"]))
        status = await self._in_thread(image.path.stat)
        response = FileResponse(image.path, headers=_KEPT, stat_result=status)
        if request.headers.get("if-none-match") == response.headers["etag"]:
            return Response(status_code=304, headers={**_KEPT, "ETag": response.headers["etag"]})
        async with self._decoding:
            shown = await self._in_thread(partial(shown_image, image.path))
        if shown is None:
            return response
        return Response(shown, media_type="image/png", headers={**_KEPT, "ETag": response.headers["etag"]})

    async def _thumbnail(self, request: Request) -> Response:
        with self._service.place(labels=False):
            image = await self._in_thread(partial(self.project.image, request.path_params["name"]))
            async with self._decoding:
                content = await self._in_thread(partial(thumbnail, self.project.folder, image))
        return Response(content, media_type="image/jpeg", headers=_KEPT)

    async def _remove(self, request: Request) -> Response:
        with self._service.place(labels=False):
            name = request.path_params["name"]
            change = change_of(request)
            await self._in_thread(partial(self.project.remove, name, by=user_of(request), change=change))
            removed = await self._in_thread(self.project.removed)
        return JSONResponse({"removed": removed})

    async def _restore(self, request: Request) -> Response:
        with self._service.place(labels=False):
            name = request.path_params["name"]
            change = change_of(request)
            state = await self._in_thread(partial(self.project.restore, name, by=user_of(request), change=change))
        return _answered(state)

    async def _work(self, request: Request) -> Response:
        with self._service.place(labels=False):
            found = await self._in_thread(partial(self.project.work_content, request.path_params["name"]))
        return Response(found[1], media_type=ZIP, headers=_etag(found[0]))

    async def _put_work(self, request: Request) -> Response:
        name, expected, user = request.path_params["name"], expected_revision(request), user_of(request)
        with self._service.place(labels=False):
            async with sent_file(request, ZIP, self._limits) as file, self._decoding:
                receive = partial(self.project.receive, name, file, expected=expected, by=user)
                done = {"true": True, "false": False}.get(request.query_params.get("done", ""))
                state = await self._in_thread(partial(receive, done=done, change=change_of(request)))
        return _answered(state)

    async def _put_done(self, request: Request) -> Response:
        name, expected, user = request.path_params["name"], expected_revision(request), user_of(request)
        with self._service.place(labels=False):
            body = await json_request(request, DoneJson, self._settings, limit=1000, values=10)
            state = await self._in_thread(partial(self.project.set_done, name, body.done, expected=expected, by=user))
        return _answered(state)

    async def _put_review(self, request: Request) -> Response:
        name, expected = request.path_params["name"], expected_revision(request)
        key = request.state.key
        user = user_of(request) if key is None else key.name  # anybody can send another name
        with self._service.place(labels=False):
            body = await json_request(request, ReviewJson, self._settings, limit=TEXT_BYTES, values=10)
            review = partial(self.project.review, name, body.verdict, body.comment, expected=expected, by=user)
            return _answered(await self._in_thread(review))

    async def _archive(self, request: Request) -> Response:
        return self._zip(archived(self.project))

    async def _export(self, request: Request) -> Response:
        format_ = request.query_params.get("format", "")
        only_done = request.query_params.get("all", "false") != "true"
        export = partial(ProjectExport, project=self.project, format=format_, only_done=only_done)
        return self._zip((await self._in_thread(export)).to_zip(), f" {format_}")

    def _zip(self, pieces: Iterator[bytes], what: str = "") -> Response:
        """Stream a zip named after the project."""
        name = "".join(character for character in self.project.name if character.isalnum() or character in " -_.")
        file = f"{name.strip(' .').encode('ascii', 'ignore').decode() or 'project'}{what}.zip"
        headers = {"Content-Disposition": f'attachment; filename="{file}"'}
        return StreamingResponse(pieces, media_type=ZIP, headers=headers)

    async def _import(self, request: Request) -> Response:
        user = user_of(request)
        limits = self._limits.archive_bytes, self._limits.transfer_seconds
        with self._service.place(labels=False):
            async with sent_form(request, "archive", *limits, most=1) as (files, texts):
                done, format_ = texts.get("done") == "true", texts.get("format")
                importing = Importing(project=self.project, done=done, by=user, max_pixels=self._max_pixels)
                async with self._decoding:
                    found = await self._in_thread(partial(_imported, importing, files[0].file, format_))
        states = [state for name in found.added if (state := await self._in_thread(partial(self._state, name)))]
        return JSONResponse({"added": states, "problems": found.problems})

    def _state(self, name: str) -> dict[str, Any] | None:
        with suppress(SegvocError):
            return to_json(self.project.state(self.project.image(name)))
        return None  # removed meanwhile

    async def _improvement_state(self) -> Response:
        return self._told_of(await self._in_thread(self._improvement.state))

    async def _improve(self, request: Request) -> Response:
        user = user_of(request)
        with self._service.place(labels=False):
            body = await json_request(request, ImprovementJson, self._settings, limit=1000, values=10)
            why = why_no_finetuning(self._service.labeler.model) if body.finetune else None
            if why is not None:
                raise ServiceFailure("invalid_request", why)
            begin = partial(self._improvement.start, finetune=body.finetune, by=user)
            return self._told_of(await self._in_thread(begin))

    async def _cancel_improvement(self) -> Response:
        return self._told_of(await self._in_thread(self._improvement.cancel))

    def _told_of(self, state: ImprovementState) -> Response:
        offered = why_no_finetuning(self._service.labeler.model) is None
        return JSONResponse(to_json(replace(state, can_finetune=offered)))

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        """Run a call in a thread, mapping its errors to request failures."""
        try:
            return await asyncio.to_thread(call)
        except (SegvocError, OSError) as error:
            raise _failure(error) from error


_ANSWERS: Mapping[str, type] = {
    "_get": schemas.ProjectAnswer,
    "_put": schemas.ProjectAnswer,
    "_merge": schemas.ProjectAnswer,
    "_take_back_merge": schemas.ProjectAnswer,
    "_changes": schemas.ChangesAnswer,
    "_add_images": schemas.AddedAnswer,
    "_remove": schemas.RemovedAnswer,
    "_restore": ImageState,
    "_put_work": ImageState,
    "_put_done": ImageState,
    "_put_review": ImageState,
    "_import": schemas.AddedAnswer,
    "_improvement_state": ImprovementState,
    "_improve": ImprovementState,
    "_cancel_improvement": ImprovementState,
}
"""Response models of the routes that don't send a file, by method."""


_FOR_ADMINISTRATORS = ("_remove", "_import", "_improve", "_cancel_improvement")
"""Methods that need a key with the role "administer"."""

_KEPT = {"Cache-Control": "private, no-cache"}
"""Browsers cache images but revalidate on each use."""


def _failure(error: SegvocError | OSError) -> Exception:
    if isinstance(error, ConflictError):
        code, status = ("done", 409) if isinstance(error, ImageDoneError) else ("conflict", 412)
        headers, details = _etag(error.current.revision), {"current": to_json(error.current)}
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
        with writing(path), path.open("wb") as kept:
            shutil.copyfileobj(file, kept)
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


def _answered(state: ImageState) -> Response:
    return JSONResponse(to_json(state), headers=_etag(state.revision))


def _etag(revision: int) -> dict[str, str]:
    return {"ETag": f'"{revision}"'}


def _word(values: dict[str, Any]) -> ProjectWord:
    return ProjectWord(**_tuples(values))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


FOLLOW_SECONDS = 60.0
"""Timeout for a thread that waits for the model to change [s]."""


class TaughtModel:
    """Reloads the project's files of taught words when they change; the service starts without taught words."""

    def __init__(self, project: Project, service: Service) -> None:
        self._project, self._service = project, service
        self._followed: dict[Path, FileStamp] = {}
        self._one = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def follow(self) -> None:
        """Load changed files; an unusable file is logged and the model kept."""
        self._loop = asyncio.get_running_loop()
        async with self._one:
            stamps = self._stamps()
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

    def _stamps(self) -> dict[Path, FileStamp]:
        folder, files = self._project.folder, self._project.record.options.taught
        return {folder / file: file_stamp(folder / file) for file in files}
