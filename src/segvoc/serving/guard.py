"""Who may call the service, and what browsers may do with its answers."""

import base64
import ipaddress
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segvoc.serving.failures import ServiceFailure
from segvoc.serving.settings import ServiceSettings

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
"""What the page may load: its own files, and images that it made itself."""

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

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine, by which a service that listens to nobody else is addressed."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def is_loopback(host: str) -> bool:
    """Whether a service that listens at this address can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class SecurityHeaders:
    """Adds the headers to every answer."""

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


def check_origin(settings: ServiceSettings) -> Callable[[Headers, str], None]:
    """A check that a request comes from no other web site, by its headers and its method.

    A page of another site could otherwise use a service on the machine of its visitor: by a form, or (for answers too)
    by a name of its own that it lets point to this machine.
    """
    known = {name.lower() for name in settings.hosts}

    def check(headers: Headers, method: str) -> None:
        address = headers.get("host", "")
        name = address.rpartition(":")[0] if not address.endswith("]") and ":" in address else address
        if known and name.lower() not in known:
            raise ServiceFailure("forbidden", "the service isn't known by this name; --allow-host NAME allows one")
        if method in _SAFE_METHODS:
            return
        origin = headers.get("origin")
        same = origin is None or origin.partition("://")[2] == address
        if not same or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise ServiceFailure("forbidden", "pages of other sites can't use this service")

    return check


def basic_password(credentials: str) -> str | None:
    """The password among credentials of the scheme Basic (RFC 7617); None where they are damaged."""
    try:
        _, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return None
    return password if colon else None
