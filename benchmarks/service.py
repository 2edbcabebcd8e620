"""The service under more load than it can take, and behind nginx while one address misuses it; and batches on Ray.

    python -m benchmarks.service load [--seconds 600] [--clients 32] [--accept application/json] [-- --queue 16 ...]
    python -m benchmarks.service nginx
    python -m benchmarks.service memory [--requests 2000] [--model tiny] [-- --max-pixels N ...]
    python -m benchmarks.service again [--model tiny] [-- --image-cache MB ...]
    python -m benchmarks.service batch [--images 300]

`load` starts `segvoc serve`, with the options after `--`, and keeps all clients calling for `seconds`; who is refused
comes back after the time in Retry-After. Then it sends SIGTERM while they go on, and counts what was accepted and not
answered. The model alone labels the same images before and after, in a process of its own with the same options of the
model. Fails if an answer is neither 200, 429 nor 503, or an accepted request is lost.

`nginx` opens 70 uploads that don't go on and 300 requests whose headers don't end from one address, again and again,
and counts what another address is answered: by the service behind nginx with deploy/nginx/segvoc.conf.template, which
has to be 16 of 16, and by the bare service. Addresses are those of loopback, 127.0.0.2 and so on. Then it opens 60 TLS
connections to nginx at once, each with a request, and fails unless all are answered.

`memory` sends mixed requests from 8 clients (photographs of 0.3 to 24 megapixels, all three types of answer), the last
of which are 100 megapixels as a JPEG, once for each type. Fails if the service's peak is above 1.5 GB.

`again` sends photographs, and the same ones with other words, which cost only the words: each is encoded once.

`batch` labels photographs by `segvoc batch` with one worker and with two, and with two of which one is killed halfway.
Fails unless every photograph has one row in each result. A worker has one core.

`python tools/make_tables.py` then renews the tables of the pages that show results.
"""

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
from PIL import Image

from benchmarks.machine import alone, keep, update
from segvoc.cli.options import ModelOptions
from segvoc.runtime.hardware import DtypeName

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.jpg"))
WORDS = ["cat", "person", "cup", "table", "rocket", "sky", "wall", "flag", "spoon", "grass"]


@contextlib.contextmanager
def service(options: Sequence[str], model: str = "tiny") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of a service that takes requests, and its address."""
    command = [sys.executable, "-m", "segvoc", "serve", model, "--port", "0", *options]
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


def labeled_a_second(device: str, dtype: DtypeName, seconds: float) -> float:
    """Images that the model labels in a second, without a service."""
    model = ModelOptions(device=device, dtype=dtype).open("tiny")
    words, images = model.encode(WORDS), itertools.cycle([path.read_bytes() for path in SAMPLES])
    model.segment(next(images), words)
    begin = time.perf_counter()
    for done, _ in enumerate(model.segment_many(images, words), start=1):
        if time.perf_counter() - begin > seconds:
            return done / (time.perf_counter() - begin)
    raise AssertionError("the images never end")


def memory(process: subprocess.Popen[str], kind: str) -> float:
    """Resident memory of a process now ("VmRSS") or at its highest so far ("VmHWM") [MB]."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(rf"{kind}:\s+(\d+) kB", status)[0]) / 1e3


REFUSED = -1
"""In place of a status: the connection wasn't taken."""


def ask(
    address: str,
    image: bytes | None = None,
    *,
    words: Sequence[str] = WORDS,
    accept: str = "application/json",
    source: str = "127.0.0.1",
    patience: float = 600.0,
) -> tuple[int, float]:
    """The status of a request from one of loopback's addresses, and the time in Retry-After [s].

    The status is 0 if there is no answer within `patience` [s]. Without an image it asks whether the service lives.
    """
    form: dict[str, Any] = {"data": {"words": ", ".join(words)}, "files": {"image": image}}
    method, path, content = ("GET", "/healthz", {}) if image is None else ("POST", "/v1/segment", form)
    transport = httpx2.HTTPTransport(verify=False, local_address=source)
    with httpx2.Client(transport=transport, timeout=patience, headers={"Accept": accept}) as client:
        try:
            answer = client.request(method, f"{address}{path}", **content)
            return answer.status_code, float(answer.headers.get("Retry-After", "0"))
        except httpx2.ConnectError as error:
            return (REFUSED, 0.2) if "refused" in str(error) else (0, 0.0)
        except httpx2.TransportError:
            return 0, 0.0


def client(address: str, image: bytes, accept: str, end: threading.Event) -> list[tuple[int, float, float]]:
    """Call until the end, and come back when the service says; status, begin and end of each call."""
    calls = []
    while not end.is_set():
        begin = time.perf_counter()
        status, wait = ask(address, image, accept=accept)
        calls.append((status, begin, time.perf_counter()))
        end.wait(wait)
    return calls


