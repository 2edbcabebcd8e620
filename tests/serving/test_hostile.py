"""Requests of people who mean harm, drawn with a seed: each gets an answer that fits, and the service goes on.

SEGVOC_HOSTILE_REQUESTS sets their number; `make fuzz` sends many.
"""

import contextlib
import functools
import io
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import NamedTuple

from PIL import Image

from tests import images
from tests.serving.services import FORM, form, listening, part, post
from tests.serving.test_connections import ask

REQUESTS = int(os.environ.get("SEGVOC_HOSTILE_REQUESTS", "24"))
LIMITS = {"max_pixels": 1_000_000, "tiled_pixels": 1_000_000, "upload_seconds": 1.0, "requests": 200, "queue": 200}
CLOSED = 0
"""The status of a connection that the service closes without an answer."""


class Hostile(NamedTuple):
    """A request: what it tries, what is sent (with a pause after each chunk but the last), and allowed answers."""

    kind: str
    chunks: Sequence[bytes]
    statuses: tuple[int, ...]


WORDS = part("words", b"cat, wall")
WHOLE = form(WORDS)
PLACE = WHOLE.index(b"\r\n\r\n") + 4
"""Where its body begins."""


def sized(length: int) -> bytes:
    """A whole request that says that its body has another length."""
    return post("/v1/segment", FORM, WHOLE[PLACE:], length=f"Content-Length: {length}")


@functools.cache
def _drawn(side: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, kind)
    return buffer.getvalue()


def bombs(random: Random) -> Hostile:
    width, height = random.randint(20_000, 2**31 - 1), random.randint(20_000, 2**31 - 1)
    screen = struct.pack("<HH", 65_535, 65_535)
    image = random.choice(
        [
            images.png(width, height, 8, 2, bytes(10**7)),
            b"GIF89a" + screen + b"\xf7\0\0" + bytes(768) + b",\0\0\0\0" + screen + b"\0\x08\x01\0\0;",
            b"P6\n%d %d\n255\n" % (width % 10**6 + 9000, height % 10**6 + 9000) + bytes(100),
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
            _drawn(2000, random.choice(["PNG", "GIF", "TIFF", "WEBP"])),
        ]
    )
    return Hostile("bomb", [form(WORDS, image=image)], (413, 422))


def lengths(random: Random) -> Hostile:
    body = WHOLE[PLACE:]
    length = random.choice(["-1", "x", "1e9", "0x10", "5, 6", "9" * 40, ""])
    smuggled, both = b"0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n", "Content-Length: 4\r\nTransfer-Encoding: chunked"
    chunk = random.choice([b"zz\r\n", b"ffffffffffffffffffff\r\n", b"-5\r\nhello\r\n", b"5;" + b"x" * 99_999])
    kind, request, statuses = random.choice(
        [
            ("too long", sized(len(body) + random.randint(1, 999)), (408,)),
            ("too short", sized(random.randint(0, 100)), (400, 422)),
            ("no length", post("/v1/segment", FORM, body, length=f"Content-Length: {length}"), (400, 413, 422)),
            ("two lengths", post("/v1/segment", FORM, smuggled, length=both), (400, 422)),
            ("bad chunk", post("/v1/segment", FORM, chunk, length="Transfer-Encoding: chunked"), (400, 408, CLOSED)),
            ("large", sized(10 ** random.randint(8, 15)), (413,)),
        ]
    )
    return Hostile(kind, [request], statuses)


def slow(random: Random) -> Hostile:
    trickle = (bytes([byte]) for byte in WHOLE[PLACE : PLACE + random.randint(100, 200)])
    return Hostile("slow body", [WHOLE[:PLACE], *trickle], (408,))


def headers(random: Random) -> Hostile:
    request, statuses = random.choice(
        [
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 400_000 + b"\r\n\r\n", (400, CLOSED)),
            (b"GET /" + b"x" * 400_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, CLOSED)),
            (b"GET /healthz HTTP/1.1\r\n\r\n", (400,)),
            (b"\x16\x03\x01" + random.randbytes(200), (400, CLOSED)),
            (random.randbytes(100) + b"\r\n\r\n", (400, CLOSED)),
            (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX\x00: y\r\n\r\n", (400,)),
            (b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", (403,)),
            (form(WORDS, headers=("Origin: http://evil.example",)), (403,)),
            (post("/v1/segment", "application/json", b"{}"), (415,)),
            (post("/v1/segment", "text/html", b"<html>"), (415,)),
            (form(WORDS, headers=("Accept: text/html",)), (406,)),
            (b"BREW /v1/segment HTTP/1.1\r\nHost: localhost\r\n\r\n", (405,)),
            (b"GET /v1/segment HTTP/1.1\r\nHost: localhost\r\n\r\n", (405,)),
        ]
    )
    return Hostile("odd head", [request], statuses)


KINDS: Sequence[Callable[[Random], Hostile]] = (bombs, lengths, slow, headers)


def status_of(port: int, hostile: Hostile) -> int:
    """Send a request as long as it is taken; the status of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        with contextlib.suppress(OSError):
            for chunk in hostile.chunks:
                connection.sendall(chunk)
                if len(hostile.chunks) > 1:
                    time.sleep(0.02)
        head = b""
        with contextlib.suppress(ConnectionError):
            while b"\r\n" not in head and (more := connection.recv(4096)):
                head += more
    return int(head.split()[1]) if head else CLOSED


def test_hostile_requests_get_what_they_deserve():
    random = Random(REQUESTS)
    drawn = [KINDS[number % len(KINDS)](random) for number in range(REQUESTS)]
    with listening(**LIMITS) as port, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda hostile: status_of(port, hostile), drawn))
        wrong = [
            (number, hostile.kind, status, hostile.chunks[0][:200])
            for number, (hostile, status) in enumerate(zip(drawn, found, strict=True))
            if status not in hostile.statuses
        ]
        assert wrong == []
        assert ask(port) == 200
