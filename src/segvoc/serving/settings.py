"""Settings of the service: limits, timeouts and API keys; and extensions by other distributions."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import click

from segvoc.errors import UsageError

KEY_VARIABLE = "SEGVOC_API_KEY"

PIECE_BYTES = 1_000_000
"""Bytes of a body or an answer that are processed before other threads, or requests, continue."""

TEXT_BYTES = 1_000_000
"""Maximum size of a request without the image [bytes]: words, parts and other options."""

SHORTEST_KEY = 16

AddRoutes = Callable[[Any, Any], AbstractAsyncContextManager[None]]
"""Adds routes to the application (`FastAPI`) of a `Service`, and returns a context manager that is entered after the
model is loaded and exited when the service stops."""

ROLES = ("label", "read", "annotate", "administer")
"""What an API key may do, each also what stands before it: label images; read the project; change its images and
labels; and delete, import and improve."""

_MAY_BE_0 = ("batch_wait", "image_cache")

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-fA-F:.]+\](:\d{1,5})?")

_LINE = re.compile(
    rf"([A-Za-z0-9][A-Za-z0-9._@-]{{0,63}}):\s+(\S+)(?:\s+({'|'.join(ROLES)}))?(?:\s+([1-9][0-9]{{0,8}})/min)?"
)


class KeyHolder(NamedTuple):
    """Whose API key it is, and what it may do."""

    name: str
    role: str = ROLES[-1]
    """One of `ROLES`."""
    rate: int | None = None
    """Max requests per minute; None: `ServiceSettings.key_rate`."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of the service; `segvoc serve` has options for the first few.

    Raises:
        UsageError: a number is not positive, an origin isn't scheme and host, an API key is too short or not printable
            ASCII, or the API key file can't be read.
    """

    queue: int = 16
    """Max queued images (429 beyond)."""
    api_key: str | None = field(default=None, repr=False)
    """The API key that requests need; None: no key, or the file's keys."""
    api_key_file: Path | None = None
    """A file with a single key, or with lines "NAME: KEY ROLE RATE"; ROLE and RATE ("60/min") may be missing."""
    key_rate: int | None = None
    """Max requests of an API key per minute, unless its line has a rate (429 beyond); None: any number."""
    extensions: tuple[AddRoutes, ...] = ()
    """Extensions of other distributions; see `Extension`."""

    allow_origin: tuple[str, ...] = ()
    """Sites whose pages may use the service from a browser (CORS): "https://app.example"."""
    batch: int | None = None
    """Batch size for images with equal vocabulary and options; None: the model's default (1 on a CPU, 8 on a GPU)."""
    batch_wait: float = 0.005
    """Time that an incomplete batch waits for more images [s]."""
    requests: int = 64
    """Max open requests, from headers to the end of the response (503 beyond)."""
    key_requests: int = 48
    """Max open requests per API key (429 beyond)."""
    max_bytes: int = 20_000_000
    """Maximum size of an image file [bytes]."""
    max_pixels: int = 25_000_000
    """Max pixels of decoded images in memory, and values of a probability array; a larger image is labeled alone, in
    tiles, and takes all of them."""
    image_cache: int = 256
    """Memory for encoded images, over all models [MB]; 0: every request encodes its image."""
    tiled_pixels: int = 100_000_000
    """Maximum number of pixels of an image that is labeled in tiles."""
    max_words: int = 500
    """Maximum number of words of a vocabulary; a part of several objects counts for each."""
    vocabularies: int = 64
    """Size of the cache of encoded vocabularies."""
    upload_seconds: float = 30.0
    """Timeout for reading a request body [s]."""
    queue_seconds: float = 60.0
    """Timeout in the queue [s] (503 afterwards)."""
    run_seconds: float = 300.0
    """Timeout for labeling a batch [s]: its requests get 504, and the service reports unhealthy."""
    stop_seconds: float = 120.0
    """Time to finish accepted requests after SIGTERM [s]."""
    log_probes: bool = False
    """Log the requests of probes and of Prometheus even if they succeed."""
    traces: bool = False
    """Send FastAPI's OpenTelemetry spans (`segvoc.serving.middleware.send_traces`)."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) in (int, float) and not 0 < value < math.inf and (value or name not in _MAY_BE_0):
                raise UsageError(f"{name}={value} is not positive; give a number above 0")
        for origin in self.allow_origin:
            if not _ORIGIN.fullmatch(origin):
                raise UsageError(f"{origin!r} is not the origin of a site; give scheme and host: https://app.example")
        self.keys()

    def keys(self) -> Mapping[str, KeyHolder]:
        """The holders of all API keys, by key; empty: requests need no key."""
        if self.api_key_file is None:
            return {} if self.api_key is None else _parsed_keys(self.api_key)
        name = f"the file of the API keys, {str(self.api_key_file)!r}"
        try:
            return _parsed_keys(self.api_key_file.read_text(encoding="utf-8-sig"))
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
        except (OSError, ValueError) as error:
            reason = f"{error.strerror}; check the path" if isinstance(error, OSError) else f"{error}; save it as UTF-8"
            raise UsageError(f"{name}, can't be read: {reason}") from None


def _parsed_keys(text: str) -> dict[str, KeyHolder]:
    """Parse keys: a single key, or lines "NAME: KEY", perhaps with a role and a rate; comments start with #."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    keys: dict[str, KeyHolder] = {}
    for number, line in enumerate(lines, 1):
        named = _LINE.fullmatch(line)
        if named is None and (len(lines) > 1 or {" ", ":"} <= set(line)):
            raise UsageError(
                f"entry {number} is not 'NAME: KEY' with a NAME of letters, digits and . _ @ -, and perhaps "
                f"a ROLE of {', '.join(ROLES)} and a rate such as 60/min; write it so"
            )
        name, key, role, rate = ("default", line, None, None) if named is None else named.groups()
        if len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError(
                f"the API key is not {SHORTEST_KEY} or more characters of ASCII without spaces; "
                "make one: openssl rand -hex 24"
            )
        if key in keys:
            raise UsageError("it has the same key twice; make one for each line: openssl rand -hex 24")
        keys[key] = KeyHolder(name, role or ROLES[-1], None if rate is None else int(rate))
    if not keys:
        raise UsageError("there is no API key; write one, or lines 'NAME: KEY'")
    return keys


def key_settings(file: str | None, option: str) -> dict[str, Any]:
    """The settings of the API keys: their file, or the key in the environment; `option` names the file in errors."""
    key = os.environ.get(KEY_VARIABLE) or None
    if key is not None and file is not None:
        raise UsageError(f"both {KEY_VARIABLE} and {option} are given; give one of them")
    return {"api_key": key, "api_key_file": None if file is None else Path(file)}


@dataclass(frozen=True, kw_only=True)
class Extension:
    """Routes of another distribution, which registers it in the entry-point group `segvoc.routes`."""

    options: Sequence[click.Option] = ()
    """Their options of `segvoc serve`."""
    routes: Callable[[Mapping[str, Any]], AddRoutes]
    """Builds the route function from the options' values, by name; raises `UsageError` for bad values."""


def installed_extensions() -> list[Extension]:
    """The extensions of installed distributions, sorted by name."""
    return [entry.load() for entry in sorted(entry_points(group="segvoc.routes"), key=lambda entry: entry.name)]
