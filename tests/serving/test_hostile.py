"""Requests of people who mean harm: each gets an answer that fits, and the service goes on.

SEGVOC_HOSTILE_REQUESTS sends so many, with other numbers drawn by a seed, as `make fuzz` does; else each is sent once.
"""

import contextlib
import functools
import io
import os
import socket
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import NamedTuple

from PIL import Image

from tests import images
from tests.serving.services import FORM, form, listening, part, post
from tests.serving.test_connections import WHOLE, ask

LIMITS = {"max_pixels": 1_000_000, "tiled_pixels": 1_000_000, "upload_seconds": 1.0, "requests": 200, "queue": 200}
CLOSED = 0
"""The status of a connection that the service closes without an answer."""


class Hostile(NamedTuple):
    """What is sent, with a pause after each chunk but the last, and the answers that are allowed."""

    chunks: Sequence[bytes]
    statuses: tuple[int, ...]


WORDS = part("words", b"cat, wall")
PLACE = WHOLE.index(b"\r\n\r\n") + 4
"""Where its body begins."""
BODY = WHOLE[PLACE:]


def sized(length: object) -> bytes:
    """A whole request that says that its body has another length."""
    return post("/v1/segment", FORM, BODY, length=f"Content-Length: {length}")


@functools.cache
def _drawn(side: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, kind)
    return buffer.getvalue()


def bombs(random: Random) -> list[Hostile]:
    width, height = random.randint(20_000, 2**31 - 1), random.randint(20_000, 2**31 - 1)
    screen = struct.pack("<HH", 65_535, 65_535)
    pictures = [
        images.png(width, height, 8, 2, bytes(10**7)),
        b"GIF89a" + screen + b"\xf7\0\0" + bytes(768) + b",\0\0\0\0" + screen + b"\0\x08\x01\0\0;",
        b"P6\n%d %d\n255\n" % (width % 10**6 + 9000, height % 10**6 + 9000) + bytes(100),
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        *(_drawn(2000, kind) for kind in ("PNG", "GIF", "TIFF", "WEBP")),
    ]
    return [Hostile([form(WORDS, image=picture)], (413, 422)) for picture in pictures]


def lengths(random: Random) -> list[Hostile]:
    smuggled, both = b"0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n", "Content-Length: 4\r\nTransfer-Encoding: chunked"
    chunks = [b"zz\r\n", b"ffffffffffffffffffff\r\n", b"-5\r\nhello\r\n", b"5;" + b"x" * 99_999]
    chunked = [post("/v1/segment", FORM, chunk, length="Transfer-Encoding: chunked") for chunk in chunks]
    trickle = (bytes([byte]) for byte in BODY[: random.randint(100, 200)])
    return [
        Hostile([sized(len(BODY) + random.randint(1, 999))], (408,)),
        Hostile([sized(random.randint(0, 100))], (400, 422)),
        *(Hostile([sized(no)], (400, 413, 422)) for no in ("-1", "x", "1e9", "0x10", "5, 6", "9" * 40, "")),
        Hostile([post("/v1/segment", FORM, smuggled, length=both)], (400, 422)),
        *(Hostile([request], (400, 408, CLOSED)) for request in chunked),
        Hostile([sized(10 ** random.randint(8, 15))], (413,)),
        Hostile([WHOLE[:PLACE], *trickle], (408,)),
    ]


def heads(random: Random) -> list[Hostile]:
    requests = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 400_000 + b"\r\n\r\n", (400, CLOSED)),
        (b"GET /" + b"x" * 400_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (400, CLOSED)),
        (b"GET /healthz HTTP/1.1\r\n\r\n", (400,)),
        (b"\x16\x03\x01" + random.randbytes(200), (400, CLOSED)),
        (random.randbytes(100) + b"\r\n\r\n", (400, CLOSED)),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX\x00: y\r\n\r\n", (400,)),
        (b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", (403,)),
        (form(WORDS, headers=("Origin: http://evil.example",)), (403,)),
        (post("/v1/segment", "application/json", b"{}"), (422,)),
        (post("/v1/segment", "text/html", b"<html>"), (415,)),
        (form(WORDS, headers=("Accept: text/html",)), (406,)),
        (b"BREW /v1/segment HTTP/1.1\r\nHost: localhost\r\n\r\n", (405,)),
        (b"GET /v1/segment HTTP/1.1\r\nHost: localhost\r\n\r\n", (405,)),
    ]
    return [Hostile([request], statuses) for request, statuses in requests]


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
    random, requests = Random(1), list[Hostile]()
    count = int(os.environ.get("SEGVOC_HOSTILE_REQUESTS", "0"))
    while not requests or len(requests) < count:
        requests += [*bombs(random), *lengths(random), *heads(random)]
    with listening(**LIMITS) as port, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda hostile: status_of(port, hostile), requests))
        wrong = [
            (status, hostile.statuses, hostile.chunks[0][:200])
            for hostile, status in zip(requests, found, strict=True)
            if status not in hostile.statuses
        ]
        assert wrong == []
        assert ask(port) == 200
