"""Request bodies of the project's routes; large files are spooled to disk, within limits."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast
from urllib.parse import unquote

from fastapi import Request
from starlette.datastructures import UploadFile

from segvoc.serving.answers import ServiceFailure
from segvoc.serving.bodies import FORM, FormParser, body_stream, body_within, check_content_type, parsed_form
from segvoc_annotate.projects.project import SOMEONE
from segvoc_annotate.settings import AnnotateSettings

USER_HEADER = "X-Segvoc-User"
"""Header with the annotator's name, percent-encoded; an API key has a name of its own."""

PROJECT_HEADER = "X-Segvoc-Project"
"""Header with the id of the project: of the one that answers, and of the one that the caller means."""

MOST_FILES = 1000
"""Max files per upload."""

LONGEST_CHANGE = 64
"""Max characters of a change's id."""

_IN_MEMORY = 4_000_000
_REVISION = re.compile(r'(?:W/)?"?(\d{1,15})"?')


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


def expected_revision(request: Request) -> int:
    """Parse the caller's revision from the header If-Match; `ServiceFailure` if it is missing or not a number."""
    found = _REVISION.fullmatch(request.headers.get("if-match", "").strip())
    if found is None:
        raise ServiceFailure(
            "invalid_request", "If-Match is missing or not a revision; send the revision that the change is based on"
        )
    return int(found[1])


def change_of(request: Request) -> str | None:
    """The caller's id of a change, from the query; None: it has none. `ServiceFailure` if it is too long."""
    change = request.query_params.get("change")
    if change is not None and not 0 < len(change) <= LONGEST_CHANGE:
        raise ServiceFailure("invalid_request", f"change has {len(change)} characters; send 1 to {LONGEST_CHANGE}")
    return change


def user_of(request: Request) -> str:
    """The name of the request's API key; without keys, the one that the caller gives, on one line."""
    if request.state.key is not None:
        return request.state.key.name
    name = " ".join(unquote(request.headers.get(USER_HEADER, "")).split())
    return "".join(character for character in name if character.isprintable())[:64].strip() or SOMEONE


def whole_number(request: Request, name: str, default: float, most: float) -> float:
    """Parse a number >= 0 from the query; `ServiceFailure` if it isn't one."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:
        raise ServiceFailure("invalid_request", f"{name}={text[:40]!r} is not a number >= 0")
    return min(number, most)
