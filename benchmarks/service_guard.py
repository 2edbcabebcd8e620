"""What the service lets through while others misuse it: time of a request, half-open uploads, slow connections.

    python -m benchmarks.service_guard [-- --queue 16 ...]

Starts `segvoc serve`, with the options after `--`. Clients have addresses of their own: 127.0.0.2 and so on. Columns
say what an honest client got.
"""

import argparse
import contextlib
import http.client
import json
import socket
import sys
import time
from urllib.parse import urlsplit

import numpy as np

from benchmarks.machine import keep
from benchmarks.service_load import SAMPLES, form, service

REQUESTS = 100
"""Requests on one connection, of which the median is told."""

HALF_OPEN, SLOW, PROBES = 70, 600, 20
HEAD = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"


def ask(address: str, source: str, method: str, path: str, body: bytes | None = None) -> int:
    """The status of a request of a client's; 0 where its connection is closed or refused."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, 20, source_address=(source, 0))
    try:
        connection.request(method, path, body, {"Content-Type": "multipart/form-data; boundary=b"} if body else {})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def milliseconds(address: str) -> float:
    """Median time of a small request on a connection that stays open [ms]."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    times = []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        times.append(time.perf_counter() - begin)
    connection.close()
    return 1000 * float(np.median(times))


def main() -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("options", nargs="*", help="options of `segvoc serve`, after --")
    arguments = parser.parse_args()
    upload = form(SAMPLES[0].read_bytes())
    row: dict[str, object] = {}
    with service(arguments.options) as (_, address), contextlib.ExitStack() as stack:
        place = urlsplit(address)

        def opened(source: str, sent: bytes) -> socket.socket:
            connection = socket.create_connection((place.hostname or "", place.port or 0), 20, (source, 0))
            with contextlib.suppress(OSError):
                connection.sendall(sent)
            return stack.enter_context(connection)

        row["request_ms"] = round(milliseconds(address), 2)
        half = HEAD + b"Content-Length: %d\r\n\r\n" % len(upload) + upload[:1000]
        uploads = [opened("127.0.0.2", half) for _ in range(HALF_OPEN)]
        time.sleep(1)
        row["other_client_beside_half_open_uploads"] = ask(address, "127.0.0.3", "POST", "/v1/segment", upload)
        for connection in uploads:
            connection.close()
        time.sleep(1)
        for number in range(SLOW):
            opened(f"127.0.0.{2 + number * 3 // SLOW}", b"GET / HTTP/1.1\r\nX: ")
        time.sleep(0.5)
        probes = [ask(address, "127.0.0.9", "GET", "/healthz") for _ in range(PROBES)]
        row["probes_answered_beside_slow_connections"] = f"{probes.count(200)} of {PROBES}"
        row["other_client_beside_slow_connections"] = ask(address, "127.0.0.9", "POST", "/v1/segment", upload)
    keep("service_guard", [row])
    sys.stdout.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
