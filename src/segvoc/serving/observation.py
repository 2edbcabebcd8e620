"""Gives each request an id, counts and logs it, and answers it whatever goes wrong."""

import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segvoc.serving.answers import JSON
from segvoc.serving.failures import ServiceFailure, internal_failure
from segvoc.serving.logs import FIELDS, LOGGER, REQUEST_ID
from segvoc.serving.metrics import ServiceMetrics

ID_HEADER = "X-Request-ID"
"""Header with the request's id; a caller may choose it."""

GONE = 499
"""Status in logs and metrics of requests whose caller left before the answer."""

_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def failure_response(failure: ServiceFailure) -> Response:
    """The answer to a request that failed."""
    return Response(failure.body(REQUEST_ID.get()), failure.status, failure.headers, JSON)


class Observation:
    """Observes all requests."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        wished = Headers(scope=scope).get(ID_HEADER, "")
        request_id = wished if _GOOD_ID.fullmatch(wished) else secrets.token_hex(8)
        token = REQUEST_ID.set(request_id)
        status, sent, began = GONE, 0, time.monotonic()

        async def counted_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[ID_HEADER] = request_id
            else:
                sent += len(message.get("body", b""))
            await send(message)

        self.metrics.open.inc()
        try:
            await self.app(scope, receive, counted_send)
        except ClientDisconnect:
            status = GONE
        except Exception:
            LOGGER.exception("a request failed")
            if status != GONE:
                raise
            await failure_response(internal_failure())(scope, receive, counted_send)
        finally:
            self.metrics.open.dec()
            seconds, route, method = time.monotonic() - began, _route(scope), _method(scope)
            self.metrics.requests.labels(route, method, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(seconds)
            key = scope.get("state", {}).get("key_name")
            if key is not None:
                self.metrics.count_key(key, status)
            fields = {
                "route": route,
                "method": method,
                "status": status,
                "seconds": round(seconds, 4),
                "bytes": sent,
                "client": (scope.get("client") or ("",))[0],
                **({} if key is None else {"key": key}),
            }
            LOGGER.info("request", extra={FIELDS: fields})
            REQUEST_ID.reset(token)


def _route(scope: Scope) -> str:
    """The address as the API describes it; requests choose no labels of metrics."""
    route = scope.get("route")
    return route.path if isinstance(route, Route) else "other"


def _method(scope: Scope) -> str:
    return (
        scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
    )
