"""Settings of the service: how much it takes on, how long it waits, and who may use it."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError
from segvoc.serving.api_keys import check_key, read_keys
from segvoc.serving.proxies import Proxies, ProxyHeader

KEY_VARIABLE = "SEGVOC_API_KEY"
"""Environment variable with the API key."""

TEXT_BYTES = 1_000_000
"""Bytes of a request beside the image: words, parts and other options."""


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Settings of one process of the service; the defaults suit a machine that strangers can reach.

    Raises:
        UsageError: a number is not positive, the API key is too short or not printable ASCII, the file of keys can't be
            read, or the address of a proxy isn't one.
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
    """Connections that may be open at once. For further ones, one that is waited for is closed; where there is none,
    only health probes are answered."""
    client_requests: int | None = None
    """Requests of one client, which is an address, that may be open at once; more get 429. None: half of `requests`."""
    client_uploads: int | None = None
    """Bodies of one client that may be on their way at once; more get 429. None: a quarter of `requests`."""
    client_connections: int | None = None
    """Connections of one client; for further ones, one of its own that is waited for is closed. None: half of
    `connections`."""
    client_rate: float = 100.0
    """Requests of one client in a second, in the long run [1/s]; more get 429. Those of 5 seconds may come at once."""
    key_requests: int | None = None
    """Requests with one API key that may be open at once; more get 429. None: three quarters of `requests`."""
    key_uploads: int | None = None
    """Bodies with one API key that may be on their way at once; more get 429. None: half of `requests`."""
    key_rate: float = 200.0
    """Requests with one API key in a second, likewise [1/s]."""
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
    settle_seconds: float = 0.0
    """Time after SIGTERM in which `/readyz` fails while everything else goes on, so that those who look at it send no
    more requests before connections close [s]."""
    api_key: str | None = field(default=None, repr=False)
    """The key that requests have to show; None: none, or those of the file."""
    api_key_file: Path | None = None
    """A file of keys with names, which may change; see `segvoc.serving.api_keys.parsed_keys`."""
    hosts: tuple[str, ...] = ()
    """Names by which clients may address the service (the header Host); empty: any."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose word is taken for the client's address."""
    proxy_header: ProxyHeader = "x-forwarded-for"
    """The header in which they say it."""
    extensions: tuple[Callable[..., Any], ...] = ()
    """What other distributions add: `segvoc.serving.extensions.AddRoutes`."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int | float) or (name in ("batch_wait", "settle_seconds") and value == 0):
                continue
            if not 0 < value < math.inf:
                raise UsageError(f"{name}={value} is not positive; give a number above 0")
        if self.api_key is not None:
            check_key(self.api_key)
        if self.api_key_file is not None:
            read_keys(self.api_key_file)
        Proxies(self.proxies, self.proxy_header)

    @property
    def requests_of_client(self) -> int:
        """Requests of one client that may be open at once."""
        return self.client_requests or max(1, self.requests // 2)

    @property
    def uploads_of_client(self) -> int:
        """Bodies of one client that may be on their way at once."""
        return self.client_uploads or max(1, self.requests // 4)

    @property
    def connections_of_client(self) -> int:
        """Connections of one client that may be open at once."""
        return self.client_connections or max(1, self.connections // 2)

    @property
    def requests_of_key(self) -> int:
        """Requests with one API key that may be open at once."""
        return self.key_requests or max(1, self.requests * 3 // 4)

    @property
    def uploads_of_key(self) -> int:
        """Bodies with one API key that may be on their way at once."""
        return self.key_uploads or max(1, self.requests // 2)


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
