"""Request ids, logs as JSON lines, Prometheus metrics, and responses to unexpected errors."""

import json
import logging
import re
import secrets
import time
from contextvars import ContextVar
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segvoc.serving.answers import JSON, ServiceFailure

REQUEST_ID: ContextVar[str] = ContextVar("segvoc_request_id", default="")
"""Id of the current request."""

LOGGER = logging.getLogger("segvoc.serving")

FIELDS = "fields"
"""Attribute of a log record with further fields of its line."""

ID_HEADER = "X-Request-ID"
"""Header with the request id; clients may set it."""

GONE = 499
"""Status in logs and metrics if the client disconnected before the response."""

_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line: time (UTC), level, logger, message, id of the request, further fields, traceback if any."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().strip(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_settings() -> dict[str, Any]:
    """Settings for `logging.config.dictConfig`: all logs of the process go to standard error as JSON."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {name: {"level": "INFO"} for name in ("uvicorn", LOGGER.name)},
    }


class ServiceMetrics:
    """The service's Prometheus metrics."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"segvoc_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"segvoc_{name}", text, labels, buckets=buckets, registry=registry)

        self.requests = counter("requests", "Requests that were answered.", "route", "method", "status")
        self.key_requests = counter("key_requests", "Requests with a valid API key.", "key", "status")
        self.request_seconds = histogram("request_seconds", "Time from headers to the end of the answer.", "route")
        self.open = Gauge("segvoc_open_requests", "Requests that are open.", registry=registry)
        self.waiting = Gauge("segvoc_queue", "Images and vocabularies that wait for the model.", registry=registry)
        self.wait_seconds = histogram("queue_seconds", "Time that work waited for the model.")
        self.model_seconds = histogram("model_seconds", "Time that a batch took in the model.")
        self.batch = histogram("batch_size", "Images in a batch.", buckets=_SIZES)


def failure_response(failure: ServiceFailure) -> Response:
    """The response to a failed request."""
    return Response(failure.body(REQUEST_ID.get()), failure.status, failure.headers, JSON)


class Observation:
    """Middleware that observes all requests."""

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
            await failure_response(ServiceFailure.of_status(500))(scope, receive, counted_send)
        finally:
            self.metrics.open.dec()
            seconds, route = time.monotonic() - began, _route(scope)
            method = "other" if route == "other" else scope["method"]
            self.metrics.requests.labels(route, method, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(seconds)
            key = scope.get("state", {}).get("key_name")
            if key is not None:
                self.metrics.key_requests.labels(key, str(status)).inc()
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
    """The route template, so that requests can't create metric labels."""
    route = scope.get("route")
    return route.path if isinstance(route, Route) else "other"
