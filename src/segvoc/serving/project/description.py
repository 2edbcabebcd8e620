"""What the API's description (OpenAPI) says about a project's addresses; arguments of FastAPI's routes."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from segvoc.formats.names import FORMAT_NAMES
from segvoc.serving.answers import ZIP
from segvoc.serving.bodies import FORM, JSON_BODY
from segvoc.serving.description import ANYWHERE, BINARY, OF_BODIES, body, failure_answers
from segvoc.serving.project import schemas

_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_NAME |= {"description": "Path of the image below the folder of the images, percent-encoded."}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "The revision that the change goes on from; 0: there was none.",
    "schema": {"type": "string", "pattern": '^"[0-9]{1,9}"$'},
    "example": '"7"',
}
_USER = {
    "name": "X-Segvoc-User",
    "in": "header",
    "description": "Who labels, percent-encoded.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9%._~-]{0,60}$"},
}
_READING = (*ANYWHERE, "damaged")
_CHANGING = (*ANYWHERE, "damaged", "busy", "storage")


def _query(name: str, text: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _described(
    summary: str,
    answer: type[BaseModel] | str,
    codes: tuple[str, ...],
    *,
    about: str = "",
    parameters: tuple[Mapping[str, Any], ...] = (),
    takes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    if isinstance(answer, str):
        success: dict[str, Any] = {"description": "The file.", "content": {answer: BINARY}}
    else:
        success = {"model": answer, "description": "How it is now."}
    responses = {200: success, **failure_answers(*codes)}
    for status in (409, 412):
        if status in responses:
            responses[status]["model"] = schemas.ConflictAnswer
    name = summary.lower().replace(" ", "_").replace("'", "")
    extra = {**(takes or {}), **({"parameters": list(parameters)} if parameters else {})}
    described = {"summary": summary, "operation_id": f"project_{name}", "responses": responses, "openapi_extra": extra}
    return described | ({"description": about} if about else {})


_CHANGED = (*_CHANGING, *OF_BODIES, "conflict")

PROJECT_DESCRIPTIONS: Mapping[str, dict[str, Any]] = {
    "GET /v1/project": _described(
        "The project and its images",
        schemas.ProjectAnswer,
        (*_READING, "busy"),
        about="The header ETag has the project's revision, for If-Match.",
    ),
    "PUT /v1/project": _described(
        "Change name words or options",
        schemas.ProjectAnswer,
        _CHANGED,
        parameters=(_IF_MATCH, _USER),
        takes=body({JSON_BODY: (schemas.ProjectJson, {})}),
    ),
    "GET /v1/project/changes": _described(
        "What has changed",
        schemas.ChangesAnswer,
        (*_READING, "invalid_request", "busy"),
        about="With `wait`, the answer comes when something changes, or after so many seconds, at most 25.",
        parameters=(_query("after", "Number of the last change that is known."), _query("wait", "Seconds to wait.")),
    ),
    "POST /v1/project/images": _described(
        "Add images",
        schemas.AddedAnswer,
        (*_CHANGING, *OF_BODIES),
        parameters=(_USER,),
        takes=body({FORM: (schemas.ImagesForm, {})}),
    ),
    "GET /v1/project/images/{name}": _described("An image", "image/*", (*_READING, "not_found"), parameters=(_NAME,)),
    "DELETE /v1/project/images/{name}": _described(
        "Move an image to the trash",
        schemas.RemovedAnswer,
        (*_CHANGING, "not_found", "invalid_request"),
        parameters=(_NAME, _USER),
    ),
    "POST /v1/project/restored/{name}": _described(
        "Put an image back",
        schemas.StateAnswer,
        (*_CHANGING, "not_found", "invalid_request", "invalid_image"),
        parameters=(_NAME, _USER),
    ),
    "GET /v1/project/thumbnails/{name}": _described(
        "A thumbnail", "image/jpeg", (*_READING, "not_found", "invalid_image", "busy"), parameters=(_NAME,)
    ),
    "GET /v1/project/work/{name}": _described(
        "What is known of an image's pixels",
        ZIP,
        (*_READING, "not_found", "busy"),
        about="The header ETag has the image's revision, for If-Match. docs/reference/files.md describes the zip.",
        parameters=(_NAME,),
    ),
    "PUT /v1/project/work/{name}": _described(
        "Write what is known of an image's pixels",
        schemas.StateAnswer,
        (*_CHANGED, "not_found", "done"),
        parameters=(_NAME, _IF_MATCH, _USER),
        takes={"requestBody": {"required": True, "content": {ZIP: BINARY}}},
    ),
    "PUT /v1/project/done/{name}": _described(
        "Mark an image as done or reopen it",
        schemas.StateAnswer,
        (*_CHANGED, "not_found"),
        parameters=(_NAME, _IF_MATCH, _USER),
        takes=body({JSON_BODY: (schemas.DoneJson, {"done": {"done": True}})}),
    ),
    "POST /v1/project/import": _described(
        "Import a dataset or another project",
        schemas.AddedAnswer,
        (*_CHANGING, *OF_BODIES),
        about="Images that the project has already keep their labels.",
        parameters=(_USER,),
        takes=body({FORM: (schemas.ImportForm, {})}),
    ),
    "GET /v1/project/export": _described(
        "The labels as a dataset with the images",
        ZIP,
        (*_READING, "invalid_request"),
        parameters=(
            {
                "name": "format",
                "in": "query",
                "required": True,
                "schema": {"type": "string", "enum": list(FORMAT_NAMES)},
            },
            {
                "name": "all",
                "in": "query",
                "description": "`true`: also images that aren't done.",
                "schema": {"type": "string", "enum": ["true", "false"]},
            },
        ),
    ),
    "GET /v1/project/improvement": _described(
        "How far improving the model is", schemas.ImprovementAnswer, (*_READING, "busy")
    ),
    "POST /v1/project/improvement": _described(
        "Improve the model with the images that are done",
        schemas.ImprovementAnswer,
        (*_CHANGING, *OF_BODIES),
        about="It goes on in a process of its own; if one runs already, the answer is about that one.",
        parameters=(_USER,),
        takes=body({JSON_BODY: (schemas.ImprovementJson, {"teach": {"finetune": False}})}),
    ),
    "DELETE /v1/project/improvement": _described(
        "Cancel improving the model", schemas.ImprovementAnswer, (*_CHANGING,)
    ),
    "GET /v1/project/archive": _described("The whole project as a zip", ZIP, (*_READING, "busy")),
}
"""What the API's description says about each method and address."""
