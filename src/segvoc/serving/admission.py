"""Who may call the service: API keys with roles and rates, and the origin of requests without keys."""

import base64
import hmac
import ipaddress
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from time import monotonic

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from segvoc.errors import UsageError
from segvoc.serving.answers import ServiceFailure
from segvoc.serving.middleware import FIELDS, LOGGER, PUBLIC_PATHS, failure_response, matching_route
from segvoc.serving.settings import ROLES, KeyHolder, ServiceSettings
from segvoc.storage.resume import stamp_of

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class ApiKeys:
    """The API keys of a service. A file is read again by the first request after its change."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._stamp = None if settings.api_key_file is None else stamp_of(settings.api_key_file)
        self._holders = {key.encode(): holder for key, holder in settings.keys().items()}

    def holders(self) -> Mapping[bytes, KeyHolder]:
        """The holders by key; empty: requests need none."""
        file = self._settings.api_key_file
        if file is not None and stamp_of(file) != self._stamp:
            self.reread()
        return self._holders

    def check(self, holder: KeyHolder | None) -> None:
        """Refuse the holder of a request that waited, if the key was revoked meanwhile."""
        if holder is not None and holder not in self.holders().values():
            raise ServiceFailure("unauthorized", "the API key was revoked; ask for another one")

    def reread(self) -> None:
        """Read the file, whether or not it looks changed; one that can't be read leaves the keys as they were."""
        if self._settings.api_key_file is None:
            return
        self._stamp = stamp_of(self._settings.api_key_file)
        try:
            holders = {key.encode(): holder for key, holder in self._settings.keys().items()}
        except UsageError as error:
            LOGGER.error("the API keys stay as they were", extra={FIELDS: {"problem": str(error)}})
            return
        if holders != self._holders:
            self._holders = holders
            LOGGER.info("the API keys changed", extra={FIELDS: {"keys": len(holders)}})


class RequestRates:
    """Counts the requests of keys that have a rate: as many at once as a minute allows, then evenly.

    Args:
        most: requests a minute of a key that has no rate of its own; None: any number.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._left: dict[str, tuple[float, float]] = {}
        """By the key's name: the requests that it had left, and when."""

    def seconds_until(self, holder: KeyHolder) -> float:
        """Count a request; 0 if it is within the rate, otherwise the time until one is [s]."""
        most = holder.rate or self._most
        if most is None:
            return 0.0
        now = monotonic()
        left, then = self._left.get(holder.name, (float(most), now))
        left = min(most, left + (now - then) * most / 60)
        self._left[holder.name] = left - (left >= 1), now
        return 0.0 if left >= 1 else (1 - left) * 60 / most


class Admission:
    """Middleware that authenticates requests and stores their key's `KeyHolder` in their state (`key`; None: no key).

    Every request is checked before its body is read, so routes added later are protected too. With API keys, each API
    request needs a key, and counts toward the key's limits. Without keys, the service only accepts local requests, and
    rejects cross-site requests of browsers.

    Paths besides those of `routes` need no key (the files of a page); `password_paths` also accept it as a password.
    `retry_after` estimates the time until the work that is waiting is done [s].
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServiceSettings,
        keys: ApiKeys,
        routes: Sequence[BaseRoute],
        password_paths: Set[str],
        retry_after: Callable[[], int],
    ) -> None:
        self.app, self.routes, self.password_paths = app, routes, password_paths
        self._keys, self._rates, self._retry_after = keys, RequestRates(settings.key_rate), retry_after
        self._most, self._origins = settings.key_requests, frozenset(settings.allow_origin)
        self._open: Counter[str | None] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, state = Headers(scope=scope), scope.setdefault("state", {})
        name = state["key"] = None
        try:
            if not (keys := self._keys.holders()):
                check_origin(headers, scope["method"], self._origins)
            elif scope["path"] not in PUBLIC_PATHS and matching_route(self.routes, scope) is not None:
                holder = state["key"] = self._holder(keys, scope["path"], headers)
                name = holder.name
                if self._open[name] >= self._most:
                    message = f"this API key has {self._most} requests open already; try again later"
                    raise ServiceFailure("too_many", message, retry_after=self._retry_after())
                if (seconds := self._rates.seconds_until(holder)) > 0:
                    message = "this API key has sent as many requests as it may in a minute; try again later"
                    raise ServiceFailure("too_many", message, retry_after=math.ceil(seconds))
        except ServiceFailure as failure:
            await failure_response(failure)(scope, receive, send)
            return
        self._open[name] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._open[name] -= 1

    def _holder(self, keys: Mapping[bytes, KeyHolder], path: str, headers: Headers) -> KeyHolder:
        scheme, credentials = get_authorization_scheme_param(headers.get("authorization"))
        basic = path in self.password_paths
        if scheme.lower() == "basic" and basic:
            credentials = _basic_password(credentials)
        elif scheme.lower() != "bearer":
            credentials = ""
        # compare with every key, in constant time
        holders = [holder for key, holder in keys.items() if hmac.compare_digest(credentials.encode(), key)]
        if holders:
            return holders[0]
        how = "as the password, with any user name" if basic else "in the header 'Authorization: Bearer KEY'"
        raise ServiceFailure(
            "unauthorized",
            f"the API key is missing or wrong; send it {how}",
            headers={"WWW-Authenticate": "Basic" if basic else "Bearer"},
        )


def requires(role: str) -> Callable[[Request], None]:
    """A dependency of routes: the request's key has this role (of `ROLES`), or the service has no keys."""

    def check(request: Request) -> None:
        holder: KeyHolder | None = request.state.key
        if holder is not None and ROLES.index(holder.role) < ROLES.index(role):
            message = f"this needs an API key with the role {role}, and yours has {holder.role}; ask for another key"
            raise ServiceFailure("forbidden", message)

    return check


def _basic_password(credentials: str) -> str:
    """The password in Basic credentials (RFC 7617); empty if malformed."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def check_origin(headers: Headers, method: str, allowed: Set[str] = frozenset()) -> None:
    """Reject cross-site requests except of allowed origins, for services without keys.

    Otherwise other sites could use a service on their visitor's machine: by a form (CSRF), or, to read responses too,
    by DNS rebinding.
    """
    address = headers.get("host", "")
    name = address.rpartition(":")[0] if not address.endswith("]") and ":" in address else address
    if not is_loopback(name.removeprefix("[").removesuffix("]").lower()):
        raise ServiceFailure("forbidden", "without API keys, the service only accepts requests to localhost")
    origin = headers.get("origin")
    if method in _SAFE_METHODS or origin in allowed:
        return
    same = origin is None or origin.partition("://")[2] == address
    if not same or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise ServiceFailure("forbidden", "pages of other sites can't use this service")


def is_loopback(host: str) -> bool:
    """Whether a service at this address is only reachable from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
