"""Clients that call at once, that leave, or that misuse nginx; test_hostile.py has what is slow, large or no HTTP."""

import contextlib
import http.client
import json
import re
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
from PIL import Image

from benchmarks.service import ASKED, answered, behind_nginx, burst
from segvoc.inference.segmenter import Segmenter
from segvoc.models.opening import load_network
from segvoc.models.shipped import open_tiny
from segvoc.serving.server import bound_socket
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import FORM, GatedSegmenter, failure, form, labeled, listening, part, png, post
from tests.test_package import SAMPLES

WORDS = ["cat", "person", "cup", "sky", "wall"]
WHOLE = form(part("words", b"cat, wall"))


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=300)


def status(connection: socket.socket) -> int:
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def wait_for(port: int, requests: int, queued: int) -> None:
    """Until so many requests are open, and so many of them wait for the model."""
    found, end = {}, time.monotonic() + 300
    while found != {"open_requests": requests + 1, "queue": queued}:  # the one that asks is open too
        assert time.monotonic() < end, found
        text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
        found = {
            name: float(value)
            for name, value in re.findall(r"(?m)^segvoc_(open_requests|queue)(?:\{.*\})? (\S+)$", text)
        }


def ask(port: int) -> int:
    with connected(port) as connection:
        connection.sendall(WHOLE)
        return status(connection)


def test_answers_do_not_wait_for_acknowledgements():
    with bound_socket("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # then asyncio sets TCP_NODELAY


def test_bodies_without_a_length_are_limited_too():
    with listening(max_bytes=1000) as port, connected(port) as connection:
        connection.sendall(post("/v1/segment", FORM, b"", length="Transfer-Encoding: chunked"))
        with contextlib.suppress(OSError):
            for _ in range(40):
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        assert status(connection) in (400, 413)
        assert ask(port) == 200


def test_who_leaves_frees_the_place():
    model = GatedSegmenter()
    with listening(model, queue=1) as port, contextlib.ExitStack() as stack:
        stack.callback(model.gate.set)  # the service ends even if a check fails
        model.gate.clear()
        # three are being processed, and one waits
        connections = [stack.enter_context(connected(port)) for _ in range(5)]
        for number, connection in enumerate(connections[:4], 1):
            connection.sendall(WHOLE)
            wait_for(port, number, number // 4)
        assert ask(port) == 429
        connections[3].close()
        wait_for(port, 3, 0)
        connections[4].sendall(WHOLE)
        wait_for(port, 4, 1)
        model.gate.set()
        assert [status(connections[number]) for number in (4, 0, 1, 2)] == [200] * 4


@pytest.fixture(params=["onnxruntime", pytest.param("torch", marks=pytest.mark.slow)])
def tiny(request) -> Segmenter:
    return open_tiny() if request.param == "onnxruntime" else load_network("tiny", device="cpu", dtype="float32")


@pytest.mark.parametrize("keep", ["all", pytest.param(None, marks=pytest.mark.slow)])
def test_four_clients_get_the_labels_of_one(tiny, keep):
    images = [png(np.asarray(Image.open(path).resize((160, 120)))) for path in sorted(SAMPLES.glob("*.jpg"))[:2]]
    with listening(tiny, batch=4, batch_wait=0.3) as port, ThreadPoolExecutor(4) as threads:
        options = {"probabilities": "true", **({} if keep is None else {"keep_classes": keep})}
        label = partial(labeled, f"http://127.0.0.1:{port}", words=WORDS, **options)
        alone = [label(image) for image in images]
        together = list(threads.map(label, images * 2))
    for one, other in zip(alone * 2, together, strict=True):
        np.testing.assert_array_equal(one["labels.png"], other["labels.png"])
        np.testing.assert_allclose(one["probabilities.npy"], other["probabilities.npy"], atol=1e-6, rtol=0)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_behind_nginx_one_address_does_not_keep_others_waiting_and_what_is_refused_is_json():
    """With the site of deploy/, while one address has open uploads and slow headers."""
    with listening(NumpySegmenter()) as port, behind_nginx(f"http://127.0.0.1:{port}") as address:
        assert answered(address) == ASKED
        place = urlsplit(address)
        connection = http.client.HTTPConnection(place.hostname, place.port, 20)
        connection.putrequest("POST", "/v1/segment")
        connection.putheader("Content-Length", str(40_000_000))
        connection.endheaders()
        refused = connection.getresponse()
        assert (refused.status, refused.headers["server"]) == (413, "nginx")
        assert refused.headers["content-type"] == "application/json"
        error = json.loads(refused.read())["error"]
        assert (error["code"], error["request_id"]) == ("too_large", refused.headers["x-request-id"])
        connection.close()
        for sent in (b"\x16\x03\x01 hello\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n"):
            with socket.create_connection((place.hostname, place.port), timeout=300) as not_http:
                not_http.sendall(sent)
                answer = http.client.HTTPResponse(not_http)
                answer.begin()
                assert (answer.status, json.loads(answer.read())["error"]["code"]) == (400, "bad_request")
        for path, header, code in (("/" + 9000 * "a", "", 414), ("/", 9000 * "a", 431)):
            long = httpx2.get(address + path, headers={"X-Long": header})
            assert (long.status_code, failure(long)) == (code, "too_large")
            assert ("address" if code == 414 else "headers") in long.json()["error"]["message"]
        # without a project it isn't there, and the service says so; nginx doesn't send callers to another address
        for path in ("/v1/project", "/v1/project/changes"):
            assert failure(httpx2.get(address + path)) == "not_found"


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_sixty_tls_connections_at_once_are_all_answered():
    with listening(NumpySegmenter()) as port, behind_nginx(f"http://127.0.0.1:{port}", tls=True) as address:
        assert set(burst(address)) <= {200, 429}
