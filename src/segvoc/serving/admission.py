"""Authentication: every request is checked before its body is read, so routes added later are protected too.

With API keys, each API request needs a key, and counts toward the key's limit. Without keys, the service only accepts
local requests, and rejects cross-site requests of browsers.
"""

import base64
import hmac
import ipaddress
from collections import Counter
from collections.abc import Sequence, Set

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segvoc.serving.answers import ServiceFailure
from segvoc.serving.observation import failure_response
from segvoc.serving.settings import ServiceSettings

OPEN = ("/healthz", "/readyz", "/openapi.json")
"""API paths that need no key."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Admission:
    """Middleware that authenticates requests and stores the key's name in their state, as `key_name` (None: no key).

    Args:
        app: handles the admitted requests.
        settings: the API keys and their limit.
        routes: the API's routes; other paths, such as the files of a page, need no key.
        password_paths: paths that also accept the key as a password.
    """

    def __init__(
        self, app: ASGIApp, settings: ServiceSettings, routes: Sequence[BaseRoute], password_paths: Set[str]
    ) -> None:
        self.app, self.routes, self.password_paths = app, routes, password_paths
        self._keys, self._most = {key.encode(): name for key, name in settings.keys().items()}, settings.key_requests
        self._open: Counter[str | None] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, state = Headers(scope=scope), scope.setdefault("state", {})
        name = state["key_name"] = None
        try:
            if not self._keys:
                check_origin(headers, scope["method"])
            elif scope["path"] not in OPEN and self._is_of_api(scope):
                name = state["key_name"] = self._key_name(scope["path"], headers)
                if self._open[name] >= self._most:
                    told = f"this API key has {self._most} requests open already; try again later"
                    raise ServiceFailure("too_many", told, retry_after=1)
        except ServiceFailure as failure:
            await failure_response(failure)(scope, receive, send)
            return
        self._open[name] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._open[name] -= 1

    def _is_of_api(self, scope: Scope) -> bool:
        # a route may modify the scope that it matches
        return any(route.matches({**scope})[0] is not Match.NONE for route in self.routes)

    def _key_name(self, path: str, headers: Headers) -> str:
        scheme, given = get_authorization_scheme_param(headers.get("authorization"))
        basic = path in self.password_paths
        if scheme.lower() == "basic" and basic:
            given = _basic_password(given)
        elif scheme.lower() != "bearer":
            given = ""
        # compare with every key, in constant time
        names = [name for key, name in self._keys.items() if hmac.compare_digest(given.encode(), key)]
        if names:
            return names[0]
        how = "as the password, with any user name" if basic else "in the header 'Authorization: Bearer KEY'"
        raise ServiceFailure(
            "unauthorized",
            f"the API key is missing or wrong; send it {how}",
            headers={"WWW-Authenticate": "Basic" if basic else "Bearer"},
        )


def _basic_password(credentials: str) -> str:
    """The password in Basic credentials (RFC 7617); empty if malformed."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def check_origin(headers: Headers, method: str) -> None:
    """Reject cross-site requests, for services without keys.

    Otherwise other sites could use a service on their visitor's machine: by a form (CSRF), or, to read responses too,
    by DNS rebinding.
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
    """Whether a service at this address is only reachable from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


HEADERS = {
    # the service's pages load their files, and images that they create
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; worker-src 'self'; media-src 'self' blob:; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class SecurityHeaders:
    """Adds security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)
