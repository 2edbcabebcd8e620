"""What is served beside the model: a project, the page, and Label Studio's addresses."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from segvoc import UsageError
from segvoc_annotate.static_page import WEB

TOKEN_VARIABLE = "SEGVOC_LABEL_STUDIO_TOKEN"
"""Environment variable with Label Studio's token."""


@dataclass(frozen=True, kw_only=True)
class AnnotateSettings:
    """What is served, and its limits.

    Raises:
        UsageError: Label Studio's address or its token isn't one.
    """

    project: Path | None = None
    """Folder of the project; None: none is served."""
    upload_bytes: int = 200_000_000
    """Bytes of one upload of images into the project, and of what is known of an image."""
    archive_bytes: int = 2_000_000_000
    """Bytes of a dataset or project that is imported."""
    transfer_seconds: float = 600.0
    """Time for such a body [s]."""
    watchers: int = 200
    """Requests that may wait for changes of the project."""
    page: Path = WEB
    """Folder of the web page; without an index.html in it, the service has no page."""
    label_studio: str | None = None
    """Address of the Label Studio whose images may be fetched; None: none is."""
    label_studio_token: str | None = field(default=None, repr=False)
    fetch_seconds: float = 30.0
    """Time for fetching an image from Label Studio [s]."""
    tasks: int = 100
    """Tasks of Label Studio's in one request."""

    def __post_init__(self) -> None:
        address, token = self.label_studio, self.label_studio_token
        if address is not None and not _is_origin(address):
            raise UsageError(
                f"{address!r} is not the address of a Label Studio; give one such as 'https://labels.example.com'"
            )
        if address is None and token is not None:
            raise UsageError("Label Studio's token is given without its address; give both, or neither")
        if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
            raise UsageError("Label Studio's token isn't one line of ASCII; copy it again from your account")


def _is_origin(address: str) -> bool:
    """Whether a URL names a server of HTTP, and nothing on it."""
    try:
        place = urlsplit(address)
        known = place.scheme in ("http", "https") and place.hostname and place.port != 0
    except ValueError:
        return False
    return bool(known) and not (place.path.strip("/") or place.query or place.username)


def label_studio_token(file: str | None, option: str) -> str:
    """Label Studio's token from a file or the environment.

    Args:
        file: the file, if any.
        option: where the file is given, for errors.

    Raises:
        UsageError: there is none, both are given, or the file can't be read or is empty.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is not None and file is not None:
        raise UsageError(f"both {TOKEN_VARIABLE} and {option} are given; give one of them")
    if file is not None:
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"the file of the token, {file!r}, can't be read: {reason}; check the path") from None
        if not token:
            raise UsageError(f"the file of the token, {file!r}, is empty; write it there")
    if token is None:
        raise UsageError(f"Label Studio's token is missing; set {TOKEN_VARIABLE} or give {option} a file with it")
    return token
