"""Reading the bodies of requests into memory, within limits of size and time."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, TypeAdapter
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as FormFile
from starlette.formparsers import MultiPartException, MultiPartParser

from segvoc.serving.answers import ServiceFailure
from segvoc.serving.json_values import VALUES_PER_WORD, decoded_json, known_fields, naming_fields, too_many_values
from segvoc.serving.schemas import JsonSegmentRequest, SegmentRequest
from segvoc.serving.settings import PIECE_BYTES, TEXT_BYTES, ServiceSettings

FORM, JSON_BODY = "multipart/form-data", "application/json"

CHUNK_BYTES = 4_096
"""Bytes of a body that are parsed before other requests continue."""

_NUMBER_LIST = re.compile(rb"\[[\d.,\s-]{64,}+\]")

_MODEL = TypeVar("_MODEL", bound=BaseModel)


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
        with naming_fields(known_fields(SegmentRequest)):
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
            raise too_many_values()
        needed = text if number_lists else b"".join(_NUMBER_LIST.sub(b"[]", piece) for piece in _pieces(text))
        return decoded_json(
            TypeAdapter(model), needed, known_fields(model), most, flat=VALUES_PER_WORD * settings.max_words
        )

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


def _pieces(text: bytes) -> Iterator[bytes]:
    """JSON cut before brackets, so that other threads have a turn between searches for lists of numbers."""
    start = 0
    while start < len(text):
        end = text.find(b"[", start + PIECE_BYTES)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end
