"""What OpenAPI says of the project's routes, whose bodies and parameters FastAPI doesn't read."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from segvoc_annotate.service.bodies import LONGEST_CHANGE, PROJECT_HEADER, USER_HEADER

FILES: Mapping[str, str] = {
    "GET /v1/project/images/{name:path}": "image/*",
    "GET /v1/project/thumbnails/{name:path}": "image/jpeg",
    "GET /v1/project/tiles/{name:path}": "image/jpeg",
    "GET /v1/project/work/{name:path}": "application/zip",
    "GET /v1/project/differences/{name:path}": "image/png",
    "GET /v1/project/archive": "application/zip",
    "GET /v1/project/exports/{id}/file": "application/zip",
}
"""The media types of answers that are files."""

_TEXT, _NUMBER, _FILE = {"type": "string"}, {"type": "number", "minimum": 0}, {"type": "string", "format": "binary"}
_FLAG = {"type": "string", "enum": ["true", "false"]}
_QUERIES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "GET /v1/project/changes": {"after": _NUMBER, "wait": _NUMBER},
    "GET /v1/project/tiles/{name:path}": {"level": _TEXT, "row": _TEXT, "column": _TEXT},
    "PUT /v1/project/work/{name:path}": {
        "done": _FLAG,
        "draft": {"type": "string", "enum": ["kept"]},
        "rows": {"type": "string", "pattern": "^[0-9]{1,6}-[0-9]{1,6}$"},
    },
    "GET /v1/project/agreement": {"all": _FLAG},
}
_UPLOADS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "PUT /v1/project/work/{name:path}": ("application/zip", _FILE),
    "POST /v1/project/images": (
        "multipart/form-data",
        {"type": "object", "required": ["image"], "properties": {"image": {"type": "array", "items": _FILE}}},
    ),
    "POST /v1/project/import": (
        "multipart/form-data",
        {"type": "object", "required": ["archive"], "properties": {"archive": _FILE, "done": _FLAG, "format": _TEXT}},
    ),
}


def described(method: str, path: str, body: type[BaseModel] | None) -> dict[str, Any]:
    """The operation of a route with a JSON body, if any."""
    route = f"{method} {path}"
    names = re.findall(r"{(\w+)", path)
    queries = {
        **_QUERIES.get(route, {}),
        **({} if method == "GET" else {"change": _TEXT | {"maxLength": LONGEST_CHANGE}}),
    }
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in queries.items()]
    parameters += [{"name": name, "in": "header", "schema": _TEXT} for name in (PROJECT_HEADER, USER_HEADER)]
    if method == "PUT":
        about = "The revision that the change is based on."
        parameters.append({"name": "If-Match", "in": "header", "required": True, "description": about, "schema": _TEXT})
    kind, schema = _UPLOADS.get(route, ("application/json", None if body is None else _whole(body.model_json_schema())))
    content = None if schema is None else {"required": True, "content": {kind: {"schema": schema}}}
    return {"parameters": parameters, **({} if content is None else {"requestBody": content})}


def _whole(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with those that it names in their places."""
    parts = schema.pop("$defs", {})

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(one) for one in value]
        if not isinstance(value, dict):
            return value
        named = parts.get(str(value.get("$ref")).rpartition("/")[2])
        rest = {name: whole(one) for name, one in value.items() if name != "$ref"}
        return rest if named is None else {**whole(named), **rest}

    return whole(schema)
