"""The routes of a project's images: adding, showing, removing and restoring them."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, Response

from segvoc import OutputError, SegvocError
from segvoc.serving.bodies import FORM
from segvoc.storage.records import to_json
from segvoc_annotate.projects.images import shown_image, thumbnail
from segvoc_annotate.projects.pyramid import SCALED, tile
from segvoc_annotate.projects.records import ImageState
from segvoc_annotate.service.addresses import (
    BINARY,
    REVALIDATED,
    ChangeId,
    ProjectAddresses,
    User,
    json_answer,
    state_answer,
)
from segvoc_annotate.service.bodies import sent_form
from segvoc_annotate.service.schemas import AddedAnswer, RemovedAnswer

_IMAGES = {"type": "object", "required": ["image"], "properties": {"image": {"type": "array", "items": BINARY}}}


def add_image_routes(at: ProjectAddresses) -> None:
    """Add the routes."""
    project, limits = at.project, at.limits

    @at.route("POST", "/images", role="annotate", answer=AddedAnswer, body=(FORM, _IMAGES))
    async def add_images(request: Request, user: User, change: ChangeId = None) -> Response:
        async with sent_form(request, "image", limits.upload_bytes, limits) as (files, _):
            return json_answer(await _added(at, files, user, change))

    @at.route("GET", "/images/{name:any}", role="read", file="image/*", takes_slot=False)
    async def get_image(request: Request, name: str) -> Response:
        image = await asyncio.to_thread(project.image, name)
        status = await asyncio.to_thread(image.path.stat)
        response = FileResponse(image.path, headers=REVALIDATED, stat_result=status)
        headers = {**REVALIDATED, "ETag": response.headers["etag"]}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        async with at.decoding:
            shown = await asyncio.to_thread(shown_image, image.path)
        return response if shown is None else Response(shown, media_type="image/png", headers=headers)

    @at.route("GET", "/thumbnails/{name:any}", role="read", file="image/jpeg")
    async def get_thumbnail(name: str) -> Response:
        image = await asyncio.to_thread(project.image, name)
        async with at.decoding:
            content = await asyncio.to_thread(thumbnail, project.folder, image)
        return Response(content, media_type="image/jpeg", headers=REVALIDATED)

    @at.route("GET", "/tiles/{name:any}", role="read", file="image/jpeg", takes_slot=False)
    async def get_tile(name: str, level: str = "", row: str = "", column: str = "") -> Response:
        """A tile of an image; without level, row and column, the image as it is labeled."""
        image, place = await asyncio.to_thread(project.image, name), f"{level}/{row}/{column}"
        async with at.decoding:
            content = await asyncio.to_thread(tile, project.folder, image, SCALED if place == "//" else place)
        return Response(content, media_type="image/jpeg", headers=REVALIDATED)

    @at.route("DELETE", "/images/{name:any}", role="administer", answer=RemovedAnswer)
    async def remove_image(name: str, user: User, change: ChangeId = None) -> Response:
        await asyncio.to_thread(project.remove, name, by=user, change=change)
        return json_answer({"removed": await asyncio.to_thread(project.trash)})

    @at.route("POST", "/restored/{name:any}", role="annotate", answer=ImageState)
    async def restore_image(name: str, user: User, change: ChangeId = None) -> Response:
        return state_answer(await asyncio.to_thread(project.restore, name, by=user, change=change))

    @at.route("DELETE", "/removed", role="administer", answer=RemovedAnswer)
    async def empty_trash(user: User) -> Response:
        await asyncio.to_thread(project.empty_trash, by=user)
        return json_answer({"removed": await asyncio.to_thread(project.trash)})


async def _added(at: ProjectAddresses, files: Sequence[UploadFile], by: str, change: str | None) -> dict[str, Any]:
    added, problems, most = [], [], at.settings.max_bytes
    for file in files:
        name, size = file.filename or "", file.size or 0
        if size > most:
            problems.append(f"{name[:80]!r} has {size} bytes; an image has at most {most}")
            continue
        # of several images, the first that was added would stand for all
        options = {"max_pixels": at.max_pixels, "change": change if len(files) == 1 else None}
        add = partial(at.project.add, name, await file.read(), by=by, **options)
        try:
            async with at.decoding:
                added.append(to_json(await asyncio.to_thread(add)))
        except OutputError:
            raise
        except SegvocError as error:
            problems.append(str(error))
    return {"added": added, "problems": problems}
