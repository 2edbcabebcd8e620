"""The routes of a project as files for others: its archive, exports, and imports."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from fastapi import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from segvoc import InputError, SegvocError, UsageError
from segvoc.serving.bodies import FORM
from segvoc.serving.settings import ROLES
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import scratch_folder
from segvoc.storage.records import to_json
from segvoc_annotate.projects.archive import archived
from segvoc_annotate.projects.importing import Imported, Importing
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import EVERY
from segvoc_annotate.service.addresses import BINARY, ZIP, ProjectAddresses, User, json_answer
from segvoc_annotate.service.bodies import sent_form
from segvoc_annotate.service.exports import Exports, ExportState
from segvoc_annotate.service.schemas import AddedAnswer, ExportJson, ExportsAnswer

_ARCHIVE = {
    "type": "object",
    "required": ["archive"],
    "properties": {
        "archive": BINARY,
        "done": {"type": "string", "enum": ["true", "false"]},
        "format": {"type": "string"},
    },
}

_VIDEO = {
    "type": "object",
    "required": ["video"],
    "properties": {"video": BINARY, "every": {"type": "string", "pattern": "^[0-9]+$"}},
}


def add_dataset_routes(at: ProjectAddresses, exports: Exports) -> None:
    """Add the routes."""
    project = at.project

    @at.route("GET", "/archive", role="read", file=ZIP, takes_slot=False)
    async def get_archive(request: Request) -> Response:
        headers = {"Content-Disposition": f'attachment; filename="{_zip_name(project.name)}"'}
        pieces = archived(project, has_trash=_administers(request))
        return StreamingResponse(pieces, media_type=ZIP, headers=headers)

    @at.route("POST", "/import", role="administer", answer=AddedAnswer, body=(FORM, _ARCHIVE))
    async def import_archive(request: Request, user: User) -> Response:
        async with sent_form(request, "archive", at.limits.archive_bytes, at.limits, most=1) as (files, texts):
            done, format_ = texts.get("done") == "true", texts.get("format")
            importing = Importing(project=project, done=done, by=user, max_pixels=at.max_pixels)
            async with at.decoding:
                found = await asyncio.to_thread(_imported, importing, files[0].file, format_)
        return await asyncio.to_thread(_added, project, found)

    @at.route("POST", "/videos", role="annotate", answer=AddedAnswer, body=(FORM, _VIDEO))
    async def add_video(request: Request, user: User) -> Response:
        """Add each `every`-th frame of a video as images."""
        async with sent_form(request, "video", at.limits.archive_bytes, at.limits, most=1) as (files, texts):
            if not (every := texts.get("every", str(EVERY))).isdecimal() or len(every) > 9:
                raise UsageError(f"every={every[:40]!r} isn't a number of frames; give 1, 2, ...")
            importing = Importing(project=project, by=user, max_pixels=at.max_pixels)
            async with at.decoding:
                name = PurePosixPath((files[0].filename or "").replace("\\", "/")).name or "video.mp4"
                found = await asyncio.to_thread(_with_frames, importing, files[0].file, name, int(every))
        return await asyncio.to_thread(_added, project, found)

    @at.route("GET", "/exports", role="read", answer=ExportsAnswer, takes_slot=False)
    async def get_exports() -> Response:
        return json_answer({"exports": [to_json(state) for state in exports.states()]})

    @at.route("POST", "/exports", role="read", answer=ExportState, body=ExportJson)
    async def start_export(request: Request, user: User) -> Response:
        body = await at.json(request, ExportJson)
        return json_answer(
            to_json(await asyncio.to_thread(exports.start, body.format, only_done=not body.all, by=user))
        )

    @at.route("GET", "/exports/{id}", role="read", answer=ExportState, takes_slot=False)
    async def get_export(id: str) -> Response:
        return json_answer(to_json(exports.state(id)))

    @at.route("DELETE", "/exports/{id}", role="read", answer=ExportState, takes_slot=False)
    async def remove_export(request: Request, id: str, user: User) -> Response:
        by = None if _administers(request) else user
        return json_answer(to_json(await asyncio.to_thread(exports.remove, id, by)))

    @at.route("GET", "/exports/{id}/file", role="read", file=ZIP, takes_slot=False)
    async def get_export_file(id: str) -> Response:
        state, path = await asyncio.to_thread(exports.file, id)
        return FileResponse(path, media_type=ZIP, filename=_zip_name(f"{project.name} {state.format}"))


def _administers(request: Request) -> bool:
    key = request.state.key
    return key is None or key.role == ROLES[-1]


def _zip_name(name: str) -> str:
    """Name of a zip, in ASCII."""
    name = "".join(character for character in name if character.isalnum() or character in " -_.")
    return f"{name.encode('ascii', 'ignore').decode().strip(' .') or 'project'}.zip"


def _added(project: Project, found: Imported) -> Response:
    states = []
    for name in found.added:
        with suppress(SegvocError):  # it was removed meanwhile
            states.append(to_json(project.state(project.image(name))))
    return json_answer({"added": states, "problems": found.problems})


@contextmanager
def _stored(file: BinaryIO, name: str) -> Iterator[Path]:
    """An uploaded file, on disk under a name."""
    with scratch_folder() as folder:
        path = Path(folder, name)
        with writing(path), path.open("wb") as stored:
            shutil.copyfileobj(file, stored)
        yield path


def _with_frames(importing: Importing, file: BinaryIO, name: str, every: int) -> Imported:
    """Add the frames of an uploaded video."""
    with _stored(file, name) as path:
        try:
            found = importing.video(path, every)
        except (InputError, UsageError) as error:
            raise type(error)(_TEMPORARY.sub("", str(error))) from None
        return replace(found, problems=[_TEMPORARY.sub("", problem) for problem in found.problems])


def _imported(importing: Importing, file: BinaryIO, format_: str | None) -> Imported:
    """Import an uploaded zip."""
    with _stored(file, "archive.zip") as path:
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
