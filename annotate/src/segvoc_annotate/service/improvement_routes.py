"""The routes of learning from a project's images that are done."""

import asyncio
from dataclasses import replace

from fastapi import Request
from starlette.responses import Response

from segvoc.serving.answers import ServiceFailure
from segvoc.storage.records import to_json
from segvoc_annotate.service.addresses import ProjectAddresses, User, json_answer
from segvoc_annotate.service.improvement import Improvement, ImprovementState
from segvoc_annotate.service.improving import why_no_finetuning
from segvoc_annotate.service.schemas import ImprovementJson


def add_improvement_routes(at: ProjectAddresses, improvement: Improvement) -> None:
    """Add the routes."""

    def why_not() -> str | None:
        return why_no_finetuning(at.service.labeler.model)

    def answer(state: ImprovementState) -> Response:
        return json_answer(to_json(replace(state, can_finetune=why_not() is None)))

    @at.route("GET", "/improvement", role="read", answer=ImprovementState, takes_slot=False)
    async def get_improvement() -> Response:
        return answer(await asyncio.to_thread(improvement.state))

    @at.route("POST", "/improvement", role="administer", answer=ImprovementState, body=ImprovementJson)
    async def start_improvement(request: Request, user: User) -> Response:
        body = await at.json(request, ImprovementJson)
        if body.finetune and (why := why_not()) is not None:
            raise ServiceFailure("invalid_request", why)
        return answer(await asyncio.to_thread(improvement.start, finetune=body.finetune, by=user))

    @at.route("DELETE", "/improvement", role="administer", answer=ImprovementState, takes_slot=False)
    async def cancel_improvement() -> Response:
        return answer(await asyncio.to_thread(improvement.cancel))
