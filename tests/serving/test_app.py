"""The service beside its labeling: models, health, metrics, request ids, logs, and failures of every kind."""

import asyncio
import json
import logging
import platform
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from starlette.testclient import TestClient

import segvoc
from segvoc.errors import CheckpointError, UsageError
from segvoc.models.digests import weights_digest
from segvoc.models.shipped import open_tiny
from segvoc.runtime.version import __version__
from segvoc.serving import app as service_app
from segvoc.serving.app import create_app, model_facts
from segvoc.serving.labeler import Labeler
from segvoc.serving.middleware import PROBES, JsonLines, ServiceMetrics
from segvoc.serving.server import metrics_server
from segvoc.serving.settings import ServiceSettings
from tests.inference.numpy_engine import NumpySegmenter
from tests.processes import free_port
from tests.serving.services import GatedSegmenter, failure, in_process, named, png, wait_until_open


class BrokenSegmenter(NumpySegmenter):
    """Fails in the way it is told to, but for the first run."""

    error: Exception | None = None

    def encode_views(self, pixels, *, complete=True):
        if self.error is not None:
            raise self.error
        return super().encode_views(pixels, complete=complete)


def segment(client, headers=None, **fields):
    files, data = {"image": ("a.png", png())}, {"words": "cat, wall", **fields}
    return client.post("/v1/segment", files=files, data=data, headers=headers)


def test_models_and_limits():
    with in_process(max_bytes=5, max_pixels=6, max_words=7) as client:
        told = client.get("/v1/models").json()
    assert told["limits"] == {"bytes": 5, "pixels": 6, "tiled_pixels": 100_000_000, "words": 7}
    (model,) = told["models"]
    assert (model["name"], model["parts"], model["parameters"]) == ("numpy", True, None)
    assert "official" in model["windows"]


def test_answers_name_the_model_its_weights_and_the_version(tiny_network):
    model = open_tiny()
    with in_process(model) as client:
        told = client.get("/v1/models").json()
        answer = segment(client)
    identity = {"model": "tiny", "weights": weights_digest(model), "version": __version__}
    assert (told["models"][0]["weights"], told["version"]) == (identity["weights"], __version__)
    assert len(identity["weights"]) >= 32 and told["models"][0]["license"] == "Apache-2.0"
    assert model_facts(tiny_network, None).parameters > 10_000_000
    assert {name: answer.json()[name] for name in identity} == identity
    assert answer.headers["x-segvoc-model"] == f"tiny; weights={identity['weights']}; segvoc={__version__}"


def test_a_stuck_model_is_unhealthy():
    model = GatedSegmenter()
    with in_process(model, run_seconds=0.1) as client:
        model.gate.clear()
        answer = segment(client)
        assert (answer.status_code, failure(answer)) == (504, "timeout")
        # the thread may have begun later than the request
        end = time.monotonic() + 300
        while client.get("/healthz").status_code != 503 and time.monotonic() < end:
            time.sleep(0.02)
        assert failure(client.get("/healthz")) == failure(client.get("/readyz")) == "stuck"
        model.gate.set()


def test_metrics_count_requests_by_address_and_status():
    with in_process() as client:
        segment(client)
        segment(client, window="large")
        client.get("/no/such/address")
        assert client.head("/readyz").status_code == 200
        text = client.get("/metrics").text
    for request in (
        "POST /v1/segment 200  numpy",
        "POST /v1/segment 422 invalid_request ",
        "GET other 404 not_found ",
        "HEAD /readyz 200  ",
    ):
        method, route, status, code, model = request.split(" ")
        labels = f'code="{code}",method="{method}",model="{model}",route="{route}",status="{status}"'
        assert f"segvoc_requests_total{{{labels}}} 1.0" in text
    assert f'segvoc_build_info{{python="{platform.python_version()}",version="{segvoc.__version__}"}} 1.0' in text
    assert 'segvoc_model_info{dtype="float32",model="numpy",weights=""} 1.0' in text
    assert 'segvoc_reload_failures_total{model="numpy"} 0.0' in text
    assert (
        'segvoc_model_seconds_count{model="numpy"} 1.0' in text
        and "segvoc_open_requests 1.0" in text
        and "no/such" not in text
    )


