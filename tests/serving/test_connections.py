"""Bodies that come slowly, are too large or break off, and clients that leave."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest

from segvoc.serving.server import bound_socket
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


def test_a_body_that_does_not_come_gets_408():
    with listening(upload_seconds=0.3) as port, connected(port) as connection:
        connection.sendall(WHOLE[:-40])
        status, body = one_answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (408, "upload_timeout")
        assert ask(port) == 200


def test_a_body_that_is_announced_as_too_large_is_not_read():
    with listening(max_bytes=1000) as port, connected(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n")
        status, body = one_answer(connection)
        assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")


def test_answers_do_not_wait_for_acknowledgements():
    with bound_socket("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # then asyncio sets TCP_NODELAY


def test_bodies_without_a_length_are_limited_too():
    with listening(max_bytes=1000) as port, connected(port) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(40):
                connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        assert one_answer(connection)[0] in (400, 413)
        assert ask(port) == 200


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