def load(arguments: argparse.Namespace) -> int:
    """Call the service, and stop it while it is called; the exit code."""
    chosen, end = ["--device", arguments.device, "--dtype", arguments.dtype], threading.Event()
    each = max(5.0, min(60.0, arguments.seconds / 10))
    before = alone(labeled_a_second, arguments.device, arguments.dtype, each)
    options = [*chosen, "--queue", str(arguments.queue), *arguments.options]
    with service(options) as (process, address), ThreadPoolExecutor(arguments.clients) as threads:
        images = itertools.islice(itertools.cycle(path.read_bytes() for path in SAMPLES), arguments.clients)
        begin = time.perf_counter()
        running = [threads.submit(client, address, image, arguments.accept, end) for image in images]
        time.sleep(min(60.0, arguments.seconds / 2))
        early = memory(process, "VmRSS")
        time.sleep(max(0.0, begin + arguments.seconds - time.perf_counter()))
        late = memory(process, "VmRSS")
        process.send_signal(signal.SIGTERM)
        stopping = time.perf_counter()
        code = process.wait(600)
        stop_seconds = time.perf_counter() - stopping
        end.set()
        calls = [call for thread in running for call in thread.result()]
    after = alone(labeled_a_second, arguments.device, arguments.dtype, each)
    latencies = [until - since for status, since, until in calls if status == 200 and until <= stopping]
    statuses = Counter(status for status, *_ in calls)
    refused = statuses.pop(REFUSED, 0)
    measured = {
        "images_per_second": len(latencies) / (stopping - begin),
        "alone_before": before,
        "alone_after": after,
        "p50_seconds": float(np.quantile(latencies, 0.5)),
        "p99_seconds": float(np.quantile(latencies, 0.99)),
        "memory_early_mb": early,
        "memory_late_mb": late,
        "stop_seconds": stop_seconds,
    }
    row = {
        "accept": arguments.accept,
        "clients": arguments.clients,
        "queue": arguments.queue,
        "seconds": arguments.seconds,
        **{name: round(value, 3) for name, value in measured.items()},
        **counted(statuses),
        "connections_refused": refused,
        "exit_code": code,
    }
    keep("service_load", [row])
    return 0 if set(statuses) <= {200, 429, 503} and code == 0 else 1


def counted(statuses: Counter[int]) -> dict[str, int]:
    """The answers by what a client does next."""
    waiting = statuses[429] + statuses[503]
    return {
        "labeled": statuses[200],
        "told_to_wait": waiting,
        "unanswered": statuses[0],
        "failed": statuses.total() - statuses[200] - waiting - statuses[0],
    }


TEMPLATE = Path(__file__).parents[1] / "deploy" / "nginx" / "segvoc.conf.template"
HALF_OPEN, SLOW, ASKED, BURST = 70, 300, 16, 60
UPLOAD = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
UPLOAD += (
    b'Content-Length: 1000000\r\n\r\n--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
)
"""The beginning of an upload."""


@contextlib.contextmanager
def behind_nginx(address: str, *, tls: bool = False) -> Iterator[str]:
    """The address of nginx in front of a service, with the template's site, but for TLS unless asked for."""
    scheme = "https" if tls else "http"
    with socket.create_server(("127.0.0.1", 0)) as free, tempfile.TemporaryDirectory() as folder:
        port = free.getsockname()[1]
        site = TEMPLATE.read_text(encoding="utf-8").replace("${SEGVOC}", urlsplit(address).netloc)
        plain = re.sub(r"server {\s*listen 80;.*?\n}\n", "", site, flags=re.DOTALL)
        plain = re.sub(r"\tlisten \[::\].*|\tserver_name.*", "", plain)
        if tls:
            call = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
            names = ["-keyout", f"{folder}/privkey.pem", "-out", f"{folder}/fullchain.pem"]
            subprocess.run([*call, *names], check=True, capture_output=True)
            plain = plain.replace("${CERTIFICATES}", folder).replace("listen 443", f"listen 127.0.0.1:{port}")
        else:
            plain = re.sub(r"\tssl_.*", "", plain).replace("443 ssl", f"127.0.0.1:{port}")
        kept = "".join(f"{name}_temp_path {folder}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        whole = f"daemon off; pid {folder}/pid; error_log {folder}/errors; {'user root; ' * (os.getuid() == 0)}\n"
        whole += f"events {{ worker_connections 768; }}\nhttp {{ access_log off; {kept}\n{plain}}}\n"
        (Path(folder) / "nginx.conf").write_text(whole, encoding="utf-8")
        free.close()
        process = subprocess.Popen(["nginx", "-e", f"{folder}/errors", "-c", f"{folder}/nginx.conf"])
        try:
            while ask(f"{scheme}://127.0.0.1:{port}")[0] != 200:
                assert process.poll() is None, Path(folder, "errors").read_text()
                time.sleep(0.05)
            yield f"{scheme}://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def misused(address: str) -> Iterator[None]:
    """Half-open uploads and slow headers from 127.0.0.2; those that the server closes are opened again."""
    end, place = threading.Event(), urlsplit(address)

    async def keep_open(begun: bytes) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(place.hostname, place.port, local_addr=("127.0.0.2", 0))
                try:
                    writer.write(begun)
                    while await reader.read(4096):
                        pass
                finally:
                    writer.close()
            await asyncio.sleep(0.5)

    async def misuse() -> None:
        begun = [UPLOAD] * HALF_OPEN + [b"GET / HTTP/1.1\r\nX: "] * SLOW
        _tasks = [asyncio.create_task(keep_open(one)) for one in begun]  # which end with this one
        while not end.is_set():
            await asyncio.sleep(0.1)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, misuse())
        try:
            yield
        finally:
            end.set()


