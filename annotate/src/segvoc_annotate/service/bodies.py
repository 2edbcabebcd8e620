"""Uploads into a project; large files are spooled to disk, within limits."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from fastapi import Request
from starlette.datastructures import UploadFile

from segvoc.serving.answers import ServiceFailure
from segvoc.serving.bodies import FORM, FormParser, body_stream, body_within, check_content_type, parsed_form
from segvoc_annotate.settings import AnnotateSettings

MOST_FILES = 1000
"""Max files per upload."""

_IN_MEMORY = 4_000_000


@contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"uploads can't be kept: {error.strerror or error}; free some space for the service's temporary files"
        raise ServiceFailure("storage", message, status=507) from error


@asynccontextmanager
async def sent_file(request: Request, kind: str, settings: AnnotateSettings) -> AsyncIterator[BinaryIO]:
    """Receive a single-file body, open for reading; `ServiceFailure` if it is too large, slow, or of another type."""
    check_content_type(request, kind)
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        with _spooling():
            async with body_within(settings.transfer_seconds):
                async for chunk in body_stream(request, settings.upload_bytes):
                    file.write(chunk)
        file.seek(0)
        yield cast(BinaryIO, file)


@asynccontextmanager
async def sent_form(
    request: Request, field: str, limit: int, settings: AnnotateSettings, *, most: int = MOST_FILES
) -> AsyncIterator[tuple[Sequence[UploadFile], dict[str, str]]]:
    """Receive the files in a field of a form, in memory or on disk, and its other fields, which are texts.

    `limit` is the maximum of all bytes, `most` of the files. `ServiceFailure` if the form is beyond that, too slow or
    invalid, or lacks the file.
    """
    check_content_type(request, FORM)
    parser = FormParser(request.headers, body_stream(request, limit), max_files=most, max_fields=10)
    with _spooling():
        parsed = await parsed_form(parser, settings.transfer_seconds)
    try:
        files, texts = [], {}
        for name, value in parsed.multi_items():
            if isinstance(value, UploadFile) != (name == field):
                raise ServiceFailure("invalid_request", f"only {field} may be a file; send other fields as text")
            if isinstance(value, UploadFile):
                files.append(value)
            else:
                texts[name] = value
        if not files:
            raise ServiceFailure("invalid_request", f"{field} is missing; send it as a file")
        yield files, texts
    finally:
        await parsed.close()
