"""The routes of labels: the work file of an image, whether it is done, what reviewers say, and who labels it."""

import asyncio
from functools import partial
from typing import Annotated, Literal

from fastapi import Query, Request
from PIL import Image
from starlette.responses import Response

from segvoc.storage.records import to_json
from segvoc_annotate.projects.agreement import Agreement, agreement, difference_map
from segvoc_annotate.projects.contributions import contributions
from segvoc_annotate.projects.images import encoded
from segvoc_annotate.projects.people import assign
from segvoc_annotate.projects.records import ImageState
from segvoc_annotate.service.addresses import (
    BINARY,
    ZIP,
    ChangeId,
    Expected,
    ProjectAddresses,
    User,
    etag,
    json_answer,
    state_answer,
)
from segvoc_annotate.service.bodies import sent_file
from segvoc_annotate.service.schemas import AssignedAnswer, AssignedJson, DoneJson, PeopleAnswer, ReviewJson


def add_label_routes(at: ProjectAddresses) -> None:
    """Add the routes."""
    project = at.project

    @at.route("GET", "/work/{name:any}", role="read", file=ZIP)
    async def get_work(name: str) -> Response:
        revision, content = await asyncio.to_thread(project.work_content, name)
        return Response(content, media_type=ZIP, headers=etag(revision))

    @at.route("PUT", "/work/{name:any}", role="annotate", answer=ImageState, body=(ZIP, BINARY))
    async def put_work(
        request: Request,
        name: str,
        expected: Expected,
        user: User,
        change: ChangeId = None,
        done: bool | None = None,
        draft: Literal["kept"] | None = None,
        rows: Annotated[str | None, Query(pattern="^[0-9]{1,6}-[0-9]{1,6}$")] = None,
    ) -> Response:
        """Store labels: all of an image, or those of some rows (FIRST-END); a draft that is kept isn't sent."""
        first, end = map(int, rows.split("-")) if rows else (0, 0)
        receive = partial(
            project.receive, done=done, change=change, keep_draft=draft is not None, rows=(first, end) if rows else None
        )
        async with sent_file(request, ZIP, at.limits) as file, at.decoding:
            return state_answer(await asyncio.to_thread(receive, name, file, expected=expected, by=user))

    @at.route("PUT", "/done/{name:any}", role="annotate", answer=ImageState, body=DoneJson)
    async def put_done(
        request: Request, name: str, expected: Expected, user: User, change: ChangeId = None
    ) -> Response:
        body = await at.json(request, DoneJson)
        call = partial(project.set_done, expected=expected, by=user, change=change)
        return state_answer(await asyncio.to_thread(call, name, body.done))

    @at.route("PUT", "/review/{name:any}", role="annotate", answer=ImageState, body=ReviewJson)
    async def put_review(
        request: Request, name: str, expected: Expected, user: User, change: ChangeId = None
    ) -> Response:
        body = await at.json(request, ReviewJson)
        call = partial(project.review, expected=expected, by=user, change=change)
        return state_answer(await asyncio.to_thread(call, name, body.verdict, body.comment))

    @at.route("POST", "/assigned", role="administer", answer=AssignedAnswer, body=AssignedJson)
    async def assign_images(request: Request, user: User, change: ChangeId = None) -> Response:
        body = await at.json(request, AssignedJson)
        call = partial(assign, as_copies=body.copies, by=user, change=change)
        states = await asyncio.to_thread(call, project, body.images, body.people)
        return json_answer({"images": [to_json(state) for state in states]})

    @at.route("GET", "/agreement", role="read", answer=Agreement)
    async def get_agreement(all: bool = False) -> Response:
        """How well people agree on images and their copies that are done; with `all`, also on others."""
        async with at.decoding:
            return json_answer(to_json(await asyncio.to_thread(agreement, project, only_done=not all)))

    @at.route("GET", "/people", role="administer", answer=PeopleAnswer)
    async def get_people() -> Response:
        """The actions and time of each person, and how well they label the gold set: copies of accepted images."""
        async with at.decoding:
            found = await asyncio.to_thread(contributions, project)
        return json_answer({"people": [to_json(one) for one in found.people], "problems": found.problems})

    @at.route("GET", "/differences/{name:any}", role="read", file="image/png")
    async def get_differences(name: str) -> Response:
        async with at.decoding:
            shown = Image.fromarray(await asyncio.to_thread(difference_map, project, name))
            return Response(await asyncio.to_thread(encoded, shown, "PNG", compress_level=1), media_type="image/png")
