"""Request bodies: their schemas (OpenAPI), and reading them into memory within limits."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar, get_type_hints

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from segvoc.inference.label_options import IMAGE_OPTIONS, OPTION_TEXTS, LabelOptions
from segvoc.serving.answers import ServiceFailure, VocabularyName
from segvoc.serving.labeler import VocabularyDefinition
from segvoc.serving.settings import TEXT_BYTES, ServiceSettings
from segvoc.vocabulary import PartVocabulary, Vocabulary

FORM, JSON_BODY = "multipart/form-data", "application/json"

_STRICT = ConfigDict(extra="forbid")
_WORDS = "One word per class, separated by commas, with `=` between synonyms"
_PARTS = "Parts of objects: `dog: head, leg; *: tail` (`*` stands for every object)"

_MODEL_NAME = "Name of one of the service's models (GET /v1/models); by default the first."

Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, Field(min_length=1, json_schema_extra={"format": "word"})]
WordList = Annotated[list[Word], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
PartLists = Annotated[
    dict[Word, Annotated[list[Word], Field(json_schema_extra={"uniqueItems": True})]],
    # an object may have no parts, but not all of them
    Field(min_length=1, json_schema_extra={"not": {"additionalProperties": {"maxItems": 0}}}),
]

FORM_OPTIONS = (*IMAGE_OPTIONS, "stretch")
"""The options of a form."""


def _option_fields() -> dict[str, Any]:
    """The options of `LabelOptions` (which validates them) as request fields."""
    types, defaults = get_type_hints(LabelOptions), {option.name: option.default for option in fields(LabelOptions)}
    return {name: (types[name], Field(defaults[name], **_described(name))) for name in FORM_OPTIONS}


def _described(name: str) -> dict[str, Any]:
    text = OPTION_TEXTS[name]
    bounds = {"minimum": text.minimum, "maximum": text.maximum}
    form = name if name in ("background", "stretch") else None
    more = {name: value for name, value in (bounds | {"format": form}).items() if value is not None}
    return {"description": text.help, "json_schema_extra": more}


class SegmentForm(create_model("LabelFields", __config__=_STRICT, **_option_fields())):
    """An image, the words or parts, and options."""

    image: str = Field(description="The image file.", json_schema_extra={"format": "binary"})
    words: Text | None = Field(
        None,
        description=f"{_WORDS}; or a JSON list with an entry per class.",
        examples=["cat, sofa, wall"],
        json_schema_extra={"format": "words-or-json"},
    )
    parts: Text | None = Field(
        None,
        description=f"{_PARTS}; or a JSON object of lists.",
        examples=["cat: head, tail"],
        json_schema_extra={"format": "parts-or-json"},
    )
    vocabulary: VocabularyName | None = Field(
        None,
        description="Name of a vocabulary, in place of words, parts and background.",
        json_schema_extra={"format": "vocabulary"},
    )
    model: Text | None = Field(None, description=_MODEL_NAME, json_schema_extra={"format": "model"})
    probabilities: bool = Field(
        False, description="Add the probabilities of all classes to a zip: `probabilities.npy`, float32 (K, H, W)."
    )

    @property
    def options(self) -> LabelOptions:
        """The labeling options; `UsageError` if a value is out of range."""
        values = {name: getattr(self, name) for name in FORM_OPTIONS}
        return LabelOptions(**values, return_probabilities=self.probabilities)


class VocabularyJson(BaseModel):
    """A vocabulary to encode."""

    model_config = _STRICT

    words: Annotated[str, Field(min_length=1, json_schema_extra={"format": "words"})] | WordList | None = Field(
        None, description=f"{_WORDS}; or a list.", examples=["cat, sofa, wall", ["cat", "sofa, couch", "wall"]]
    )
    parts: Annotated[str, Field(min_length=1, json_schema_extra={"format": "parts"})] | PartLists | None = Field(
        None, description=f"{_PARTS}; or an object of lists.", examples=["cat: head, tail", {"cat": ["head", "tail"]}]
    )
    background: Text | None = Field(None, **_described("background"), examples=["other"])
    model: Text | None = Field(None, description=_MODEL_NAME, json_schema_extra={"format": "model"})


def request_body(kind: str, model: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI schema (`openapi_extra`) of a body that the service parses itself: content type and model.

    Optional fields are left out, not null, and the classes come in one of three ways: words, parts, or a vocabulary.
    """
    schema = model.model_json_schema()
    schema["properties"] = {name: _without_null(value) for name, value in schema["properties"].items()}
    ways = []
    for way in [name for name in ("words", "parts", "vocabulary") if name in schema["properties"]]:
        unused = ("words", "parts", "background") if way == "vocabulary" else ("vocabulary",)
        ways.append({"required": [way], "properties": {name: False for name in unused}})
    return {"requestBody": {"required": True, "content": {kind: {"schema": {**schema, "anyOf": ways}}}}}


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of an optional field, whose default of None stands for a field that is left out."""
    values = [value for value in field.get("anyOf", ()) if value != {"type": "null"}]
    if len(values) == len(field.get("anyOf", ())):
        return field
    rest = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
    return rest | (values[0] if len(values) == 1 else {"anyOf": values})


# ---- reading

_T = TypeVar("_T")
_MODEL = TypeVar("_MODEL", bound=BaseModel)
_WORD_LIST = TypeAdapter(WordList)
_PART_LISTS = TypeAdapter(PartLists)


@dataclass(frozen=True)
class SegmentCall:
    """A parsed labeling request."""

    image: bytes
    name: str | None
    """Its file name in the form."""
    definition: VocabularyDefinition
    options: LabelOptions
    model: str | None


async def segment_call(request: Request, settings: ServiceSettings) -> SegmentCall:
    """Read the body of POST /v1/segment; raises a `ServiceFailure` or `UsageError` if it can't be used."""
    content_type(request, FORM)
    fields = await _form(request, settings)
    file = fields.get("image")
    if not isinstance(file, tuple):
        raise ServiceFailure("invalid_request", "image is missing; send it as a file")
    name, image = file
    if len(image) > settings.max_bytes:
        raise ServiceFailure("too_large", f"the image file has {len(image)} bytes; send at most {settings.max_bytes}")
    body = _validated(lambda: SegmentForm.model_validate({**fields, "image": ""}), _fields(SegmentForm))
    words = _decoded_if(body.words, "[", _WORD_LIST)
    parts = _decoded_if(body.parts, "{", _PART_LISTS)
    options = body.options
    if body.vocabulary is None:
        definition = _definition(words, parts, options.background, settings)
    elif words is not None or parts is not None or options.background is not None:
        raise ServiceFailure("invalid_request", "a vocabulary includes words, parts and background; omit them")
    else:
        definition = await asyncio.to_thread(_named, body.vocabulary, settings)
    return SegmentCall(image, name, definition, options, body.model)


