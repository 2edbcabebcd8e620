"""Hostile requests: each gets an answer that fits, and the service goes on.

SEGVOC_HOSTILE_REQUESTS sets their number; `make fuzz` sends many.
"""

import contextlib
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

from tests.serving.hostile import CLOSED, KINDS, Hostile
from tests.serving.services import listening
from tests.serving.test_connections import ask

REQUESTS = int(os.environ.get("SEGVOC_HOSTILE_REQUESTS", "60"))
LIMITS = {"max_pixels": 1_000_000, "upload_seconds": 1.0, "requests": 200, "queue": 200}


def status_of(port: int, hostile: Hostile) -> int:
    """Send a request as long as it is taken; the status of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
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