def answered(address: str) -> int:
    """How many of a few requests of another address are answered while the service is misused."""
    image = SAMPLES[0].read_bytes()
    with misused(address):
        time.sleep(1)
        calls = [ask(address, image, source="127.0.0.3", patience=60) for _ in range(ASKED)]
    return [status for status, _ in calls].count(200)


def burst(address: str) -> Counter[int]:
    """The answers to connections that one address opens at once, by status; 0: none."""
    ready, image = threading.Barrier(BURST), SAMPLES[0].read_bytes()

    def call(_: int) -> int:
        ready.wait()
        return ask(address, image, source="127.0.0.4")[0]

    with ThreadPoolExecutor(BURST) as threads:
        return Counter(threads.map(call, range(BURST)))


MOST_MEMORY_MB, MIXED_CLIENTS = 1500, 8
ACCEPTED = ("application/json", "image/png", "application/zip")


def mixed_images() -> tuple[list[bytes], bytes]:
    """Photographs of several sizes, small ones more often, and one of 100 megapixels."""
    photo, images = Image.open(SAMPLES[0]).convert("RGB"), []
    for size, times in (((640, 480), 8), ((1600, 1200), 4), ((4000, 3000), 3), ((6000, 4000), 1)):
        images += [_jpeg(photo.resize(size))] * times
    return images, _jpeg(photo.resize((12_500, 8_000)))


def _jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    return content.getvalue()


