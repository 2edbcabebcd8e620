"""Around all requests: request ids, logs as JSON lines, Prometheus metrics and security headers."""

import json
import logging
import platform
import re
import secrets
import time
import warnings
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segvoc.errors import LabelingWarning, missing_package
from segvoc.runtime.version import __version__
from segvoc.serving.answers import JSON, ServiceFailure
from segvoc.serving.settings import PIECE_BYTES, KeyHolder

REQUEST_ID: ContextVar[str] = ContextVar("segvoc_request_id", default="")


@dataclass
class RequestWork:
    """What a request asked for, and what became of it."""

    images: int = 0
    """Images that went through the model."""
    pixels: int = 0
    """Pixels of the images that were read, in sum."""
    wait_seconds: float = 0.0
    """Time that they waited in the queue, in sum [s]."""
    model: str = ""
    """Name of the model; empty if the request needs none."""
    code: str = ""
    """The error's code; empty without one."""


WORK: ContextVar[RequestWork | None] = ContextVar("segvoc_work", default=None)

LOGGER = logging.getLogger("segvoc.serving")

FIELDS = "fields"
"""Attribute of a log record with further fields of its line."""

ID_HEADER = "X-Request-ID"
"""Header with the request id; clients may set it."""

GONE = 499
"""Status in logs and metrics if the client disconnected before the response."""

OTHER = "other"
"""In metrics: a route that the service doesn't have, and a method that none of its routes has."""

LONGEST_PATH = 100
"""Of an unknown route, in the log."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")

_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

HEALTH, READY, METRICS = PROBES = ("/healthz", "/readyz", "/metrics")
"""Paths whose successes aren't logged."""

PUBLIC_PATHS = (HEALTH, READY, "/openapi.json")
"""API paths that need no key."""


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


def start_log() -> None:
    """Log to standard error as JSON, with warnings, except hints about words: answers have them."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("uvicorn", LOGGER.name):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", category=LabelingWarning)


class ServiceMetrics:
    """The service's Prometheus metrics."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"segvoc_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"segvoc_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"segvoc_{name}", text, labels, buckets=buckets, registry=registry)

        of_request = "route", "method", "status", "code", "model"
        self.requests = counter("requests", "Requests that were answered; code: of the error.", *of_request)
        self.key_requests = counter("key_requests", "Requests with a valid API key.", "key", "status")
        self.request_seconds = histogram(
            "request_seconds", "Time from headers to the end of the answer.", "route", "status"
        )
        self.open = gauge("open_requests", "Requests that are open.")
        self.waiting = gauge("queue", "Images that wait for the model.", "model")
        self.wait_seconds = histogram("queue_seconds", "Time that an image waited for the model.", "model")
        self.model_seconds = histogram("model_seconds", "Time that a batch took in the model.", "model")
        self.batch = histogram("batch_size", "Images in a batch.", "model", buckets=_SIZES)
        self.image_hits = counter("image_cache_hits", "Images whose encoding was cached.")
        self.image_misses = counter("image_cache_misses", "Images that were encoded.")
        self.image_cache_bytes = gauge("image_cache_bytes", "Memory of the cached images.")
        self.image_cache_entries = gauge("image_cache_entries", "Number of cached images.")
        self.reload_failures = counter("reload_failures", "Reloads that left the former model.", "model")
        self.models = gauge("model_info", "The models; weights: their digest.", "model", "weights", "dtype")
        self._models: dict[str, tuple[str, str, str]] = {}
        build = gauge("build_info", "The program.", "version", "python")
        build.labels(__version__, platform.python_version()).set(1)

    def show_model(self, name: str, weights: str | None, dtype: str) -> None:
        """Show a model in `segvoc_model_info`, in the place of the former one of this name."""
        for value in (self.waiting, self.reload_failures):
            value.labels(name)  # there from the start, so that an increase is seen
        if name in self._models:
            self.models.remove(*self._models[name])
        self._models[name] = name, weights or "", dtype
        self.models.labels(*self._models[name]).set(1)