def test_refused_requests_have_the_route_that_they_were_meant_for(caplog, tmp_path):
    caplog.handler.setFormatter(JsonLines())
    (tmp_path / "keys").write_text(f"anna: {'a' * 20}\nben: {'b' * 20} label 1/min\n")
    with (
        in_process(api_key_file=tmp_path / "keys", max_bytes=100, requests=1) as client,
        caplog.at_level(logging.INFO, "segvoc.serving"),
    ):
        anna, ben = ({"Authorization": f"Bearer {letter * 20}"} for letter in "ab")
        segment(client)  # without a key
        segment(client, headers=ben)
        segment(client, headers=ben)
        client.get("/v1/segment", headers=anna)
        client.request("BREW", "/v1/models", headers=anna)
        with client.app.state.service.request_slot():
            segment(client, headers=anna)
        client.get(f"/wp-admin/{'x' * 200}?key=secret")
        text = client.get("/metrics", headers=anna).text
    refused = (
        ("POST", "/v1/segment", 401, "unauthorized"),
        ("POST", "/v1/segment", 413, "too_large"),
        ("POST", "/v1/segment", 429, "too_many"),
        ("GET", "/v1/segment", 405, "method_not_allowed"),
        ("other", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/segment", 503, "busy"),
        ("GET", "other", 404, "not_found"),
    )
    lines = [line for line in map(json.loads, caplog.text.splitlines()) if line["message"] == "request"]
    told = [(line["method"], line["route"], line["status"], line["code"]) for line in lines]
    assert told[: len(refused)] == [*refused]
    for method, route, status, code in refused:
        labels = f'code="{code}",method="{method}",model="",route="{route}",status="{status}"'
        assert f"segvoc_requests_total{{{labels}}} 1.0" in text
        assert f'segvoc_request_seconds_count{{route="{route}",status="{status}"}} 1.0' in text
    assert [line.get("path") for line in lines[: len(refused)]] == [None] * 6 + [f"/wp-admin/{'x' * 90}"]
    assert "wp-admin" not in text and "secret" not in caplog.text


def test_request_ids_are_the_callers_or_new():
    with in_process() as client:
        assert client.get("/healthz", headers={"X-Request-ID": "job-7.a"}).headers["x-request-id"] == "job-7.a"
        fresh = [client.get("/healthz").headers["x-request-id"] for _ in range(2)]
        assert fresh[0] != fresh[1]
        for bad in ("x" * 65, 'a"b', "a b"):
            assert client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"] != bad


def test_the_log_has_a_line_of_json_for_each_request_but_of_probes_their_failures_alone(caplog, monkeypatch):
    caplog.handler.setFormatter(JsonLines())
    logged = []
    for settings in ({}, {"log_probes": True}):
        with monkeypatch.context() as patched, in_process(**settings) as client:
            with caplog.at_level(logging.INFO, "segvoc.serving"):
                caplog.clear()
                assert segment(client, headers={"X-Request-ID": "job-7"}).status_code == 200
                assert [client.get(path).status_code for path in PROBES] == [200] * 3
                patched.setattr(Labeler, "is_healthy", False)
                assert client.get("/readyz").status_code == 503
        lines = map(json.loads, caplog.text.splitlines())
        logged.append([line for line in lines if line["message"] == "request"])
    ((done, failed), all_lines) = logged
    names = ("request_id", "route", "method", "status", "model", "images", "pixels", "level")
    assert [done[name] for name in names] == ["job-7", "/v1/segment", "POST", 200, "numpy", 1, 48 * 64, "info"]
    assert "code" not in done and done["bytes_received"] > len(png())
    assert done["bytes"] > 0 and done["time"].endswith("Z")
    assert 0 <= done["queue_milliseconds"] <= done["milliseconds"]
    assert (failed["route"], failed["status"], failed["code"]) == ("/readyz", 503, "stuck")
    assert [line["route"] for line in all_lines] == ["/v1/segment", *PROBES, "/readyz"]


def test_traces_are_sent_with_the_parents_of_requests(monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="comes with Ray")
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, providers = InMemorySpanExporter(), []
    monkeypatch.setattr(trace, "set_tracer_provider", providers.append)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: (providers or [trace.ProxyTracerProvider()])[0])
    monkeypatch.setattr("opentelemetry.exporter.otlp.proto.http.trace_exporter.OTLPSpanExporter", lambda: spans)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for settings, names in (({}, set()), ({"traces": True}, {"GET /v1/models"})):
        with in_process(**settings) as client:
            client.get("/v1/models", headers={"traceparent": parent})
        for provider in providers:
            provider.force_flush()
        requests = [span for span in spans.get_finished_spans() if span.kind is trace.SpanKind.SERVER]
        assert {span.name for span in requests} == names
    assert requests[0].parent.span_id == 0xB7AD6B7169203331
    assert requests[0].resource.attributes["service.name"] == "segvoc"
    providers[0].shutdown()


def test_the_request_chooses_among_several_models():
    with in_process(named("a"), named("b")) as client:
        assert [model["name"] for model in client.get("/v1/models").json()["models"]] == ["a", "b"]
        for model, answered in (({}, "a"), ({"model": "a"}, "a"), ({"model": "b"}, "b")):
            assert segment(client, **model).json()["model"] == answered
        assert segment(client, model="c").status_code == 422
        assert "there is no model 'c'; choose one of a, b" in segment(client, model="c").json()["error"]["message"]
    with pytest.raises(UsageError, match="several models are called 'a'"), in_process(named("a"), named("a")):
        pass


