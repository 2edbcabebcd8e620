"""No request holds the event loop: a heartbeat runs in it while the bodies arrive that take parsers the longest."""

import asyncio
import base64
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from tests.serving.services import FORM, form, listening, part, png, post

HELD_SECONDS = 0.05
"""Processor time of the loop's thread between two beats."""

LOCKED_SECONDS = 0.15
"""That of the process, whose other threads may hold Python's lock: 0.05 on an idle machine, and 0.3 to 100 without
limits."""

UNIT_SECONDS = 0.02
"""What a processor takes to add two million numbers for which these limits hold; slower ones have more."""

ATTEMPTS = 3
"""On a busy machine, the loop's thread may also wait for a processor."""

MEGABYTE = 10**6 - 100
MARKS = "a" + "\u0301" * 240 + "\u0323" * 240
"""Combining characters in the wrong order, which Unicode's normalization sorts in quadratic time."""


class Heart:
    """Measures how long the event loop that it beats in has no turn, since it or another thread holds Python's lock."""

    held = locked = 0.0

    @contextlib.asynccontextmanager
    async def beating(self, *_: object) -> AsyncIterator[None]:
        """The extension of the service that starts it."""
        beats = asyncio.create_task(self._beat())
        yield
        beats.cancel()

    async def _beat(self) -> None:
        while True:
            own, all_ = time.thread_time(), time.process_time()
            await asyncio.sleep(0.001)
            self.held = max(self.held, time.thread_time() - own)
            self.locked = max(self.locked, time.process_time() - all_)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[int, Heart]]:
    heart = Heart()
    with listening(extensions=(heart.beating,)) as port:
        yield port, heart


def words(text: str | bytes) -> bytes:
    return form(part("words", text if isinstance(text, bytes) else text.encode()))


def json_body(body: Any) -> bytes:
    return post("/v1/segment", "application/json", body if isinstance(body, bytes) else json.dumps(body).encode())


def numbered(count: int, text: str = "{:x}") -> list[str]:
    return [text.format(number) for number in range(count)]


BODIES = {
    "punycode": (form(part("words", b"x-" + b"a" * 400_000), kind=f"{FORM}; charset=punycode"), 415),
    "huge word": (words("a" * MEGABYTE), 422),
    "combining characters": (words("a" + "\u0301" * 240_000 + "\u0323" * 240_000), 422),
    "combining characters in the background": (
        form(part("words", b"cat"), part("background", MARKS.encode() * 900)),
        422,
    ),
    "500 words of combining characters": (words(", ".join(numbered(500, MARKS + "{}"))), 200),
    "half a million words": (words("a," * (MEGABYTE // 2)), 422),
    "10,000 words as JSON": (words(json.dumps(numbered(10_000))), 422),
    "synonyms": (words("a=" * (MEGABYTE // 2)), 422),
    "lists of parts": (form(part("parts", ";".join(numbered(100_000, "{:x}: a")).encode())), 422),
    "digits": (form(part("words", b"cat"), part("keep_classes", b"1" * MEGABYTE)), 422),
    "deep JSON": (words("[" * MEGABYTE), 413),
    "deep JSON in parts": (form(part("parts", b'{"a":' * (MEGABYTE // 5))), 413),
    "numbers as words": (words(f"[{'1,' * 400_000}1]"), 413),
    "deep JSON body": (json_body(b"[" * 499_000), 413),
    "unknown keys": (json_body(dict.fromkeys(numbered(40_000), 1)), 413),
    "many words": (json_body({"words": numbered(45_000)}), 413),
    "many fields": (form(*(part(name, b"x") for name in numbered(100_000))), 400),
    "long name of a field": (form(part("n" * MEGABYTE, b"x")), 400),
    "almost boundaries": (words("\r\n--" * (MEGABYTE // 4)), 422),
    "line breaks as an image": (form(part("words", b"cat"), image=b"\r" * 19_000_000), 422),
    "preamble": (post("/v1/segment", FORM, b"\r\n" * 9_000_000), 422),
    "image in base64": (
        post(
            "/v1/segment",
            "application/json",
            b'{"words": "cat", "image": "' + base64.b64encode(bytes(19_900_000)) + b'"}',
        ),
        422,
    ),
    "probabilities": (
        form(
            part("words", b"cat"),
            part("probabilities", b"true"),
            image=png(np.zeros((3000, 4000, 3), np.uint8)),
            headers=("Accept: application/zip",),
        ),
        200,
    ),
    "long header Accept": (form(part("words", b"cat"), headers=("Accept: " + "a;q=0," * 2500,)), 406),
    "many headers": (form(part("words", b"cat"), headers=tuple(numbered(1200, "X-{:x}: y"))), 200),
    "long Content-Type": (post("/v1/segment", "multipart/form-data" + ';a="' * 3500, b""), 400),
}


def slowness() -> float:
    """How much longer than `UNIT_SECONDS` this processor, shared as it is now, takes to add numbers; at least 1."""
    start = time.thread_time()
    sum(range(2_000_000))
    return max(1.0, (time.thread_time() - start) / UNIT_SECONDS)


def check_beats(port: int, heart: Heart, request: bytes, status: int) -> None:
    """Send a request, and check the status of its answer, and that the loop went on meanwhile."""
    held, locked = [], []
    while not held or ((held[-1] > HELD_SECONDS or locked[-1] > LOCKED_SECONDS) and len(held) < ATTEMPTS):
        time.sleep(0.01)
        heart.held = heart.locked = 0.0
        with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
            with contextlib.suppress(OSError):  # the service may answer, and close, before it has read all
                connection.sendall(request)
            answer = bytearray()
            with contextlib.suppress(OSError):
                while more := connection.recv(65_536):
                    answer += more
        time.sleep(0.01)
        slower = slowness()
        held.append(heart.held / slower)
        locked.append(heart.locked / slower)
        assert (int(answer.split()[1]) if answer else status) == status, answer
        assert answer or status in (400, 406, 413, 415)
    assert min(held) <= HELD_SECONDS and min(locked) <= LOCKED_SECONDS, (held, locked)


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.filterwarnings("ignore:pixels where a single word")
def test_the_event_loop_beats_on(served: tuple[int, Heart], name: str) -> None:
    check_beats(*served, *BODIES[name])
