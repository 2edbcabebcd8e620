"""Who is let in: every request passes here before its body is read, so an address that is added later is protected too.

With API keys, a request to the API has to show one, and takes a place among those of its key. Without keys, the service
is for this machine alone, and refuses the pages of other sites that a browser shows on it.
"""

import base64
import ipaddress
import math
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segvoc.serving.api_keys import ApiKeys
from segvoc.serving.failures import ServiceFailure
from segvoc.serving.metrics import ServiceMetrics
from segvoc.serving.observation import failure_response
from segvoc.serving.settings import ServiceSettings

OPEN = ("/healthz", "/readyz", "/openapi.json")
"""Addresses of the API that need no key; all others do."""

BURST_SECONDS = 5.0
"""Requests that may come at once, as the time in which the rate allows as many [s]."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Admission:
    """Lets requests in, and puts the name of their key into their state, as `key_name` (None without a key).

    Args:
        app: answers those that are let in.
        settings: the limits.
        keys: the API keys.
        routes: the API's routes; what isn't theirs, such as the files of a page, needs no key.
        metrics: counts refusals.
        password_paths: addresses that take the key as a password, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServiceSettings,
        keys: ApiKeys,
        routes: Sequence[BaseRoute],
        metrics: ServiceMetrics,
        password_paths: Set[str],
    ) -> None:
        self.app, self.keys, self.routes, self.password_paths = app, keys, routes, password_paths
        self._limits = KeyLimits(settings, lambda limit: metrics.limited.labels(limit).inc())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, state = Headers(scope=scope), scope.setdefault("state", {})
        state["key_name"] = None
        with ExitStack() as stack:
            try:
                if not self.keys.demanded:
                    check_origin(headers, scope["method"])
                elif scope["path"] not in OPEN and self._is_of_api(scope):
                    state["key_name"] = name = self._key_name(scope["path"], headers)
                    stack.enter_context(self._limits.place(name))
            except ServiceFailure as failure:
                await failure_response(failure)(scope, receive, send)
                return
            await self.app(scope, receive, send)

    def _is_of_api(self, scope: Scope) -> bool:
        # a route may write into what it matches
        return any(route.matches({**scope})[0] is not Match.NONE for route in self.routes)

    def _key_name(self, path: str, headers: Headers) -> str:
        scheme, given = get_authorization_scheme_param(headers.get("authorization"))
        basic = path in self.password_paths
        if scheme.lower() == "basic" and basic:
            given = _basic_password(given)
        elif scheme.lower() != "bearer":
            given = None
        return self.keys.check(given, "Basic" if basic else "Bearer")


def _basic_password(credentials: str) -> str | None:
    """The password among credentials of the scheme Basic (RFC 7617); None where they are damaged."""
    try:
        _, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return None
    return password if colon else None


@dataclass
class _Usage:
    tokens: float
    at: float
    requests: int = 0


class KeyLimits:
    """Counts what each API key takes of the service.

    Args:
        settings: what each may take.
        refused: called with the name of a limit when it refuses a request.
    """

    def __init__(self, settings: ServiceSettings, refused: Callable[[str], None]) -> None:
        self._requests, self._rate, self._refused = settings.key_requests, settings.key_rate, refused
        self._burst = max(1.0, self._rate * BURST_SECONDS)
        self._usages: dict[str, _Usage] = {}

    @contextmanager
    def place(self, name: str) -> Iterator[None]:
        """A place for a request with a key, which is given back at the end.

        Raises:
            ServiceFailure: there are too many with this key already.
        """
        now = time.monotonic()
        usage = self._usages.setdefault(name, _Usage(self._burst, now))
        usage.tokens = min(self._burst, usage.tokens + (now - usage.at) * self._rate)
        usage.at = now
        if usage.requests >= self._requests:
            self._refuse("key_requests", f"has {usage.requests} requests open already", 1)
        if usage.tokens < 1:
            wait = max(1, math.ceil((1 - usage.tokens) / self._rate))
            self._refuse("key_rate", f"sends more than {self._rate:g} requests a second", wait)
        usage.tokens -= 1
        usage.requests += 1
        try:
            yield
        finally:
            usage.requests -= 1

    def _refuse(self, limit: str, what: str, retry_after: int) -> None:
        self._refused(limit)
        raise ServiceFailure("too_many", f"this API key {what}; try again later", retry_after=retry_after)


def check_origin(headers: Headers, method: str) -> None:
    """Check that a request without a key comes from no other web site.

    A page of another site could otherwise use a service on the machine of its visitor: by a form, or (for answers too)
    by a name of its own that it lets point to this machine.

    Raises:
        ServiceFailure: it does.
    """
    address = headers.get("host", "")
    name = address.rpartition(":")[0] if not address.endswith("]") and ":" in address else address
    if not is_loopback(name.removeprefix("[").removesuffix("]").lower()):
        raise ServiceFailure("forbidden", "without API keys, the service is for this machine: call it 'localhost'")
    if method in _SAFE_METHODS:
        return
    origin = headers.get("origin")
    same = origin is None or origin.partition("://")[2] == address
    if not same or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise ServiceFailure("forbidden", "pages of other sites can't use this service")


def is_loopback(host: str) -> bool:
    """Whether a service at this address can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "media-src 'self' blob:",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What a page of the service may load: its own files, and images that it made itself."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class SecurityHeaders:
    """Tells browsers with every answer what they may do with it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        await self.app(scope, receive, send_with_headers)
