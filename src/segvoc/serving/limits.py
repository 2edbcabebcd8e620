"""How much one client, or one API key, may ask for at a time."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from segvoc.serving.failures import ServiceFailure

BURST_SECONDS = 5.0
"""Requests that may come at once, as the time in which the rate allows as many [s]."""

MOST_REMEMBERED = 10_000
"""Callers that are remembered; beyond, those are forgotten who ask for nothing at the moment."""


@dataclass(frozen=True)
class CallerLimits:
    """What one caller may take."""

    requests: int
    """Requests that are open at once."""
    uploads: int
    """Bodies on their way at once."""
    rate: float
    """Requests in a second, in the long run [1/s]."""


@dataclass
class _Usage:
    tokens: float
    at: float = field(default_factory=time.monotonic)
    requests: int = 0
    uploads: int = 0


class Callers:
    """Counts what callers take of a service.

    Args:
        who: what messages call them: "client" or "API key".
        limits: what each may take.
        refused: called with the name of a limit when it refuses a request.
    """

    def __init__(self, who: str, limits: CallerLimits, refused: Callable[[str], None]) -> None:
        self._who, self._limits, self._refused = who, limits, refused
        self._burst = max(1.0, limits.rate * BURST_SECONDS)
        self._usages: dict[str, _Usage] = {}

    @contextmanager
    def place(self, name: str, *, upload: bool) -> Iterator[Callable[[], None]]:
        """A place for a request of a caller's, which is given back at the end.

        Args:
            name: the caller.
            upload: whether a body is on its way.

        Yields:
            What to call once the body is there.

        Raises:
            ServiceFailure: the caller has too many already.
        """
        usage = self._usage(name)
        self._check(usage, upload)
        usage.tokens -= 1
        usage.requests += 1
        usage.uploads += upload
        left = [None] * upload

        def uploaded() -> None:
            if left:
                left.pop()
                usage.uploads -= 1

        try:
            yield uploaded
        finally:
            uploaded()
            usage.requests -= 1

    def _check(self, usage: _Usage, upload: bool) -> None:
        limits = self._limits
        if usage.requests >= limits.requests:
            self._refuse("requests", f"has {usage.requests} requests open already", 1)
        if upload and usage.uploads >= limits.uploads:
            self._refuse("uploads", f"sends {usage.uploads} bodies already", 1)
        if usage.tokens < 1:
            wait = max(1, math.ceil((1 - usage.tokens) / limits.rate))
            self._refuse("rate", f"sends more than {limits.rate:g} requests a second", wait)

    def _refuse(self, limit: str, what: str, retry_after: int) -> None:
        self._refused(f"{self._who.rpartition(' ')[2]}_{limit}")
        raise ServiceFailure("too_many", f"this {self._who} {what}; try again later", retry_after=retry_after)

    def _usage(self, name: str) -> _Usage:
        now = time.monotonic()
        usage = self._usages.get(name)
        if usage is None:
            if len(self._usages) >= MOST_REMEMBERED:
                self._usages = {one: used for one, used in self._usages.items() if used.requests}
            usage = self._usages[name] = _Usage(self._burst, now)
        usage.tokens = min(self._burst, usage.tokens + (now - usage.at) * self._limits.rate)
        usage.at = now
        return usage
