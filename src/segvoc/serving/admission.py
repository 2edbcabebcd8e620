"""Who is let in: every request passes here, so an address that is added later is protected like the others.

In this order: where it comes from, whether it is another site's, what its client and its key may take, and its key.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segvoc.serving.api_keys import ApiKeys
from segvoc.serving.failures import ServiceFailure
from segvoc.serving.guard import basic_password, check_origin
from segvoc.serving.limits import CallerLimits, Callers
from segvoc.serving.logs import LOGGER
from segvoc.serving.methods import route_at
from segvoc.serving.metrics import ServiceMetrics
from segvoc.serving.observation import failure_response
from segvoc.serving.proxies import Proxies, client_name
from segvoc.serving.settings import ServiceSettings

PROBES = ("/healthz", "/readyz")
"""Addresses that no limit closes."""

_OPEN = (*PROBES, "/openapi.json")
"""Addresses of the API that need no key; all others do."""


def needs_key(path: str) -> bool:
    """Whether an address of the API needs a key."""
    return path not in _OPEN


class Admission:
    """Lets requests in.

    It puts the client's address behind proxies into the request's `client`, and the name of its key into its state, as
    `key_name` (None without a key).

    Args:
        app: answers those that are let in.
        settings: limits, names and proxies.
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
        self.app, self.keys, self.routes, self._password_paths = app, keys, routes, password_paths
        self._check_origin = check_origin(settings)
        self._proxies = Proxies(settings.proxies, settings.proxy_header)
        self._warned = False
        of_clients = CallerLimits(settings.requests_of_client, settings.uploads_of_client, settings.client_rate)
        of_keys = CallerLimits(settings.requests_of_key, settings.uploads_of_key, settings.key_rate)

        def refused(limit: str) -> None:
            metrics.limited.labels(limit).inc()

        self._clients, self._of_keys = Callers("client", of_clients, refused), Callers("API key", of_keys, refused)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with ExitStack() as places:
            try:
                uploaded = places.enter_context(self._admitted(scope))
            except ServiceFailure as failure:
                await failure_response(failure)(scope, receive, send)
                return

            async def counted_receive() -> Message:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    uploaded()
                return message

            await self.app(scope, counted_receive, send)

    @contextmanager
    def _admitted(self, scope: Scope) -> Iterator[Callable[[], None]]:
        """What a request takes while it is open; yields what to call once its body is there."""
        headers, state = Headers(scope=scope), scope.setdefault("state", {})
        state["key_name"] = None
        self._find_client(scope, headers)
        self._check_origin(headers, scope["method"])
        if scope["path"] in PROBES:
            yield lambda: None
            return
        connection = state.get("connection")
        if connection is not None and connection.reserved:
            raise ServiceFailure("busy", "too many connections are open; try again later", retry_after=1)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        upload = has_body and not (connection is not None and connection.has_whole_body)
        with ExitStack() as places:
            client = client_name((scope.get("client") or ("",))[0])
            ends = [places.enter_context(self._clients.place(client, upload=upload))]
            if self.keys.demanded and needs_key(scope["path"]) and route_at(self.routes, scope) is not None:
                state["key_name"] = name = self._key_name(scope["path"], headers)
                ends.append(places.enter_context(self._of_keys.place(name, upload=upload)))

            def uploaded() -> None:
                for end in ends:
                    end()

            yield uploaded

    def _find_client(self, scope: Scope, headers: Headers) -> None:
        peer, _ = scope.get("client") or ("", 0)
        told = headers.getlist(self._proxies.header)
        client = self._proxies.client(peer, told)
        if client != peer:
            scope["client"] = (client, 0)
        elif told and not self._warned:
            self._warned = True
            LOGGER.warning(
                f"a request from {peer} names another client in {self._proxies.header}; if that is your proxy, start "
                f"the service with --proxy {peer}, else limits take all clients behind it for one"
            )

    def _key_name(self, path: str, headers: Headers) -> str:
        scheme, given = get_authorization_scheme_param(headers.get("authorization"))
        basic = path in self._password_paths
        if scheme.lower() == "basic" and basic:
            given = basic_password(given)
        elif scheme.lower() != "bearer":
            given = None
        return self.keys.check(given, "Basic" if basic else "Bearer")


_BEARER = {"type": "http", "scheme": "bearer", "description": "The API key."}
_PASSWORD = {"type": "http", "scheme": "basic", "description": "The API key as the password, with any user name."}


def description(app: FastAPI, keys_demanded: bool, password_paths: Set[str]) -> dict[str, Any]:
    """The API's description (OpenAPI), which says where a key is needed.

    Args:
        app: the application.
        keys_demanded: whether there are keys.
        password_paths: addresses that take the key as a password, too.
    """
    described = FastAPI.openapi(app)
    if keys_demanded:
        described.setdefault("components", {})["securitySchemes"] = {"HTTPBearer": _BEARER, "HTTPBasic": _PASSWORD}
        for path, operations in described["paths"].items():
            schemes = ["HTTPBearer"] + ["HTTPBasic"] * (path in password_paths)
            for operation in operations.values():
                if needs_key(path):
                    operation["security"] = [{scheme: []} for scheme in schemes]
    return described
