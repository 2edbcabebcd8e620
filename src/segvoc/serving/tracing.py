"""Traces of requests: the trace that a request belongs to is in the log and passed on, and may get spans of its own.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
"""

import importlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

from segvoc.errors import missing_extra
from segvoc.serving.logs import TRACE_ID
from segvoc.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Environment variables of OpenTelemetry's that say where spans go; without them none are made."""

UNTRACED = ("/healthz", "/readyz", "/metrics")
"""Addresses that are asked all the time, by programs."""

SENDING_SECONDS = 2.0
"""Time for sending the last spans [s]."""

_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")

_Attributes: TypeAlias = Mapping[str, str | int]
_Moments: TypeAlias = tuple[float, float]
_Steps: TypeAlias = Mapping[str, _Moments]
_NO: Mapping[str, Any] = {}


class RequestTrace:
    """The trace of a request, without spans.

    Args:
        headers: the request's.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        parent = _PARENT.fullmatch(headers.get("traceparent", ""))
        self.id = parent[1] if parent else ""
        names = ("traceparent", "tracestate") if parent else ()
        self._headers = {name: headers[name] for name in names if name in headers}

    def headers(self) -> dict[str, str]:
        """The headers of requests that this one leads to."""
        return self._headers

    def step(self, name: str, moments: _Moments, attributes: _Attributes = _NO, within: _Steps = _NO) -> None:
        """Note a step of the work on the request.

        Args:
            name: its name.
            moments: when it began and ended, by `time.monotonic` [s].
            attributes: what else there is to say.
            within: steps of the step: their names and moments.
        """

    def end(self, name: str, status: int, attributes: _Attributes) -> None:
        """Note the end of the request.

        Args:
            name: its method and route.
            status: that of its answer.
            attributes: what else there is to say.
        """


TRACE: ContextVar[RequestTrace] = ContextVar("segvoc_trace", default=RequestTrace({}))  # noqa: B039 (it never changes)
"""The trace of the request that is being answered."""


class _SpanTrace(RequestTrace):
    """The trace of a request, with spans."""

    def __init__(self, headers: Mapping[str, str], provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        super().__init__(headers)
        propagator = TraceContextTextMapPropagator()
        outside = propagator.extract(self._headers)
        self._tracer = provider.get_tracer("segvoc", __version__)
        self._span = self._tracer.start_span("request", outside, trace.SpanKind.SERVER)
        self._inside = trace.set_span_in_context(self._span, outside)
        self.id = trace.format_trace_id(self._span.get_span_context().trace_id)
        self._headers = {}
        propagator.inject(self._headers, self._inside)

    def step(self, name: str, moments: _Moments, attributes: _Attributes = _NO, within: _Steps = _NO) -> None:
        from opentelemetry.trace import set_span_in_context

        boot = time.time_ns() - time.monotonic_ns()
        began, ended = (boot + round(moment * 1e9) for moment in moments)
        span = self._tracer.start_span(name, self._inside, attributes=attributes, start_time=began)
        for inner, (inner_began, inner_ended) in within.items():
            start = boot + round(inner_began * 1e9)
            inner_span = self._tracer.start_span(inner, set_span_in_context(span, self._inside), start_time=start)
            inner_span.end(boot + round(inner_ended * 1e9))
        span.end(ended)

    def end(self, name: str, status: int, attributes: _Attributes) -> None:
        from opentelemetry.trace import StatusCode

        self._span.update_name(name)
        self._span.set_attributes({"http.response.status_code": status, **attributes})
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Tracing:
    """Follows requests.

    Args:
        provider: makes spans; None: none are made.
    """

    def __init__(self, provider: "TracerProvider | None") -> None:
        self._provider = provider

    @contextmanager
    def request(self, path: str, headers: Mapping[str, str]) -> Iterator[RequestTrace]:
        """The trace of a request, which logs name, and which is `TRACE`, while it is answered.

        Args:
            path: the address that is asked.
            headers: the request's, by names in lower case.
        """
        provider = None if path in UNTRACED else self._provider
        trace = RequestTrace(headers) if provider is None else _SpanTrace(headers, provider)
        tokens = TRACE.set(trace), TRACE_ID.set(trace.id)
        try:
            yield trace
        finally:
            TRACE.reset(tokens[0])
            TRACE_ID.reset(tokens[1])

    def stop(self) -> None:
        """Send the last spans; where that takes too long, they are lost."""
        if self._provider is not None:
            # it tries for ten seconds where nobody is there
            sending = threading.Thread(target=self._provider.shutdown, daemon=True)
            sending.start()
            sending.join(SENDING_SECONDS)


def tracing_is_wanted() -> bool:
    """Whether the environment says where spans go.

    Raises:
        UsageError: it does, and what sends them isn't installed.
    """
    if not any(map(os.environ.get, ENDPOINT_VARIABLES)):
        return False
    try:
        for module in ("opentelemetry.exporter.otlp.proto.http", "opentelemetry.sdk.trace"):
            importlib.import_module(module)
    except ModuleNotFoundError:
        raise missing_extra("OpenTelemetry", "otel") from None
    return True


def tracer_provider() -> "TracerProvider | None":
    """What makes spans and sends them to where the environment says; None where it doesn't say so.

    Raises:
        UsageError: as for `tracing_is_wanted`.
    """
    if not tracing_is_wanted():
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource({"service.name": "segvoc", "service.version": __version__})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
