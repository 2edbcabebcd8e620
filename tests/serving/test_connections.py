"""Bodies without a length, and clients that leave; test_hostile.py has what is slow, too large or no HTTP."""

import contextlib
import socket
import time
from collections.abc import Iterator

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