async def vocabulary_call(request: Request, settings: ServiceSettings) -> tuple[str, VocabularyDefinition, str | None]:
    """Read the body of POST /v1/vocabularies: its name, which every replica can decode, the vocabulary, the model."""
    body = await json_request(request, VocabularyJson, settings, limit=TEXT_BYTES // 2)
    text = body.model_dump_json(exclude_defaults=True, exclude={"model"})
    definition = _definition(body.words, body.parts, body.background, settings)
    return f"v{base64.urlsafe_b64encode(text.encode()).decode()}", definition, body.model


def _named(name: str, settings: ServiceSettings) -> VocabularyDefinition:
    try:
        text = base64.b64decode(name[1:], altchars=b"-_", validate=True)
    except ValueError:
        message = "this isn't a vocabulary's name; POST the words to v1/vocabularies again"
        raise ServiceFailure("invalid_request", message) from None
    body = _json_body(VocabularyJson, text, settings)
    return _definition(body.words, body.parts, body.background, settings)


async def json_request(
    request: Request,
    model: type[_MODEL],
    settings: ServiceSettings,
    *,
    limit: int,
    values: int | None = None,
    lists: int | None = None,
) -> _MODEL:
    """Read a JSON body of at most `limit` bytes; raises a `ServiceFailure` if it can't be used.

    `values` limits its values (None: what a vocabulary may need), `lists` its lists and objects (None: `values`).
    """
    content_type(request, JSON_BODY)
    async with body_within(settings.upload_seconds):
        text = b"".join([chunk async for chunk in body_stream(request, limit)])
    return await asyncio.to_thread(_json_body, model, text, settings, values, lists)


async def discard_body(request: Request, settings: ServiceSettings) -> None:
    """Read and discard a body, within the limits."""
    async with body_within(settings.upload_seconds):
        async for _ in body_stream(request, settings.max_bytes):
            pass


def _definition(words: Any, parts: Any, background: str | None, settings: ServiceSettings) -> VocabularyDefinition:
    if words is None and parts is None:
        raise ServiceFailure("invalid_request", "there are neither words nor parts; give some, such as 'cat, sofa'")
    vocabulary = None if words is None else Vocabulary(words)
    if parts is not None:
        parts = PartVocabulary(parts)
    definition = VocabularyDefinition(vocabulary, parts, background)
    definition.check_size(settings.max_words)
    return definition


def content_type(request: Request, *known: str) -> str:
    """The content type of a body; raises a `ServiceFailure` if it is not among `known`, or compressed."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in known or request.headers.get("content-encoding", "identity") != "identity":
        raise ServiceFailure("unsupported_media_type", f"send the body as {' or '.join(known)}, not compressed")
    return kind


async def _form(request: Request, settings: ServiceSettings) -> dict[str, str | tuple[str | None, bytes]]:
    stream = body_stream(request, settings.max_bytes + TEXT_BYTES)
    parser = ClosingParser(
        request.headers, stream, max_files=1, max_fields=len(SegmentForm.model_fields), max_part_size=TEXT_BYTES
    )
    parser.spool_max_size = 1 << 40  # files stay in memory; the stream limits their size
    parsed = await parsed_form(parser, settings.upload_seconds)
    fields: dict[str, str | tuple[str | None, bytes]] = {}
    try:
        for field, value in parsed.multi_items():
            if field in fields:
                raise ServiceFailure("invalid_request", f"the field {field[:60]!r} is given twice; give it once")
            if isinstance(value, UploadFile) != (field == "image"):
                raise ServiceFailure("invalid_request", "image, and nothing else, is a file; send it so")
            fields[field] = (value.filename, await value.read()) if isinstance(value, UploadFile) else value
    finally:
        parser.close()
    return fields


class ClosingParser(MultiPartParser):
    """A parser that closes all of its files."""

    def close(self) -> None:
        """Close all files, including a truncated one, which the parsed form lacks."""
        for file in self._files_to_close_on_error:
            file.close()


async def body_stream(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a body; raises a `ServiceFailure` if it has more bytes than the limit."""
    failure = ServiceFailure("too_large", f"the body has more than {limit} bytes; send a smaller one")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise failure
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise failure
        yield chunk


@asynccontextmanager
async def body_within(seconds: float) -> AsyncIterator[None]:
    """Context manager with a timeout for reading a body, which raises a `ServiceFailure`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ServiceFailure("upload_timeout", f"the body took more than {seconds:g} s; send it faster") from None


async def parsed_form(parser: MultiPartParser, seconds: float) -> FormData:
    """Parse the fields of a form; raises a `ServiceFailure` if it can't be parsed, or takes too long."""
    try:
        async with body_within(seconds):
            return await parser.parse()
    except MultiPartException as error:
        raise ServiceFailure("bad_request", f"the form can't be read: {error.message}") from None


def _json_body(
    model: type[_MODEL], text: bytes, settings: ServiceSettings, values: int | None = None, lists: int | None = None
) -> _MODEL:
    # empty lists take a hundred times their bytes in memory
    values = values or 100 * settings.max_words
    opened = text.count(b"[") + text.count(b"{")
    if opened > (lists or values) or opened + text.count(b",") > values:
        raise ServiceFailure("too_large", "the body has too many values; send fewer words or tasks")
    return _validated(lambda: model.model_validate_json(text, strict=True), _fields(model))


def _fields(model: type[BaseModel]) -> str:
    return f"the fields are {', '.join(model.model_fields)}"


def _decoded_if(text: str | None, opening: str, adapter: TypeAdapter[Any]) -> Any:
    """Decode a form's words or parts as JSON if they start like JSON."""
    if text is None or not text.lstrip().startswith(opening):
        return text
    return _validated(
        lambda: adapter.validate_json(text, strict=True), "begin a word otherwise if it isn't meant as JSON"
    )


def _validated(validate: Callable[[], _T], fix: str) -> _T:
    try:
        return validate()
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if problem["type"] == "json_invalid":
        raise ServiceFailure("bad_request", f"this isn't valid JSON: {problem['msg']}")
    place = ".".join(str(step)[:60] for step in problem["loc"]) or "the body"
    raise ServiceFailure("invalid_request", f"{place}: {problem['msg']}; {fix}")
