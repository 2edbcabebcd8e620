"""The service behind nginx with the site of deploy/, while one address misuses it."""

import http.client
import shutil
from urllib.parse import urlsplit

import pytest

from benchmarks.service import ASKED, answered, behind_nginx
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import listening

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")


def test_one_address_with_open_uploads_and_slow_headers_leaves_another_served():
    with listening(NumpySegmenter()) as port, behind_nginx(f"http://127.0.0.1:{port}") as address:
        assert answered(address) == ASKED


def test_bodies_that_are_too_large_do_not_reach_the_service():
    with listening(NumpySegmenter()) as port, behind_nginx(f"http://127.0.0.1:{port}") as address:
        place = urlsplit(address)
        connection = http.client.HTTPConnection(place.hostname, place.port, 20)
        connection.putrequest("POST", "/v1/segment")
        connection.putheader("Content-Length", str(40_000_000))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
