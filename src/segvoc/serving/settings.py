"""Settings of the service: how much it takes on, how long it waits, and who may use it."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError
from segvoc.serving.api_keys import check_key, read_keys
from segvoc.serving.extensions import AddRoutes

KEY_VARIABLE = "SEGVOC_API_KEY"
"""Environment variable with the API key."""

TEXT_BYTES = 1_000_000
"""Bytes of a request beside the image: words, parts and other options."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of one process of the service. `segvoc serve` has options for the first ones; the others suit most.

    Raises:
        UsageError: a number is not positive, the API key is too short or not printable ASCII, or the file of keys can't
            be read.
    """

    queue: int = 16
    """Images and vocabularies that may wait for the model; more get 429."""
    api_key: str | None = field(default=None, repr=False)
    """The key that requests have to show; None: none, or those of the file."""
    api_key_file: Path | None = None
    """A file of keys with names, which may change; see `segvoc.serving.api_keys.parsed_keys`."""
    extensions: tuple[AddRoutes, ...] = ()
    """What other distributions add; see `segvoc.serving.extensions`."""

    batch: int | None = None
    """Images with equal vocabulary and options that go through the network together; None: the model's own (1 on a CPU,
    8 on a GPU)."""
    batch_wait: float = 0.005
    """Time that an incomplete batch waits for further images [s]."""
    requests: int = 64
    """Requests that may be open at once, from their headers to the end of their answer; more get 503."""
    key_requests: int = 48
    """Requests with one API key that may be open at once; more get 429."""
    key_rate: float = 200.0
    """Requests with one API key in a second, in the long run [1/s]; more get 429. Those of 5 s may come at once."""
    max_bytes: int = 20_000_000
    """Bytes of the largest image file."""
    max_pixels: int = 25_000_000
    """Pixels of the largest image, and values of the largest array of probabilities."""
    max_words: int = 500
    """Words of a vocabulary; a part of several objects counts for each."""
    vocabularies: int = 64
    """Size of the cache of vocabularies: those that keep their names (added last), and stay encoded (used last)."""
    upload_seconds: float = 30.0
    """Time for the body of a request [s]."""
    queue_seconds: float = 60.0
    """Time that a request may wait for the model [s]; then it gets 503."""
    run_seconds: float = 300.0
    """Time for labeling a batch [s]; then its requests get 504, and the service reports itself as unhealthy."""
    stop_seconds: float = 120.0
    """Time for answering what was accepted after SIGTERM [s]."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not 0 < value < math.inf and (name, value) != ("batch_wait", 0):
                raise UsageError(f"{name}={value} is not positive; give a number above 0")
        if self.api_key is not None:
            check_key(self.api_key)
        if self.api_key_file is not None:
            read_keys(self.api_key_file)


def key_settings(file: str | None, option: str) -> dict[str, Any]:
    """The settings of the API keys: their file, or the key in the environment, if any.

    Args:
        file: the file, if any.
        option: where the file is given, for errors.

    Raises:
        UsageError: both are given.
    """
    key = os.environ.get(KEY_VARIABLE) or None
    if key is not None and file is not None:
        raise UsageError(f"both {KEY_VARIABLE} and {option} are given; give one of them")
    return {"api_key": key, "api_key_file": None if file is None else Path(file)}
