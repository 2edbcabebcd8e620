"""The service under more load than it can take: throughput, latency, refusals, memory, and a stop in the midst of it.

    python -m benchmarks.service_load [--seconds 600] [--clients 32] [--accept application/json] [-- --queue 16 ...]

Starts `segvoc serve`, with the options after `--`, and keeps all clients calling for `seconds`; who is refused comes
back after the time in Retry-After. Then it sends SIGTERM while they go on, and counts what was accepted and not
answered. The model alone labels the same images before and after, in a process of its own with the same options of the
model, so ratios are of one run. Fails if an answer is neither 200, 429 nor 503, or an accepted request is lost.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.machine import keep

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.jpg"))
WORDS = ["cat", "person", "cup", "table", "rocket", "sky", "wall", "flag", "spoon", "grass"]
PAGE = os.sysconf("SC_PAGE_SIZE")

ALONE = """
import sys, time, segvoc
from segvoc import process_settings
process_settings.for_own_process()
device, dtype, seconds, *images = sys.argv[1:]
model = segvoc.load("tiny", device=device, dtype=dtype)
words = model.encode({words!r})
contents = [open(image, "rb").read() for image in images]
model.segment(contents[0], words)
begin, done = time.perf_counter(), 0
for result in model.segment_many(iter(lambda: contents[done % len(contents)], None), words):
    done += 1
    if time.perf_counter() - begin > float(seconds):
        break
print(done / (time.perf_counter() - begin))
"""


@dataclass
class Seen:
    """What the clients have seen."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Answers by status; 0: none to a request that was sent."""
    latencies: list[float] = field(default_factory=list)
    """Times of the accepted requests [s]."""
    refused: int = 0
    """Connections that the service didn't take."""
    idle: int = 0
    """Connections that it had closed while they waited, as servers do; the request was sent again."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Of all of these."""


def client(address: str, body: bytes, headers: dict[str, str], seen: Seen, end: threading.Event) -> None:
    """Call until the end; come back when the service says."""
    place, connection, used = urlsplit(address), None, False
    while not end.is_set():
        if connection is None:
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=600)
            try:
                connection.connect()
            except OSError:
                with seen.lock:
                    seen.refused += 1
                connection = None
                end.wait(0.2)
                continue
            used = False
        begin, status, wait = time.perf_counter(), 0, 0.0
        try:
            connection.request("POST", "/v1/segment", body, headers)
            answer = connection.getresponse()
            answer.read()
            status, wait = answer.status, float(answer.getheader("Retry-After", "0"))
            used = True
            if answer.will_close:
                connection = None
        except (http.client.HTTPException, OSError):
            connection = None
            if used:
                with seen.lock:
                    seen.idle += 1
                continue
        with seen.lock:
            seen.statuses[status] += 1
            if status == 200:
                seen.latencies.append(time.perf_counter() - begin)
        if wait:
            end.wait(wait)


@contextlib.contextmanager
def service(options: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of a service that takes requests, and its address."""
    command = [sys.executable, "-m", "segvoc", "serve", "tiny", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = ""
        for line in process.stderr:
            told = json.loads(line)
            address = told.get("address", address)
            if told["message"] == "Application startup complete.":
                break
        # the log has to be read on
        threading.Thread(target=lambda: list(process.stderr or ()), daemon=True).start()
        yield process, address
    finally:
        process.kill()
        process.wait()


def alone(device: str, dtype: str, seconds: float) -> float:
    """Images that the model labels in a second, without a service."""
    command = [sys.executable, "-c", ALONE.format(words=WORDS), device, dtype, str(seconds), *map(str, SAMPLES)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory(process: subprocess.Popen[str]) -> float:
    """Resident memory [MB]."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * PAGE / 1e6


def form(image: bytes) -> bytes:
    """An image and the words as a form."""
    return (
        b'--b\r\nContent-Disposition: form-data; name="words"\r\n\r\n' + ", ".join(WORDS).encode() + b"\r\n"
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + image + b"\r\n--b--\r\n"
    )


def load(arguments: argparse.Namespace) -> tuple[Seen, dict[str, Any]]:
    """Call the service, and stop it while it is called."""
    seen, end = Seen(), threading.Event()
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Accept": arguments.accept}
    with service(["--device", arguments.device, "--dtype", arguments.dtype, *arguments.options]) as (process, address):
        bodies = [form(path.read_bytes()) for path in SAMPLES]
        threads = [
            threading.Thread(target=client, args=(address, bodies[number % len(bodies)], headers, seen, end))
            for number in range(arguments.clients)
        ]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        time.sleep(min(60.0, arguments.seconds / 2))
        early = memory(process)
        time.sleep(max(0.0, begin + arguments.seconds - time.perf_counter()))
        with seen.lock:
            seconds, done, latencies = time.perf_counter() - begin, seen.statuses[200], list(seen.latencies)
        late = memory(process)
        process.send_signal(signal.SIGTERM)
        stopping = time.perf_counter()
        code = process.wait(600)
        stop_seconds = time.perf_counter() - stopping
        end.set()
        for thread in threads:
            thread.join()
    return seen, {
        "images_per_second": done / seconds,
        "p50_seconds": float(np.quantile(latencies, 0.5)),
        "p99_seconds": float(np.quantile(latencies, 0.99)),
        "memory_early_mb": early,
        "memory_late_mb": late,
        "stop_seconds": stop_seconds,
        "exit_code": code,
    }


def main() -> int:
    """Measure, print and keep; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--accept", default="application/json")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--queue", type=int, default=16)
    parser.add_argument("options", nargs="*", help="options of `segvoc serve`, after --")
    arguments = parser.parse_args()
    arguments.options += ["--queue", str(arguments.queue)]
    each = max(5.0, min(60.0, arguments.seconds / 10))
    before = alone(arguments.device, arguments.dtype, each)
    seen, found = load(arguments)
    after = alone(arguments.device, arguments.dtype, each)
    rate = (before + after) / 2
    row = {
        "accept": arguments.accept,
        "clients": arguments.clients,
        "seconds": arguments.seconds,
        **{name: round(value, 3) for name, value in found.items()},
        "alone_before": round(before, 3),
        "alone_after": round(after, 3),
        "throughput_ratio": round(found["images_per_second"] / rate, 3),
        "p99_over_time_times_queue": round(found["p99_seconds"] * rate / arguments.queue, 3),
        "memory_ratio": round(found["memory_late_mb"] / found["memory_early_mb"], 3),
        "statuses": dict(sorted(seen.statuses.items())),
        "connections_refused": seen.refused,
        "idle_connections_closed": seen.idle,
    }
    keep("service_load", [row])
    return 0 if set(seen.statuses) <= {200, 429, 503} and found["exit_code"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
