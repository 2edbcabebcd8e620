"""Around all requests: request ids, logs as JSON lines, Prometheus metrics, API keys and security headers."""

import base64
import hmac
import ipaddress
import json
import logging
import re
import secrets
import time
import warnings
from collections import Counter as Counts
from collections.abc import Callable, Mapping, Sequence, Set
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from fastapi.security.utils import get_authorization_scheme_param
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segvoc.errors import LabelingWarning, UsageError, missing_package
from segvoc.serving.answers import JSON, ServiceFailure
from segvoc.serving.settings import PIECE_BYTES, ROLES, KeyHolder, ServiceSettings
from segvoc.storage.resume import Stamp, stamp_of

REQUEST_ID: ContextVar[str] = ContextVar("segvoc_request_id", default="")


@dataclass
class RequestWork:
    """The model's work for a request."""

    images: int = 0
    wait_seconds: float = 0.0
    """Time that they waited in the queue, in sum [s]."""


WORK: ContextVar[RequestWork | None] = ContextVar("segvoc_work", default=None)

LOGGER = logging.getLogger("segvoc.serving")

FIELDS = "fields"
"""Attribute of a log record with further fields of its line."""

ID_HEADER = "X-Request-ID"
"""Header with the request id; clients may set it."""

GONE = 499
"""Status in logs and metrics if the client disconnected before the response."""

KEY_SECONDS = 1.0
"""Time between looks at the file of the API keys [s]."""

_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

HEALTH, READY, METRICS = PROBES = ("/healthz", "/readyz", "/metrics")
"""Paths whose successes aren't logged."""

PUBLIC_PATHS = (HEALTH, READY, "/openapi.json")
"""API paths that need no key."""

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


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

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"segvoc_{name}", text, registry=registry)

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"segvoc_{name}", text, labels, buckets=buckets, registry=registry)

        self.requests = counter("requests", "Requests that were answered.", "route", "method", "status")
        self.key_requests = counter("key_requests", "Requests with a valid API key.", "key", "status")
        self.request_seconds = histogram("request_seconds", "Time from headers to the end of the answer.", "route")
        self.open = gauge("open_requests", "Requests that are open.")
        self.waiting = gauge("queue", "Images and vocabularies that wait for the model.")
        self.wait_seconds = histogram("queue_seconds", "Time that work waited for the model.")
        self.model_seconds = histogram("model_seconds", "Time that a batch took in the model.")
        self.batch = histogram("batch_size", "Images in a batch.", buckets=_SIZES)
        self.image_hits = counter("image_cache_hits", "Images whose encoding was cached.")
        self.image_misses = counter("image_cache_misses", "Images that were encoded.")
        self.image_cache_bytes = gauge("image_cache_bytes", "Memory of the cached images.")
        self.image_cache_entries = gauge("image_cache_entries", "Number of cached images.")


def failure_response(failure: ServiceFailure) -> Response:
    """The response to a failed request."""
    return Response(failure.body(REQUEST_ID.get()), failure.status, failure.headers, JSON)


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
    """Middleware that observes all requests, and adds security headers to the responses."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics, *, log_probes: bool) -> None:
        self.app, self.metrics, self._log_probes = app, metrics, log_probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        requested = Headers(scope=scope).get(ID_HEADER, "")
        request_id = requested if _GOOD_ID.fullmatch(requested) else secrets.token_hex(8)
        token, work = REQUEST_ID.set(request_id), RequestWork()
        WORK.set(work)
        status, sent, began = GONE, 0, time.monotonic()

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
            seconds, matched = time.monotonic() - began, scope.get("route")
            # the template of the route: requests can't create metric labels
            route, method = (matched.path, scope["method"]) if isinstance(matched, Route) else ("other", "other")
            self.metrics.requests.labels(route, method, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(seconds)
            holder: KeyHolder | None = scope.get("state", {}).get("key")
            if holder is not None:
                self.metrics.key_requests.labels(holder.name, str(status)).inc()
            fields = {
                "route": route,
                "method": method,
                "status": status,
                "milliseconds": round(1000 * seconds, 1),
                "queue_milliseconds": round(1000 * work.wait_seconds, 1),
                "images": work.images,
                "bytes": sent,
                "client": (scope.get("client") or ("",))[0],
                **({} if holder is None else {"key": holder.name}),
            }
            if route not in PROBES or status >= 400 or self._log_probes:
                LOGGER.info("request", extra={FIELDS: fields})
            REQUEST_ID.reset(token)


class ApiKeys:
    """The API keys of a service; those of a file are read again within a second of its change."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings, self._stamp, self._checked = settings, self._file_stamp(settings), time.monotonic()
        self._holders = {key.encode(): holder for key, holder in settings.keys().items()}

    def holders(self) -> Mapping[bytes, KeyHolder]:
        """The holders by key; empty: requests need none. A file that can't be read leaves them as they were."""
        now = time.monotonic()
        if self._settings.api_key_file is None or now < self._checked + KEY_SECONDS:
            return self._holders
        self._checked = now
        if (stamp := self._file_stamp(self._settings)) != self._stamp:
            self._stamp = stamp
            try:
                self._holders = {key.encode(): holder for key, holder in self._settings.keys().items()}
                LOGGER.info("the API keys changed", extra={FIELDS: {"keys": len(self._holders)}})
            except UsageError as error:
                LOGGER.error("the API keys stay as they were", extra={FIELDS: {"problem": str(error)}})
        return self._holders

    @staticmethod
    def _file_stamp(settings: ServiceSettings) -> Stamp | None:
        return None if settings.api_key_file is None else stamp_of(settings.api_key_file)


class Admission:
    """Middleware that authenticates requests and stores their key's `KeyHolder` in their state (`key`; None: no key).

    Every request is checked before its body is read, so routes added later are protected too. With API keys, each API
    request needs a key, and counts toward the key's limit. Without keys, the service only accepts local requests, and
    rejects cross-site requests of browsers.

    Paths besides those of `routes` need no key (the files of a page); `password_paths` also accept it as a password.
    """

    def __init__(
        self, app: ASGIApp, settings: ServiceSettings, routes: Sequence[BaseRoute], password_paths: Set[str]
    ) -> None:
        self.app, self.routes, self.password_paths = app, routes, password_paths
        self._keys = ApiKeys(settings)
        self._most, self._origins = settings.key_requests, frozenset(settings.allow_origin)
        self._open: Counts[str | None] = Counts()

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
            elif scope["path"] not in PUBLIC_PATHS and self._is_of_api(scope):
                holder = state["key"] = self._holder(keys, scope["path"], headers)
                name = holder.name
                if self._open[name] >= self._most:
                    message = f"this API key has {self._most} requests open already; try again later"
                    raise ServiceFailure("too_many", message, retry_after=1)
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
