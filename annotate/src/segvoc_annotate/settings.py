"""Settings of the project, the page and the Label Studio routes."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from segvoc import UsageError

WEB = Path(__file__).parent / "web"
"""The built page; its sources are in `annotate/web`."""

MAX_EDITED_PIXELS = 100_000_000
"""Max pixels of a project's images: the page has six bytes for each."""

TOKEN_VARIABLE = "SEGVOC_LABEL_STUDIO_TOKEN"
"""Environment variable with Label Studio's token."""


@dataclass(frozen=True, kw_only=True)
class AnnotateSettings:
    """Served parts and their limits; `UsageError` if Label Studio's address or token is invalid."""

    project: Path | None = None
    """Folder of the project; None: no project."""
    upload_bytes: int = 200_000_000
    """Max bytes of an image upload into the project, and of a work file."""
    archive_bytes: int = 2_000_000_000
    """Max bytes of an imported dataset or project."""
    transfer_seconds: float = 600.0
    """Timeout of these bodies [s]."""
    watchers: int = 200
    """Max concurrent long polls for changes of the project."""
    page: Path = WEB
    """Folder of the web page; no page is served without an index.html in it."""
    backends: tuple[str, ...] = ()
    """Tools whose requests are answered: "label-studio"; an address of Label Studio includes it."""
    label_studio: str | None = None
    """Address of the Label Studio whose images may be fetched; None: fetch no images."""
    label_studio_token: str | None = field(default=None, repr=False)
    fetch_seconds: float = 30.0
    """Timeout for fetching an image from Label Studio [s]."""
    tasks: int = 100
    """Max Label Studio tasks per request."""

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
    """Whether a URL is an HTTP origin, without a path."""
    try:
        place = urlsplit(address)
        known = place.scheme in ("http", "https") and place.hostname and place.port != 0
    except ValueError:
        return False
    return bool(known) and not (place.path.strip("/") or place.query or place.username)


def label_studio_token(file: str | None, option: str) -> str:
    """Read Label Studio's token from a file or the environment; `option` names the file in errors.

    `UsageError` if the token is missing or given twice, or the file can't be read or is empty.
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
