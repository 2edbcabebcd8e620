"""`segvoc serve` as a process: how it starts, and how it ends."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.processes import free_port
from tests.serving.services import labeled, png

SCRIPT = """
import sys, time
from segvoc.serving.server import run
from segvoc.serving.settings import ServiceSettings
from tests.inference.numpy_engine import NumpySegmenter

class Slow(NumpySegmenter):
    def run(self, *arguments):
        time.sleep(0.3)
        return super().run(*arguments)

run(Slow, ServiceSettings(), host="127.0.0.1", port=int(sys.argv[1]))
"""


class Service:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, object]] = []
        self.text = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.text += line
            with contextlib.suppress(ValueError):
                self.lines.append(json.loads(line))

    def url(self, patience: float = 300) -> str:
        """Its address, once it takes requests."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            assert self.process.poll() is None, self.text
            for line in list(self.lines):
                address = line.get("address")
                with contextlib.suppress(OSError):
                    if address:
                        with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                            return str(address)
            time.sleep(0.02)
        raise AssertionError(f"not ready: {self.text}")


@contextlib.contextmanager
def started(*command: str, **environment: str) -> Iterator[Service]:
    repository = Path(__file__).parents[2]
    paths = os.pathsep.join([str(repository / "src"), str(repository)])
    process = subprocess.Popen(
        [sys.executable, *command],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )
    service = Service(process)
    try:
        yield service
    finally:
        process.kill()
        process.wait()
        service.reader.join(30)
        process.stderr.close()


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "service.py"
    path.write_text(SCRIPT)
    return str(path)


def accepted(url: str) -> float:
    """Images that were sent so far, answered or not."""
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    counted = r"^segvoc_(?:open_requests|requests_total\{.*POST.*\}) (\S+)$"
    return sum(map(float, re.findall(counted, text, re.MULTILINE))) - 1  # this request is open too


def test_sigterm_answers_what_was_accepted(script):
    with started(script, "0") as service, ThreadPoolExecutor(8) as threads:
        url = service.url()
        calls = [threads.submit(labeled, url, png(), ["cat", "wall"]) for _ in range(8)]
        while accepted(url) < 8:  # most of them wait
            time.sleep(0.02)
        service.process.send_signal(signal.SIGTERM)
        labels = [call.result()["labels.png"] for call in calls]
        assert all(np.array_equal(labels[0], one) for one in labels)
        assert service.process.wait(30) == 0
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{url}/v1/models")
        service.reader.join(10)
        assert "Traceback" not in service.text


def test_after_sigkill_the_address_is_free_again_and_interrupting_ends_it_quietly(script):
    port = str(free_port())
    with started(script, port) as service:
        assert labeled(service.url(), png(), ["cat", "wall"])
        service.process.kill()
        service.process.wait()
    with started(script, port) as service:
        service.url()
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(30) == 0


def test_the_command_serves_tiny():
    with started("-m", "segvoc", "serve", "--port", "0", "--queue", "3", SEGVOC_API_KEY="k" * 20) as service:
        url = service.url()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/v1/models")
        chelsea = (Path(__file__).parents[2] / "samples" / "chelsea.jpg").read_bytes()
        result = labeled(url, chelsea, ["cat", "grass"], key="k" * 20)
        assert (result["labels.png"] == 0).mean() > 0.3
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
        service.reader.join(10)
        assert all("logger" in line for line in service.lines)
        assert "k" * 20 not in service.text
