"""Traces: spans of requests and of the work on them, and ids that come from others and go on."""

import http.server
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from segvoc.errors import UsageError
from segvoc.serving.logs import JsonLines
from segvoc.serving.server import run
from segvoc.serving.settings import ServiceSettings
from segvoc.serving.tracing import RequestTrace, Tracing, tracer_provider
from tests.serving.services import in_process, png

ID, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{ID}-{ABOVE}-01", "tracestate": "other=1"}


@pytest.fixture
def spans() -> Iterator[tuple[Tracing, "InMemorySpanExporter"]]:  # noqa: F821
    """What makes spans, and where they come."""
    pytest.importorskip("opentelemetry.sdk", reason='needs the extra "otel"')
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Tracing(provider), exporter


def test_a_request_has_spans_for_what_it_waits_for(spans, caplog):
    tracing, exporter = spans
    with (
        in_process(tracing=tracing) as client,
        caplog.at_level(logging.INFO, "segvoc.serving"),
    ):
        caplog.handler.setFormatter(JsonLines())
        caplog.clear()
        files, fields = {"image": ("a.png", png())}, {"words": "cat, wall"}
        answer = client.post("/v1/segment", files=files, data=fields, headers={**PARENT, "X-Request-ID": "job-7"})
        assert answer.status_code == 200
        client.get("/healthz", headers=PARENT)
    found = exporter.get_finished_spans()
    assert [span.name for span in found if span.kind.name == "SERVER"] == ["POST /v1/segment"]
    ours = {span.name: span for span in found if f"{span.context.trace_id:032x}" == ID}
    request, queue, batch, network = (ours.pop(name) for name in ("POST /v1/segment", "queue", "batch", "network"))
    assert not ours
    assert f"{request.parent.span_id:016x}" == ABOVE
    assert [one.parent.span_id for one in (queue, batch, network)] == [
        request.context.span_id,
        request.context.span_id,
        batch.context.span_id,
    ]
    assert request.start_time <= queue.start_time < queue.end_time <= batch.start_time + 1e6
    assert batch.start_time <= network.start_time < network.end_time <= batch.end_time
    assert abs(time.time_ns() - request.start_time) < 600e9 > abs(time.time_ns() - network.start_time)
    assert request.attributes["segvoc.request_id"] == "job-7"
    assert (request.attributes["http.response.status_code"], batch.attributes["segvoc.batch_size"]) == (200, 1)
    lines = [line for line in map(json.loads, caplog.text.splitlines()) if line["message"] == "request"]
    assert [line["trace_id"] for line in lines] == [ID, ID]


@pytest.mark.parametrize(
    "parent",
    [f"00-{'0' * 32}-{ABOVE}-01", f"00-{ID}-{'0' * 16}-01", f"ff-{ID}-{ABOVE}-01", f"00-{ID.upper()}-{ABOVE}-01", "x"],
)
def test_without_spans_a_trace_goes_on_and_a_wrong_one_does_not(parent):
    assert (RequestTrace(PARENT).id, RequestTrace(PARENT).headers()) == (ID, PARENT)
    wrong = RequestTrace({**PARENT, "traceparent": parent})
    assert (wrong.id, wrong.headers()) == ("", {})


def test_spans_go_where_the_environment_says(monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason='needs the extra "otel"')
    sent = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    assert tracer_provider() is None
    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "labels")
        tracing = Tracing(tracer_provider())
        with tracing.request("/v1/models", PARENT) as trace:
            trace.end("GET /v1/models", 500, {})
        tracing.stop()
        server.shutdown()
    ((path, content),) = sent
    assert path == "/v1/traces"
    assert all(part in content for part in (b"GET /v1/models", b"labels", bytes.fromhex(ID)))


def test_what_traces_need_is_named(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UsageError, match=r"segvoc\[otel\]"):
        run(lambda: None, ServiceSettings(), host="127.0.0.1", port=0)
