"""Settings of the service: how much it takes on, how long it waits, and who may use it."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from segvoc.errors import UsageError

KEY_VARIABLE = "SEGVOC_API_KEY"
"""Environment variable with the API key."""

TOKEN_VARIABLE = "SEGVOC_LABEL_STUDIO_TOKEN"
"""Environment variable with Label Studio's token."""

SHORTEST_KEY = 16
"""Characters of the shortest API key that is accepted."""

TEXT_BYTES = 1_000_000
"""Bytes of a request beside the image: words, parts and other options."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of one process of the service; the defaults suit a machine that strangers can reach.

    Raises:
        UsageError: a number is not positive, the API key is too short or not printable ASCII, or Label Studio's address
            or token isn't one.
    """

    queue: int = 16
    """Images and vocabularies that may wait for the model; more get 429."""
    batch: int | None = None
    """Images with equal vocabulary and options that go through the network together; None: the model's own (1 on a CPU,
    8 on a GPU)."""
    batch_wait: float = 0.005
    """Time that an incomplete batch waits for further images [s]."""
    requests: int = 64
    """Requests that may be open at once, from their headers to the end of their answer; more get 503."""
    connections: int = 512
    """Connections that may be open at once; further ones are closed."""
    max_bytes: int = 20_000_000
    """Bytes of the largest image file."""
    max_pixels: int = 25_000_000
    """Pixels of the largest image, and values of the largest array of probabilities."""
    max_words: int = 500
    """Words of a vocabulary; a part of several objects counts for each."""
    vocabularies: int = 64
    """Vocabularies that keep their names (those added last), and that stay encoded (those used last)."""
    header_seconds: float = 10.0
    """Time for the headers of a request [s]."""
    upload_seconds: float = 30.0
    """Time for the body of a request [s]."""
    queue_seconds: float = 60.0
    """Time that a request may wait for the model [s]; then it gets 503."""
    run_seconds: float = 300.0
    """Time for labeling a batch [s]; then its requests get 504, and the service reports itself as unhealthy."""
    download_seconds: float = 30.0
    """Time in which a client reads 100 kB of its answer, or the rest of it [s]."""
    stop_seconds: float = 120.0
    """Time for answering what was accepted after SIGTERM [s]."""
    api_key: str | None = field(default=None, repr=False)
    """The key that requests have to show; None: none."""
    hosts: tuple[str, ...] = ()
    """Names by which clients may address the service (the header Host); empty: any."""
    label_studio: str | None = None
    """Address of the Label Studio whose images may be fetched; None: none is."""
    label_studio_token: str | None = field(default=None, repr=False)
    fetch_seconds: float = 30.0
    """Time for fetching an image from Label Studio [s]."""
    project: Path | None = None
    """Folder of the project that is served; None: none is."""
    upload_bytes: int = 200_000_000
    """Bytes of one upload of images into the project, and of what is known of an image."""
    archive_bytes: int = 2_000_000_000
    """Bytes of a dataset or project that is imported."""
    transfer_seconds: float = 600.0
    """Time for such a body [s]."""
    watchers: int = 200
    """Requests that may wait for changes of the project."""
    tasks: int = 100
    """Tasks of Label Studio's in one request."""
    page: Path = Path(__file__).parent.parent / "web"
    """Folder of the web page; without an index.html in it, the service has no page."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int | float) or (name == "batch_wait" and value == 0):
                continue
            if not 0 < value < math.inf:
                raise UsageError(f"{name}={value} is not positive; give a number above 0")
        key = self.api_key
        if key is not None and (len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()) or " " in key):
            raise UsageError(
                f"the API key is not {SHORTEST_KEY} or more characters of ASCII without spaces; "
                "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        self._check_label_studio()

    def _check_label_studio(self) -> None:
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


def read_secret(what: str, file: str | None, variable: str, option: str) -> str | None:
    """A secret from a file or the environment.

    Args:
        what: what errors call it.
        file: the file, if any.
        variable: the environment variable.
        option: where the file is given, for errors.

    Raises:
        UsageError: both are given, or the file can't be read or is empty.
    """
    value = os.environ.get(variable)
    if file is None:
        return value or None
    if value:
        raise UsageError(f"both {variable} and {option} are given; give one of them")
    try:
        secret = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"the file of the {what}, {file!r}, can't be read: {reason}; check the path") from None
    if not secret:
        raise UsageError(f"the file of the {what}, {file!r}, is empty; write it there")
    return secret


def read_label_studio_token(file: str | None, option: str) -> str:
    """Label Studio's token from a file or the environment.

    Args:
        file: the file, if any.
        option: where the file is given, for errors.

    Raises:
        UsageError: there is none, both are given, or the file can't be read or is empty.
    """
    token = read_secret("token", file, TOKEN_VARIABLE, option)
    if token is None:
        raise UsageError(f"Label Studio's token is missing; set {TOKEN_VARIABLE} or give {option} a file with it")
    return token
