"""What the API's description (OpenAPI) tells of each address, with examples, and what it tells of the model."""

import base64
import io
from collections.abc import Mapping
from typing import Any

from fastapi.responses import PlainTextResponse
from PIL import Image
from pydantic import BaseModel

from segvoc.inference.segmenter import Segmenter
from segvoc.serving import schemas
from segvoc.serving.answers import JSON, PNG, ZIP
from segvoc.serving.bodies import FORM, JSON_BODY
from segvoc.serving.failures import FAILURES

BINARY = {"schema": {"type": "string", "format": "binary"}}
ANYWHERE = ("unauthorized", "forbidden", "internal")
OF_BODIES = ("bad_request", "upload_timeout", "too_large", "unsupported_media_type", "invalid_request")
OF_WORK = ("queue_full", "busy", "timeout")


def _example_image() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 60)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def failure_answers(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The failures that an address may answer with, by their codes."""
    told: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, text = FAILURES[code]
        example = {"error": {"code": code, "message": text, "request_id": "9f2c4e6a8b0d1f35"}}
        entry = told.setdefault(status, {"model": schemas.FailureAnswer, "description": text, "content": {JSON: {}}})
        if text not in entry["description"]:
            entry["description"] += f" Or: {text}"
        entry["content"][JSON].setdefault("examples", {})[code] = {"value": example}
    return told


def _schema(model: type[BaseModel], kind: str) -> dict[str, Any]:
    schema = _without_references(model.model_json_schema())
    if kind == FORM:
        # a field of a form is there or not, but never null
        for field in schema["properties"].values():
            options = [option for option in field.pop("anyOf", ()) if option != {"type": "null"}]
            field |= options[0] if len(options) == 1 else {"anyOf": options} if options else {}
            if field.get("default", 0) is None:
                del field["default"]
    return schema


def _without_references(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with what it refers to in place, since its own definitions can't be found in the API's description."""
    definitions = schema.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        name = str(value.get("$ref", "")).rpartition("/")[2]
        return resolved(definitions[name]) if name else {key: resolved(entry) for key, entry in value.items()}

    return resolved(schema)


def body(content: Mapping[str, tuple[type[BaseModel], Mapping[str, object]]]) -> dict[str, Any]:
    """The body that an address takes: a model and examples by its type."""
    described = {
        kind: {
            "schema": _schema(model, kind),
            "examples": {name: {"value": value} for name, value in examples.items()},
        }
        for kind, (model, examples) in content.items()
    }
    return {"requestBody": {"required": True, "content": {kind: _pruned(entry) for kind, entry in described.items()}}}


def _pruned(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if value}


DESCRIPTIONS: Mapping[str, dict[str, Any]] = {
    "/v1/segment": {
        "summary": "Label an image",
        "description": "Labels every pixel of an image with one of the words. The header Accept chooses the answer: "
        "the report with a mask for each class (application/json), the label map (image/png), or both with the "
        "confidence and an overlay (application/zip).",
        "operation_id": "segment",
        "responses": {
            200: {
                "model": schemas.SegmentAnswer,
                "description": "The labeled image.",
                "content": {PNG: BINARY, ZIP: BINARY},
            },
            **failure_answers(*ANYWHERE, *OF_BODIES, "invalid_image", "not_found", "not_acceptable", *OF_WORK),
        },
        "openapi_extra": body(
            {
                FORM: (schemas.SegmentForm, {}),
                JSON_BODY: (
                    schemas.SegmentJson,
                    {
                        "words": {"image": _example_image(), "words": "grass, sky"},
                        "parts": {
                            "image": _example_image(),
                            "words": ["cat", "sofa, couch"],
                            "parts": {"cat": ["head", "tail"]},
                            "background": "other",
                            "threshold": 0.4,
                        },
                    },
                ),
            }
        ),
    },
    "/v1/vocabularies": {
        "summary": "Encode a vocabulary",
        "description": "Encodes words once and keeps them under a name, which POST /v1/segment takes in their place. "
        "Equal vocabularies have equal names. The oldest are forgotten.",
        "operation_id": "add_vocabulary",
        "status_code": 201,
        "responses": {
            201: {"model": schemas.VocabularyAnswer, "description": "The vocabulary's name."},
            **failure_answers(*ANYWHERE, *OF_BODIES, *OF_WORK),
        },
        "openapi_extra": body(
            {
                JSON_BODY: (
                    schemas.VocabularyJson,
                    {"words": {"words": "cat, sofa, wall"}, "background": {"words": ["cat"], "background": "other"}},
                )
            }
        ),
    },
    "/v1/models": {
        "summary": "The model and the limits",
        "operation_id": "models",
        "responses": {200: {"model": schemas.ModelsAnswer, "description": "The model."}, **failure_answers(*ANYWHERE)},
    },
    "/metrics": {
        "summary": "Metrics for Prometheus",
        "operation_id": "metrics",
        "response_class": PlainTextResponse,
        "responses": {200: {"description": "The metrics."}, **failure_answers(*ANYWHERE)},
    },
    "/healthz": {
        "summary": "Whether the process is alive",
        "operation_id": "healthz",
        "responses": {
            200: {"model": schemas.HealthAnswer, "description": "It is."},
            **failure_answers("forbidden", "busy"),
        },
    },
    "/readyz": {
        "summary": "Whether the service takes requests",
        "operation_id": "readyz",
        "responses": {
            200: {"model": schemas.HealthAnswer, "description": "It does."},
            **failure_answers("forbidden", "busy"),
        },
    },
}
"""What the API's description tells of each address; arguments of FastAPI's routes."""


def model_facts(model: Segmenter) -> dict[str, Any]:
    """What GET /v1/models tells of a model; see `ModelAnswer`."""
    network = getattr(model, "network", None)
    record = model.origin.get("record")
    license = record.get("license") if isinstance(record, dict) else None
    if network is not None:
        from segvoc.models.presets import PRESETS  # here, since it needs PyTorch

        preset = PRESETS.get(str(model.origin.get("preset")))
        if preset is not None and preset.shipped:
            license = preset.read_record().get("license")
        elif preset is not None and preset.published is not None:
            license = preset.published.license
    return {
        "name": model.name,
        "parameters": None if network is None else sum(value.numel() for value in network.parameters()),
        "dtype": model.dtype,
        "parts": True,
        "windows": list(model.protocols),
        "license": license,
        "batch": model.batch,
        "taught": list(dict.fromkeys(word for one in model.taught for word in one.words)),
        "taught_files": [one.digest for one in model.taught],
    }
