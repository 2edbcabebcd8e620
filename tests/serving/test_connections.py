"""Connections whose clients send slowly, read slowly, or leave."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from annotate.tests.services import listening as with_page
from segvoc.serving.connections import LimitedConnection
from tests.serving.services import GatedSegmenter, listening, png

BODY = (
    b'--b\r\nContent-Disposition: form-data; name="words"\r\n\r\ncat, wall\r\n'
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + png() + b"\r\n--b--\r\n"
)
HEAD = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the service closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65_536):
            received += chunk
    return received


def one_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of an answer on a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65_536)
    return int(head.split()[1]), body


def ask(port: int) -> int:
    with connected(port) as connection:
        connection.sendall(WHOLE)
        return one_answer(connection)[0]


@pytest.mark.parametrize("begun", [b"", b"POST /v1/segment HTT", HEAD])
def test_headers_that_do_not_come_end_the_connection(begun):
    with listening(header_seconds=0.3) as port, connected(port) as connection:
        connection.sendall(begun)
        assert answer(connection) == b""
        assert ask(port) == 200


def test_answers_do_not_wait_for_acknowledgements(monkeypatch):
    found = []

    class Watched(LimitedConnection):
        def on_response_complete(self) -> None:
            super().on_response_complete()
            found.append(self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr("segvoc.serving.connections.LimitedConnection", Watched)
    with listening() as port:
        assert ask(port) == 200
    assert found == [1]


def test_headers_that_trickle_end_the_connection():
    with listening(header_seconds=0.3) as port, connected(port) as connection:
        with pytest.raises(OSError):
            for byte in HEAD * 100:
                connection.sendall(bytes([byte]))
                time.sleep(0.01)


def test_a_body_that_does_not_come_gets_408():
    with listening(upload_seconds=0.3) as port, connected(port) as connection:
        connection.sendall(WHOLE[:-40])
        status, body = one_answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (408, "upload_timeout")
        assert ask(port) == 200


def test_a_body_that_nobody_wants_ends_the_connection():
    with listening(header_seconds=0.3, max_bytes=1000) as port, connected(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n")
        status, body = one_answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")
        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(b"x" * 1000)
                time.sleep(0.02)


def test_bodies_without_a_length_are_limited_too():
    with listening(max_bytes=1000) as port, connected(port) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(40):
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        assert one_answer(connection)[0] in (400, 413)
        assert ask(port) == 200


def test_connections_are_kept_for_the_next_request():
    with listening(header_seconds=0.5) as port, connected(port) as connection:
        for _ in range(3):
            connection.sendall(WHOLE)
            assert one_answer(connection)[0] == 200
            time.sleep(0.3)


def test_an_answer_that_is_not_read_ends_the_connection(tmp_path):
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "large.bin").write_bytes(b"x" * 30_000_000)
    with with_page(page=tmp_path, download_seconds=0.3) as port, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.5)
        assert len(answer(connection)) < 30_000_000


def test_an_answer_may_be_read_slowly(tmp_path):
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "large.bin").write_bytes(b"x" * 8_000_000)
    with with_page(page=tmp_path, download_seconds=0.5) as port, connected(port) as connection:
        connection.sendall(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = 0
        while chunk := connection.recv(400_000):
            received += len(chunk)
            time.sleep(0.05)
        assert received > 8_000_000


def test_who_leaves_frees_the_place():
    model = GatedSegmenter()
    with listening(model, queue=1) as port:
        model.gate.clear()
        with contextlib.ExitStack() as stack:
            # three are being processed, and one waits
            connections = [stack.enter_context(connected(port)) for _ in range(4)]
            for connection in connections:
                connection.sendall(WHOLE)
                time.sleep(0.1)
            assert ask(port) == 429
            connections[3].close()
            time.sleep(0.2)
            with connected(port) as last:
                last.sendall(WHOLE)
                time.sleep(0.1)
                model.gate.set()
                assert one_answer(last)[0] == 200
            assert [one_answer(connection)[0] for connection in connections[:3]] == [200] * 3


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
def test_what_is_not_http_gets_400(request_bytes):
    with listening() as port, connected(port) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request_bytes)
        assert answer(connection).startswith(b"HTTP/1.1 400 ")
        assert ask(port) == 200