def most_memory(arguments: argparse.Namespace) -> int:
    """Send mixed requests and keep the peak of the service's memory; the exit code."""
    images, large = mixed_images()
    # each type of answer to each size; no two files are equal, so that none is cached
    numbered = ((number, images[number % 16] + str(number).encode()) for number in range(arguments.requests))
    calls = [(image, ACCEPTED[number // 16 % 3]) for number, image in numbered]
    options = ["--device", arguments.device, "--dtype", arguments.dtype, *arguments.options]
    with service(options, arguments.model) as (process, address), ThreadPoolExecutor(MIXED_CLIENTS) as threads:
        begin, base = time.perf_counter(), memory(process, "VmRSS")
        statuses = Counter(threads.map(lambda call: patiently(address, *call), calls))
        mixed = memory(process, "VmHWM")
        statuses.update(patiently(address, large, accept) for accept in ACCEPTED)
        peak, seconds = memory(process, "VmHWM"), time.perf_counter() - begin
    row = {
        "model": Path(arguments.model).name,
        "options": " ".join(arguments.options),
        "requests": arguments.requests,
        **counted(statuses),
        "started_mb": round(base),
        "peak_of_mixed_mb": round(mixed),
        "peak_mb": round(peak),
        "seconds": round(seconds),
    }
    update("service_memory", [row], ("model", "options"))
    print(row)
    return int(peak > MOST_MEMORY_MB or set(statuses) != {200})


def patiently(address: str, image: bytes, accept: str) -> int:
    """The status of a request that comes back after the time in Retry-After."""
    while (answer := ask(address, image, accept=accept))[0] in (429, 503):
        time.sleep(answer[1])
    return answer[0]


def nginx(_arguments: argparse.Namespace) -> int:
    """Misuse the service behind nginx and without it, then open three bursts of connections to nginx; the exit code."""
    guarded: list[dict[str, object]] = []
    rows: list[dict[str, object]] = []
    with service([]) as (_, address):
        with behind_nginx(address) as front:
            guarded.append({"front": "nginx", "answered": answered(front), "of": ASKED})
        guarded.append({"front": "none", "answered": answered(address), "of": ASKED})
        with behind_nginx(address, tls=True) as front:
            for _ in range(3):
                begin = time.perf_counter()
                answers = counted(burst(front))
                rows.append({"connections": BURST, **answers, "seconds": round(time.perf_counter() - begin, 2)})
    keep("service_guard", guarded)
    keep("service_burst", rows)
    return int(guarded[0]["answered"] != ASKED or any(row["unanswered"] or row["failed"] for row in rows))


def again(arguments: argparse.Namespace) -> int:
    """Time photographs with some words, and with others after that; the exit code."""
    options = ["--device", arguments.device, "--dtype", arguments.dtype, *arguments.options]
    rows: list[dict[str, object]] = []
    with service(options, arguments.model) as (_, address):
        for words in (WORDS[:5], WORDS[5:]):
            ask(address, _jpeg(Image.new("RGB", (64, 64))), words=words)  # encodes the words
        for side in (640, 1600):
            seconds: dict[str, list[float]] = {"first": [], "again": []}
            for path in SAMPLES:
                photo = Image.open(path).convert("RGB").resize((side, side * 3 // 4))
                for times, words in zip(seconds.values(), (WORDS[:5], WORDS[5:]), strict=True):
                    begin = time.perf_counter()
                    assert ask(address, _jpeg(photo), words=words)[0] == 200
                    times.append(time.perf_counter() - begin)
            measured = {f"{name}_seconds": round(float(np.median(times)), 3) for name, times in seconds.items()}
            rows.append({"model": Path(arguments.model).name, "side": side, "images": len(SAMPLES), **measured})
            print(rows[-1])
    keep("service_again", rows)
    return 0


SHARD = 4
"""Photographs of a shard, which a worker does as a whole."""


def batches(arguments: argparse.Namespace) -> int:
    """Label photographs on Ray with one and two workers, and with two of which one is killed; the exit code."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        for number in range(arguments.images):
            photo = Image.open(SAMPLES[number % len(SAMPLES)]).convert("RGB")
            (photos / f"{number:05}.jpg").write_bytes(_jpeg(photo.resize((640, 480 + number % 97))))
        for workers, killed in ((1, False), (2, False), (2, True)):
            rows.append(labeled_by_workers(photos, Path(folder, f"{workers}-{killed}"), workers, killed=killed))
    keep("service_batch", rows)
    return int(any(row["code"] or row["missing"] or row["twice"] for row in rows))


def labeled_by_workers(photos: Path, out: Path, workers: int, *, killed: bool) -> dict[str, object]:
    """Label a folder; what came out, and how fast after the first shard, when Ray and the models had started."""
    import psutil  # here, as both come with the extra `batch`
    from pyarrow import parquet

    names = sorted(path.name for path in photos.iterdir())
    command = [sys.executable, "-m", "segvoc", "batch", str(photos), "--out", str(out), "--words", ", ".join(WORDS)]
    command += ["--workers", str(workers), "--cpus", "1", "--shard-images", str(SHARD)]
    command += ["--rows-a-file", str(SHARD)]
    begin, process = time.perf_counter(), subprocess.Popen(command, stdout=subprocess.DEVNULL)
    if killed:
        while len(list(out.glob("part-*"))) < len(names) / SHARD / 2:
            assert process.poll() is None, "it ended before a worker could be killed; give more --images"
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
        next(child for child in children if "ray::_do" in child.cmdline()).kill()
    code, seconds = process.wait(), time.perf_counter() - begin
    tables = sorted(out.glob("part-*"), key=lambda path: path.stat().st_mtime)
    keys = Counter(row["key"] for table in tables for row in parquet.read_table(table).to_pylist() if not row["error"])
    first, last = (tables[place].stat().st_mtime for place in (0, -1))
    return {
        "workers": workers,
        "killed": int(killed),
        "images": len(names),
        "seconds": round(seconds, 1),
        "images_per_second": round((len(names) - SHARD) / (last - first), 3),
        "missing": len({*names} - {*keys}),
        "twice": len(keys - Counter(names)),
        "code": code,
    }


BENCHMARKS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "load": load,
    "nginx": nginx,
    "memory": most_memory,
    "again": again,
    "batch": batches,
}


def main() -> int:
    """Measure, print and keep; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=BENCHMARKS)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--accept", default="application/json")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--queue", type=int, default=16)
    parser.epilog = "Options of `segvoc serve` follow after --."
    own = [*itertools.takewhile(lambda text: text != "--", sys.argv[1:])]
    arguments = parser.parse_args(own)
    arguments.options = sys.argv[len(own) + 2 :]
    return BENCHMARKS[arguments.what](arguments)


if __name__ == "__main__":
    sys.exit(main())