def failure_response(failure: ServiceFailure) -> Response:
    """The response to a failed request."""
    if (work := WORK.get()) is not None:
        work.code = failure.code
    return Response(failure.body(REQUEST_ID.get()), failure.status, failure.headers, JSON)


def matching_route(routes: Sequence[BaseRoute], scope: Scope) -> BaseRoute | None:
    """The route of a request's path, whatever its method."""
    # a route may modify the scope that it matches
    return next((route for route in routes if route.matches({**scope})[0] is not Match.NONE), None)


def send_traces() -> None:
    """Send the spans that FastAPI makes of every request where OTEL_EXPORTER_OTLP_ENDPOINT says.

    A provider that is set already, as by `opentelemetry-instrument`, stays. Raises a `UsageError` without the exporter.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise missing_package("opentelemetry-exporter-otlp-proto-http") from None
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        provider = TracerProvider(resource=Resource({SERVICE_NAME: "segvoc"}).merge(OTELResourceDetector().detect()))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)


class Observation:
    """Middleware that observes all requests to `routes` and others, and adds security headers to the responses."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics, routes: Sequence[BaseRoute], *, log_probes: bool) -> None:
        self.app, self.metrics, self._routes, self._log_probes = app, metrics, routes, log_probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        requested = Headers(scope=scope).get(ID_HEADER, "")
        request_id = requested if _GOOD_ID.fullmatch(requested) else secrets.token_hex(8)
        token, work = REQUEST_ID.set(request_id), RequestWork()
        WORK.set(work)
        status, sent, received, began = GONE, 0, 0, time.monotonic()

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status, headers = message["status"], MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.update({ID_HEADER: request_id, **HEADERS})
                await send(message)
                return
            body, more = message.get("body", b""), message.get("more_body", False)
            sent += len(body)
            for start in range(0, max(1, len(body)), PIECE_BYTES):
                rest = more or start + PIECE_BYTES < len(body)
                await send({**message, "body": body[start : start + PIECE_BYTES], "more_body": rest})

        self.metrics.open.inc()
        try:
            await self.app(scope, counted_receive, counted_send)
        except ClientDisconnect:
            status = GONE
        except Exception:
            LOGGER.exception("a request failed")
            if status != GONE:
                raise
            await failure_response(ServiceFailure.of_status(500))(scope, receive, counted_send)
        finally:
            self.metrics.open.dec()
            self._observe(scope, work, status, time.monotonic() - began, {"bytes_received": received, "bytes": sent})
            REQUEST_ID.reset(token)

    def _observe(self, scope: Scope, work: RequestWork, status: int, seconds: float, sizes: Mapping[str, int]) -> None:
        """Count and log a request."""
        # what was refused before it was routed has a route, too
        matched = scope.get("route") or matching_route(self._routes, scope)
        # its template, and a method that there is: requests can't create metric labels
        route = matched.path if isinstance(matched, Route) else OTHER
        method = scope["method"] if scope["method"] in _METHODS else OTHER
        self.metrics.requests.labels(route, method, str(status), work.code, work.model).inc()
        self.metrics.request_seconds.labels(route, str(status)).observe(seconds)
        holder: KeyHolder | None = scope.get("state", {}).get("key")
        if holder is not None:
            self.metrics.key_requests.labels(holder.name, str(status)).inc()
        if route in PROBES and status < 400 and not self._log_probes:
            return
        fields: dict[str, object] = {"route": route, "method": method, "status": status}
        if route == OTHER:
            fields["path"] = scope["path"][:LONGEST_PATH]
        if work.code:
            fields["code"] = work.code
        if work.model:
            fields["model"] = work.model
        fields |= {
            "milliseconds": round(1000 * seconds, 1),
            "queue_milliseconds": round(1000 * work.wait_seconds, 1),
            "images": work.images,
            "pixels": work.pixels,
            **sizes,
            "client": (scope.get("client") or ("",))[0],
        }
        if holder is not None:
            fields["key"] = holder.name
        LOGGER.info("request", extra={FIELDS: fields})


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
