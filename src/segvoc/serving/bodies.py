"""Request bodies: their schemas (OpenAPI), and reading them into memory within limits."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import Annotated, Any, BinaryIO, TypeVar, get_type_hints

from fastapi import Request, UploadFile
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
)
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as FormFile
from starlette.formparsers import MultiPartException, MultiPartParser

from segvoc.inference.label_options import IMAGE_OPTIONS, OPTION_TEXTS, LabelOptions
from segvoc.inference.part_labels import words_with_objects
from segvoc.runtime.suggestions import option_meant
from segvoc.serving.answers import ServiceFailure
from segvoc.serving.labeler import LabelQuery
from segvoc.serving.settings import PIECE_BYTES, TEXT_BYTES, ServiceSettings
from segvoc.storage.files import base64_bytes
from segvoc.vocabulary import PartVocabulary, parts_by_object

FORM, JSON_BODY = "multipart/form-data", "application/json"

LONGEST_WORD = 500
"""Max characters of a word, a part or the background's name: normalizing takes time quadratic in them."""

VALUES_PER_WORD = 20
"""Limits the values of a JSON text, by the number of words that are allowed: synonyms and parts have commas, too."""

CHUNK_BYTES = 4_096
"""Bytes of a body that are parsed before other requests continue."""

_WORDS = "One word per class, separated by commas, with `=` between synonyms"
_PARTS = "Parts of objects: `dog: head, leg; *: tail` (`*` stands for every object)"

Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, Field(min_length=1, json_schema_extra={"format": "word"})]
WordList = Annotated[list[Word], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
PartLists = Annotated[
    dict[Word, Annotated[list[Word], Field(json_schema_extra={"uniqueItems": True})]],
    # an object may have no parts, but not all of them
    Field(min_length=1, json_schema_extra={"not": {"additionalProperties": {"maxItems": 0}}}),
]
ModelName = Annotated[
    Text | None,
    Field(
        description="Name of one of the service's models (GET /v1/models); by default the first.",
        json_schema_extra={"format": "model"},
    ),
]

FORM_OPTIONS = (*IMAGE_OPTIONS, "stretch")
"""The options of a form."""


def _option_field(name: str) -> Any:
    """A request's field for an option of `LabelOptions`, which validates it."""
    text, is_name = OPTION_TEXTS[name], name in ("background", "stretch")
    schema = {"minimum": text.minimum, "maximum": text.maximum, "format": name if is_name else None}
    return Field(
        getattr(LabelOptions(), name),
        description=text.help,
        max_length=LONGEST_WORD if is_name else None,
        json_schema_extra={key: value for key, value in schema.items() if value is not None},
    )


def _add_conditions(schema: dict[str, Any]) -> None:
    """Optional fields are left out, not null, and there are words, parts or both."""
    schema["properties"] = {name: _without_null(value) for name, value in schema["properties"].items()}
    schema["anyOf"] = [{"required": [way]} for way in ("words", "parts")]


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of an optional field, whose default of None stands for a field that is left out."""
    values = [value for value in field.get("anyOf", ()) if value != {"type": "null"}]
    if len(values) == len(field.get("anyOf", ())):
        return field
    rest = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
    return rest | (values[0] if len(values) == 1 else {"anyOf": values})


_OPTION_TYPES = get_type_hints(LabelOptions)
_OPTIONS: dict[str, Any] = {name: (_OPTION_TYPES[name], _option_field(name)) for name in FORM_OPTIONS}


class _SegmentFields(create_model("LabelFields", **_OPTIONS)):
    """What forms and JSON have in common."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_add_conditions)

    model: ModelName = None
    probabilities: bool = Field(
        False, description="Add the probabilities of all classes to a zip: `probabilities.npy`, float32 (K, H, W)."
    )

    def _query(self, words: Any, parts: Any, max_words: int, probabilities: bool) -> LabelQuery:
        if self.probabilities and not probabilities:
            problem = "probabilities are in a zip alone; ask for one (Accept: application/zip), or leave them out"
            raise ServiceFailure("invalid_request", problem)
        values = {name: getattr(self, name) for name in FORM_OPTIONS}
        options = LabelOptions(**values, return_probabilities=self.probabilities)
        words = _decoded_if(words, "[", TypeAdapter(WordList), max_words)
        parts = _decoded_if(parts, "{", TypeAdapter(PartLists), max_words)
        return checked_query(words, parts, options, max_words)


class SegmentRequest(_SegmentFields):
    """An image, the words or parts, and options."""

    image: UploadFile = Field(description="The image file.", json_schema_extra={"format": "binary"})
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

    @property
    def file(self) -> BinaryIO:
        """The image file."""
        return self.image.file

    @property
    def file_name(self) -> str | None:
        """Its name, if the client told it."""
        return self.image.filename

    def query(self, max_words: int, *, probabilities: bool) -> LabelQuery:
        """The query; raises errors as `checked_query`. `probabilities`: whether the answer can hold them."""
        return self._query(self.words, self.parts, max_words, probabilities)


_DATA_URL = re.compile(r"data:[\w.+/-]{0,100};base64,")


def _from_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError("the image is not a text in base64")
    try:
        return base64_bytes(text[prefix.end() :] if (prefix := _DATA_URL.match(text)) else text)
    except ValueError as error:
        raise ValueError(f"the image is not in base64 ({error})") from None


class JsonSegmentRequest(_SegmentFields):
    """The same as JSON, with the image in base64; words may be a list, and parts an object of lists."""

    image: Annotated[bytes, BeforeValidator(_from_base64, json_schema_input_type=str)] = Field(
        description="The image file in base64, or a data URL of it.", json_schema_extra={"format": "image-in-base64"}
    )
    words: Text | WordList | None = Field(
        None, description=f"{_WORDS}; or a list.", json_schema_extra={"format": "words-or-json"}
    )
    parts: Text | PartLists | None = Field(
        None, description=f"{_PARTS}; or an object of lists.", json_schema_extra={"format": "parts-or-json"}
    )

    @field_validator("keep_classes", mode="before")
    @classmethod
    def _as_integer(cls, value: object) -> object:
        # to JSON Schema, 5.0 is an integer
        return int(value) if isinstance(value, float) and value.is_integer() else value

    @property
    def file(self) -> BinaryIO:
        """The image file."""
        return BytesIO(self.image)

    @property
    def file_name(self) -> None:
        """None: JSON has no file names."""

    def query(self, max_words: int, *, probabilities: bool) -> LabelQuery:
        """See `SegmentRequest.query`."""
        return self._query(self.words, self.parts, max_words, probabilities)


def described(models: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """What OpenAPI says of a body that is read here, and not by FastAPI, by its content type."""
    content = {kind: {"schema": model.model_json_schema()} for kind, model in models.items()}
    return {"requestBody": {"required": True, "content": content}}


def checked_query(
    words: str | Sequence[str] | None,
    parts: str | Mapping[str, Sequence[str]] | None,
    options: LabelOptions,
    max_words: int,
) -> LabelQuery:
    """Check words and parts; takes a while, so call it in a thread. `UsageError` or `ServiceFailure`.

    A part of several objects counts for each.
    """
    if words is None and parts is None:
        raise ServiceFailure("invalid_request", "there are neither words nor parts; give some, such as 'cat, sofa'")
    most = 2 * max_words  # an object and its only part are a name each
    names = [*_names(words, ",", most), *_names(parts, ",;:", most)]
    if len(names) > most:
        message = f"there are more than {most} names; this service accepts at most {max_words} words and parts"
        raise ServiceFailure("invalid_request", message)
    if (longest := max(len(name.strip()) for name in names)) > LONGEST_WORD:
        message = f"a word has {longest} characters; the longest may have {LONGEST_WORD}"
        raise ServiceFailure("invalid_request", message)
    of_objects = None if parts is None else PartVocabulary(parts)
    vocabulary = words_with_objects(words, of_objects)
    number = len(vocabulary)
    if of_objects is not None:
        number += sum(map(len, parts_by_object(vocabulary.words, of_objects.parts)))
    if number > max_words:
        message = f"there are {number} words and parts of objects; this service accepts at most {max_words}"
        raise ServiceFailure("invalid_request", message)
    return LabelQuery(vocabulary, of_objects, options)


def _names(
    given: str | Sequence[str] | Mapping[str, Sequence[str]] | None, separators: str, most: int
) -> Sequence[str]:
    if isinstance(given, str):
        return re.split(f"[{separators}\r\n]", given, maxsplit=most)
    if isinstance(given, Mapping):
        return [*given, *(part for parts in given.values() for part in parts)]
    return given or ()


_T = TypeVar("_T")
_MODEL = TypeVar("_MODEL", bound=BaseModel)


_NUMBER_LIST = re.compile(rb"\[[\d.,\s-]{64,}+\]")


def _decoded_if(text: object, opening: str, adapter: TypeAdapter[Any], max_words: int) -> Any:
    """Decode a request's words or parts as JSON if they are text that starts like JSON."""
    if not isinstance(text, str) or not text.lstrip().startswith(opening):
        return text
    return _decoded(
        adapter, text.encode(), "begin a word otherwise if it isn't meant as JSON", VALUES_PER_WORD * max_words
    )


def _decoded(adapter: TypeAdapter[_T], text: bytes, fix: str, values: int, flat: int | None = None) -> _T:
    """Decode JSON; `flat` limits the values beyond ten of each object and list: reporting wrong ones takes a while."""
    # empty lists take a hundred times their bytes in memory
    opened, commas = text.count(b"[") + text.count(b"{"), text.count(b",")
    number = max(opened + commas, text.count(b'"') // 2)
    if number > values or (flat is not None and commas > flat + 10 * opened):
        raise _too_many_values()
    with _naming_fields(fix):
        return adapter.validate_json(text, strict=True)


def _too_many_values() -> ServiceFailure:
    return ServiceFailure("too_large", "the body has too many values; send fewer words or tasks")


def _pieces(text: bytes) -> Iterator[bytes]:
    """JSON cut before brackets, so that other threads have a turn between searches for lists of numbers."""
    start = 0
    while start < len(text):
        end = text.find(b"[", start + PIECE_BYTES)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end


_FEW = "too_short"
_SAID = {_FEW: "has no entry; give one or more", "string_type": "isn't a text; write words as text"}
"""What we say of Pydantic's types of errors in fields of several types."""


@contextmanager
def _naming_fields(fix: str) -> Iterator[None]:
    """Turn the first of Pydantic's errors into a `ServiceFailure`."""
    try:
        yield
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        # of the types that a field may have, the one that fits best says most
        same = [each for each in problems if each["loc"][:1] == problems[0]["loc"][:1]]
        problem = max(same, key=lambda each: (any(isinstance(step, int) for step in each["loc"]), each["type"] == _FEW))
        if problem["type"] == "json_invalid":
            raise ServiceFailure("bad_request", f"this isn't valid JSON: {problem['msg']}") from None
        path = [step for step in problem["loc"] if not (isinstance(step, str) and re.search(r"[-\[]", step))]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{str(step)[:60]}" for step in path).lstrip(".")
        place = place or "the body"
        if problem["type"] == "extra_forbidden":
            ours = option_meant(place, re.findall(r"\w+", fix))
            meant = f" (did you mean {ours}?)" if ours else f"; {fix}"
            raise ServiceFailure("invalid_request", f"unknown field {place!r}{meant}") from None
        if problem["type"] == "missing":
            raise ServiceFailure("invalid_request", f"{place} is missing; send it") from None
        if len(same) > 1 and problem["type"] in _SAID:
            raise ServiceFailure("invalid_request", f"{place} {_SAID[problem['type']]}") from None
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "value_error" and place == "image":
            is_text = said.startswith("Expected UploadFile")
            said = "image is a text; send the file: curl -F image=@photo.jpg" if is_text else said
            raise ServiceFailure("invalid_request", said) from None
        raise ServiceFailure("invalid_request", f"{place}: {said}; {fix}") from None


def _known(model: type[BaseModel]) -> str:
    """What an error says of the fields that there are."""
    return f"the fields are {', '.join(model.model_fields)}"


# ---- reading


@asynccontextmanager
async def segment_request(
    request: Request, settings: ServiceSettings
) -> AsyncIterator[SegmentRequest | JsonSegmentRequest]:
    """Read a form or JSON into memory; raises a `ServiceFailure` if it is too large, too slow or invalid."""
    check_content_type(request, FORM, JSON_BODY)
    if parse_options_header(request.headers["content-type"])[0].decode() == JSON_BODY:
        limit = -(-settings.max_bytes // 3) * 4 + TEXT_BYTES
        decoded = await json_request(request, JsonSegmentRequest, settings, limit=limit)
        _check_image_size(len(decoded.image), settings)
        yield decoded
        return
    stream = body_stream(request, settings.max_bytes + TEXT_BYTES)
    fields = len(SegmentRequest.model_fields)
    parser = FormParser(request.headers, stream, max_files=1, max_fields=fields, max_part_size=TEXT_BYTES)
    parser.spool_max_size = 1 << 40  # files stay in memory; the stream limits their size
    form = await parsed_form(parser, settings.upload_seconds)
    try:
        for name, value in form.multi_items():
            if len(form.getlist(name)) > 1 or value == "":
                message = f"the field {name[:60]!r} is empty or given twice; give it once"
                raise ServiceFailure("invalid_request", message)
            if isinstance(value, FormFile):
                _check_image_size(value.size or 0, settings)
        with _naming_fields(_known(SegmentRequest)):
            validated = SegmentRequest.model_validate(dict(form))
        yield validated
    finally:
        await form.close()


def _check_image_size(size: int, settings: ServiceSettings) -> None:
    if size > settings.max_bytes:
        message = f"the image file has {size} bytes; send at most {settings.max_bytes}"
        raise ServiceFailure("too_large", message)


class FormParser(MultiPartParser):
    """Refuses texts that aren't UTF-8, which Starlette takes for Latin-1."""

    def on_part_begin(self) -> None:
        """Begin a part without bytes."""
        super().on_part_begin()
        self.part_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Count the bytes of a part."""
        super().on_part_data(data, start, end)
        self.part_bytes += end - start

    def on_part_end(self) -> None:
        """Refuse a text that has other bytes in UTF-8."""
        super().on_part_end()
        _, value = self.items[-1]
        if isinstance(value, str) and len(value.encode()) != self.part_bytes:
            raise MultiPartException("a text is not UTF-8; encode it so")


async def parsed_form(parser: FormParser, seconds: float) -> FormData:
    """Parse the fields of a form; raises a `ServiceFailure` if it can't be parsed, or takes too long."""
    try:
        async with body_within(seconds):
            return await parser.parse()
    except MultiPartException as error:
        raise ServiceFailure("bad_request", f"the form can't be read: {error.message}") from None


async def json_request(
    request: Request,
    model: type[_MODEL],
    settings: ServiceSettings,
    *,
    limit: int,
    values: int | None = None,
    number_lists: bool = True,
) -> _MODEL:
    """Read a JSON body of at most `limit` bytes; raises a `ServiceFailure` if it can't be used.

    `values` limits its values (None: what words may need). Without `number_lists`, long lists of numbers are
    dropped before they are counted and parsed.
    """
    check_content_type(request, JSON_BODY)
    async with body_within(settings.upload_seconds):
        text = b"".join([chunk async for chunk in body_stream(request, limit)])
    most = values or VALUES_PER_WORD * settings.max_words

    def decoded() -> _MODEL:
        if text.count(b"[") > most:
            raise _too_many_values()
        needed = text if number_lists else b"".join(_NUMBER_LIST.sub(b"[]", piece) for piece in _pieces(text))
        return _decoded(TypeAdapter(model), needed, _known(model), most, flat=VALUES_PER_WORD * settings.max_words)

    return await asyncio.to_thread(decoded)


async def discard_body(request: Request, settings: ServiceSettings) -> None:
    """Read and discard a body, within the limits."""
    async with body_within(settings.upload_seconds):
        async for _ in body_stream(request, settings.max_bytes):
            pass


def check_content_type(request: Request, *known: str) -> None:
    """`ServiceFailure` if a body's content type is not among `known`, or the body is compressed or not UTF-8."""
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    if kind.decode() not in known or request.headers.get("content-encoding", "identity") != "identity":
        raise ServiceFailure("unsupported_media_type", f"send the body as {' or '.join(known)}, not compressed")
    # some of Python's charsets take quadratic time
    if parameters.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise ServiceFailure("unsupported_media_type", "texts are in UTF-8; leave out the charset")


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
        for start in range(0, len(chunk), CHUNK_BYTES):
            yield chunk[start : start + CHUNK_BYTES]
            await asyncio.sleep(0)  # lets other requests run


@asynccontextmanager
async def body_within(seconds: float) -> AsyncIterator[None]:
    """Context manager with a timeout for reading a body, which raises a `ServiceFailure`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ServiceFailure("upload_timeout", f"the body took more than {seconds:g} s; send it faster") from None
