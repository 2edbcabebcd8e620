"""The client of the service, against a service in this process."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest

from segvoc.client import Client, ServiceError
from segvoc.errors import InputError, UsageError
from tests.inference.numpy_engine import NumpySegmenter
from tests.processes import printed
from tests.serving.services import drawn_image, listening, png

WORDS = ["cat", "sofa, couch", "wall"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with listening() as port:
        yield Client(f"http://127.0.0.1:{port}/")


def test_results_are_those_of_the_model(client, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png())
    options: dict[str, Any] = {"parts": {"cat": ["head"]}, "background": "other", "threshold": 0.6}
    expected = NumpySegmenter().segment(drawn_image(), WORDS, return_probabilities=True, **options)
    for image in (path, str(path), png()):
        result = client.segment(image, WORDS, return_probabilities=True, **options)
        np.testing.assert_array_equal(result.labels, expected.labels)
        np.testing.assert_array_equal(result.part_labels, expected.part_labels)
        np.testing.assert_array_equal(result.probabilities, expected.probabilities)
        np.testing.assert_allclose(result.confidence, expected.confidence, atol=0.5 / 255 + 1e-6)
        assert result.words == expected.words
        assert result.overlay.startswith(b"\x89PNG")
        assert result.report["parts"][0]["name"] == "cat's head"


def test_unlabeled_pixels_are_65535(client):
    result = client.segment(png(), WORDS, threshold=1.0)
    assert set(np.unique(result.labels)) == {65_535}
    assert result.part_labels is None and result.probabilities is None


def test_vocabularies_and_models(client):
    name = client.encode(WORDS, background="other")
    assert client.segment(png(), vocabulary=name).words == (*WORDS, "other")
    assert client.models()["models"][0]["name"] == "numpy"


def test_failures_are_errors(client, tmp_path):
    with pytest.raises(ServiceError, match=r"'cat' is given twice.*\(request \w+\)") as refused:
        client.segment(png(), ["cat", "cat"])
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")
    assert refused.value.request_id
    with pytest.raises(InputError, match="can't be read"):
        client.segment(tmp_path / "nothing.jpg", WORDS)
    with pytest.raises(UsageError, match="not a URL"):
        Client("ftp://example.org")
    with pytest.raises(UsageError, match="attempts=0"):
        Client(attempts=0).models()
    with pytest.raises(ServiceError, match="can't be reached") as lost:
        Client("http://127.0.0.1:9", timeout=5.0).models()
    assert lost.value.code == "unreachable"


LOST = 0
"""The status of an answer that doesn't come."""


class Busy(http.server.BaseHTTPRequestHandler):
    """Is full at first."""

    answers: ClassVar[list[tuple[int, dict[str, str], bytes]]] = []

    def do_GET(self) -> None:
        status, headers, body = self.answers.pop(0)
        if status == LOST:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_full_service_is_tried_again(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    full = json.dumps({"error": {"code": "queue_full", "message": "full", "request_id": "a"}}).encode()
    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        client = Client(f"http://127.0.0.1:{server.server_port}", attempts=3)
        busy = (429, {"Retry-After": "7"}, full)
        Busy.answers = [busy, (503, {"Retry-After": "900"}, full), (200, {}, b'{"models": []}')]
        assert client.models() == {"models": []}
        assert waits == [7.0, 60.0]
        Busy.answers = [busy] * 3
        with pytest.raises(ServiceError, match=r"full \(request a\)"):
            client.models()
        waits.clear()
        Busy.answers = [(500, {}, b"<html>"), (502, {}, b""), (503, {}, b"no replica")]
        with pytest.raises(ServiceError, match="answered 503") as failed:
            client.models()
        assert failed.value.code == "unknown"
        assert waits == [0.5, 1.0]
        internal = json.dumps({"error": {"code": "internal", "message": "it failed", "request_id": "a"}}).encode()
        Busy.answers = [(500, {}, internal)]
        with pytest.raises(ServiceError, match="it failed"):
            client.models()
        server.shutdown()


def test_lost_connections_are_made_again(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        client = Client(f"http://127.0.0.1:{server.server_port}", attempts=3)
        lost, cut = (LOST, {}, b""), (200, {"Content-Length": "100"}, b"{")
        Busy.answers = [lost, cut, (200, {}, b'{"models": []}')]
        assert client.models() == {"models": []}
        assert waits == [0.5, 1.0]
        Busy.answers = [lost] * 3
        with pytest.raises(ServiceError, match="can't be reached") as failed:
            client.models()
        assert failed.value.code == "unreachable"
        server.shutdown()
    waits.clear()
    with pytest.raises(ServiceError, match="can't be reached"):
        client.models()
    assert waits == [0.5, 1.0]  # it was there before


def test_it_imports_no_engine():
    code = "import sys, segvoc.client; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = printed("-c", code).split()
    assert not {"torch", "onnxruntime", "fastapi", "uvicorn", "pydantic", "tokenizers"} & set(loaded)