def test_reloading_loses_no_request_and_a_model_that_cannot_be_opened_stays(caplog, monkeypatch):
    monkeypatch.setattr(service_app, "RELOAD_SECONDS", 0.0)
    models = [GatedSegmenter(), CheckpointError("damaged"), RuntimeError("INVALID_PROTOBUF"), open_tiny()]

    def opened():
        model = models.pop(0)
        if isinstance(model, Exception):
            raise model
        return model

    first, new = models[0], models[-1]
    app = create_app([opened], ServiceSettings())
    with TestClient(app, base_url="http://127.0.0.1") as client, ThreadPoolExecutor() as threads:
        service = app.state.service
        for problem in ("damaged", "INVALID_PROTOBUF"):
            client.portal.call(service.reload)
            assert (service.labeler.model.name, service.labeler.identity.weights) == ("numpy", None)
            record = caplog.records[-1]
            assert record.message == "reload failed; still serving the former model"
            assert record.fields["model"] == "numpy"
            assert problem in JsonLines().format(record)
        first.gate.clear()
        calls = [threads.submit(segment, client) for _ in range(3)]
        wait_until_open(client, 4)
        reloading = threads.submit(client.portal.call, service.reload)
        first.gate.set()
        reloading.result()
        assert [call.result().status_code for call in calls] == [200] * 3
        told = segment(client).json()
        assert (told["model"], told["weights"]) == ("tiny", weights_digest(new))
        text = client.get("/metrics").text
    assert 'segvoc_reload_failures_total{model="numpy"} 2.0' in text
    assert re.findall(r"segvoc_model_info\{(.*)\} 1.0", text) == [
        f'dtype="{new.dtype}",model="numpy",weights="{weights_digest(new)}"'
    ]


def test_reloads_that_are_asked_for_together_are_one_and_those_meanwhile_one_more(monkeypatch):
    monkeypatch.setattr(service_app, "RELOAD_SECONDS", 0.0)
    gate, opening, opened = threading.Event(), threading.Event(), []

    def open_model():
        opened.append(None)
        if len(opened) > 1:
            opening.set()
            assert gate.wait(300)
        return NumpySegmenter()

    async def together(number):
        await asyncio.gather(*(service.reload() for _ in range(number)))

    with TestClient(create_app([open_model], ServiceSettings())) as client, ThreadPoolExecutor() as threads:
        service = client.app.state.service
        first = threads.submit(client.portal.call, together, 5)
        assert opening.wait(300)
        client.portal.call(together, 5)
        gate.set()
        first.result()
    assert len(opened) == 3  # at the start, for the first five, for the others


def test_metrics_have_a_port_of_their_own_without_a_key():
    port = free_port()
    metrics = ServiceMetrics()
    metrics.requests.labels("/v1/segment", "POST", "200", "", "tiny").inc()
    metrics.waiting.labels("tiny").set(0)
    with metrics_server(metrics, "127.0.0.1", port):
        text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'segvoc_queue{model="tiny"} 0.0' in text and 'route="/v1/segment"' in text
        with pytest.raises(UsageError, match="another --metrics-port"), metrics_server(metrics, "127.0.0.1", port):
            pass
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize("error", [RuntimeError("a secret"), CheckpointError("'/etc/secret' is damaged")])
def test_errors_of_the_inside_are_logged_and_not_told(error, caplog):
    model = BrokenSegmenter()
    with in_process(model) as client:
        model.error = error
        answer = segment(client)
        assert (answer.status_code, failure(answer)) == (500, "internal") and "secret" not in answer.text
        caplog.handler.setFormatter(JsonLines())
        assert type(error).__name__ in caplog.text
        model.error = None
        assert segment(client).status_code == 200


def test_wrong_addresses_and_methods():
    missing = ("/nowhere", "/v1/segment/", "/docs", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/")
    with in_process() as client:
        for path in missing:
            answer = client.get(path)
            assert (answer.status_code, failure(answer)) == (404, "not_found"), path
        for method, path in (("GET", "/v1/segment"), ("PATCH", "/healthz")):
            answer = client.request(method, path)
            assert (answer.status_code, failure(answer)) == (405, "method_not_allowed") and answer.headers["allow"]


def test_more_requests_than_allowed_are_refused():
    model = GatedSegmenter()
    with in_process(model, requests=1) as client:
        model.gate.clear()
        with ThreadPoolExecutor() as threads:
            first = threads.submit(segment, client)
            wait_until_open(client, 2)
            second = segment(client)
            model.gate.set()
            assert (second.status_code, failure(second)) == (503, "busy") and second.headers["retry-after"] == "1"
            assert first.result().status_code == 200
        assert segment(client).status_code == 200


def test_traces_without_the_exporter_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(UsageError, match="pip install opentelemetry-exporter-otlp-proto-http"), in_process(traces=True):
        pass
