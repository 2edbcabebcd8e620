"""The routes of a project as a whole: its words and options, merges of words, and what changed."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from segvoc.serving.answers import ServiceFailure
from segvoc.serving.app import unless_gone
from segvoc.serving.settings import ROLES
from segvoc.storage.files import strict_json
from segvoc.storage.records import to_json
from segvoc_annotate.projects.records import MOST_REVISIONS
from segvoc_annotate.service.addresses import ChangeId, Expected, ProjectAddresses, User, etag
from segvoc_annotate.service.schemas import ChangesAnswer, MergeJson, ProjectAnswer, ProjectJson

WATCHING_SECONDS = 25.0
"""Long-polling timeout for changes [s]."""

LOOK_SECONDS = 0.1
"""Polling interval for changes [s]."""


def add_record_routes(at: ProjectAddresses, follow_merges: Callable[[], None]) -> None:
    """Add the routes."""
    project, most = at.project, at.limits.watchers

    @at.route("GET", role="read", answer=ProjectAnswer)
    async def get_project(request: Request) -> Response:
        key = request.state.key
        caller = {"role": ROLES[-1], "user": None} if key is None else {"role": key.role, "user": key.name}
        return await asyncio.to_thread(_whole, at, caller)

    @at.route("PUT", role="annotate", answer=ProjectAnswer, body=ProjectJson)
    async def put_project(request: Request, expected: Expected, user: User, change: ChangeId = None) -> Response:
        body = await at.json(request, ProjectJson)

        def update() -> None:
            options = body.options
            if options is not None:
                kept = project.record.options
                options = replace(options, reviewers=kept.reviewers, model=kept.model)
            project.update(expected=expected, by=user, change=change, name=body.name, words=body.words, options=options)

        await asyncio.to_thread(update)
        await at.taught.follow()
        return await asyncio.to_thread(_whole, at)

    @at.route("POST", "/merged", role="annotate", answer=ProjectAnswer, body=MergeJson)
    async def merge_words(request: Request, user: User, change: ChangeId = None) -> Response:
        body = await at.json(request, MergeJson)
        await asyncio.to_thread(project.merge_words, body.word, body.into, by=user, change=change)
        follow_merges()
        return await asyncio.to_thread(_whole, at)

    @at.route("GET", "/changes", role="read", answer=ChangesAnswer, takes_slot=False)
    async def get_changes(
        request: Request,
        user: User,
        after: Annotated[int, Query(ge=0, lt=MOST_REVISIONS)] = 0,
        wait: Annotated[float, Query(ge=0)] = 0.0,
    ) -> Response:
        if len(at.waiting) >= most:
            raise ServiceFailure("busy", f"{most} requests wait for changes; try again later", retry_after=5)
        at.waiting.append(user)
        try:
            if project.index.seq == after and wait:
                await unless_gone(request, _change(at, after, min(wait, WATCHING_SECONDS)))
                at.service.keys.check(request.state.key)
            answer = await asyncio.to_thread(_changes_after, at, after)
            await at.taught.follow()  # clients that learn of new words get labels by them
        finally:
            at.waiting.remove(user)
        return Response(answer, media_type="application/json")


async def _change(at: ProjectAddresses, after: int, wait: float) -> None:
    """Wait until the history grows, or the service stops."""
    loop, index = asyncio.get_running_loop(), at.project.index
    end = loop.time() + wait
    await asyncio.sleep(LOOK_SECONDS)
    while index.seq == after and loop.time() < end and not at.service.stopping:
        await asyncio.sleep(LOOK_SECONDS)


def _whole(at: ProjectAddresses, caller: Mapping[str, str | None] | None = None) -> Response:
    """The project with its images, and who the caller is and what it may do."""
    # read the last change number first: a later change may be reported twice, but is never missed
    seq, record = at.project.index.seq, at.project.record
    states, problems = at.project.listing()
    answer = {
        **to_json(record),
        "seq": seq,
        "images_folder": record.images,
        **(caller or {}),
        "removed": at.project.trash(),
        "problems": problems,
        "limits": {
            "bytes": at.settings.max_bytes,
            "pixels": at.max_pixels,
            "words": at.settings.max_words,
            "upload": at.limits.upload_bytes,
            "archive": at.limits.archive_bytes,
        },
    }
    answer.pop("images")
    # the states are JSON already
    text = f'{strict_json(answer)[:-1]}, "images": [{", ".join(states)}]}}'
    return Response(text, media_type="application/json", headers=etag(record.revision))


def _changes_after(at: ProjectAddresses, after: int) -> str:
    index = at.project.index
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
        answer["project"] = to_json(at.project.record)
    return strict_json(answer)
