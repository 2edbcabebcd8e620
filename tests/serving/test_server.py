"""`segvoc serve` as a process: how it starts, and how it ends."""

import contextlib
import json
import os
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

from segvoc.client import Client, ServiceError
from tests.processes import free_port
from tests.serving.services import png

SCRIPT = """
import sys, time
from segvoc.serving.server import run
from segvoc.serving.settings import ServiceSettings
from tests.inference.numpy_engine import NumpySegmenter

class Slow(NumpySegmenter):
    def run(self, *arguments):
        time.sleep(0.3)
        return super().run(*arguments)

def broken():
    raise RuntimeError("no model")

if __name__ == "__main__":
    port, workers, model = int(sys.argv[1]), int(sys.argv[2]), {"slow": Slow, "broken": broken}[sys.argv[3]]
    run(model, ServiceSettings(), host="127.0.0.1", port=port, workers=workers)
"""


class Service:
    """A service in a process of its own."""

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


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_sigterm_answers_what_was_accepted(script, workers):
    with started(script, "0", workers, "slow") as service, ThreadPoolExecutor(8) as threads:
        client = Client(service.url(), attempts=1)
        calls = [threads.submit(client.segment, png(), ["cat", "wall"]) for _ in range(8)]
        time.sleep(0.6)  # all are accepted, and at most two of a process are done
        service.process.send_signal(signal.SIGTERM)
        labels = [call.result().labels for call in calls]
        assert all(np.array_equal(labels[0], one) for one in labels)
        assert service.process.wait(30) == 0
        with pytest.raises(ServiceError, match="can't be reached"):
            client.models()
        service.reader.join(10)
        assert "Traceback" not in service.text


def test_after_sigkill_the_address_is_free_again(script):
    port = str(free_port())
    for _ in range(2):
        with started(script, port, "1", "slow") as service:
            assert Client(service.url()).segment(png(), ["cat", "wall"]).labels.size
            service.process.kill()
            service.process.wait()


def test_workers_end_with_their_parent_and_share_vocabularies_and_metrics(script):
    port = str(free_port())
    with started(script, port, "2", "slow") as service:
        url = service.url()
        client = Client(url, attempts=1)
        name = client.encode(["cat", "wall"])
        for _ in range(12):
            assert client.segment(png(), vocabulary=name).words == ("cat", "wall")
        # a process counts a request after its answer has left
        counted = 'segvoc_requests_total{method="POST",route="/v1/segment",status="200"} 12.0'
        deadline, metrics = time.monotonic() + 10, ""
        while counted not in metrics and time.monotonic() < deadline:
            metrics = urllib.request.urlopen(f"{url}/metrics").read().decode()
        assert counted in metrics
        service.process.kill()
        service.process.wait()
    with started(script, port, "1", "slow") as service:
        assert service.url()


def test_a_lost_worker_is_started_again_and_no_name_is_lost(script):
    with started(script, "0", "2", "slow") as service:
        url = service.url()
        name = Client(url).encode(["cat", "wall"])

        def workers() -> list[int]:
            found = (str(line["message"]) for line in list(service.lines))
            return [int(line.split("[")[1].rstrip("]")) for line in found if line.startswith("Started server process")]

        end = time.monotonic() + 60
        while len(first := workers()) < 2:
            assert time.monotonic() < end, service.text
            time.sleep(0.05)
        os.kill(first[0], signal.SIGKILL)
        while len(workers()) == len(first):
            assert time.monotonic() < end, service.text
            time.sleep(0.05)
        assert service.url()
        os.kill(first[1], signal.SIGKILL)
        # whichever process answers, the one that was told the name is gone
        for _ in range(4):
            assert Client(url).segment(png(), vocabulary=name).words == ("cat", "wall")


def test_interrupting_ends_it_quietly(script):
    with started(script, "0", "1", "slow") as service:
        service.url()
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(30) == 0


@pytest.mark.slow
def test_workers_whose_model_cannot_be_loaded_end_the_service(script):
    with started(script, "0", "2", "broken") as service:
        assert service.process.wait(60) == 1
        service.reader.join(10)
        assert "no model" in service.text
        assert "the model can't be loaded" in service.text


def test_the_command_serves_tiny():
    with started("-m", "segvoc", "serve", "--port", "0", "--queue", "3", SEGVOC_API_KEY="k" * 20) as service:
        url = service.url()
        with pytest.raises(ServiceError, match="the API key is missing") as refused:
            Client(url).models()
        assert refused.value.status == 401
        client = Client(url, api_key="k" * 20)
        assert client.models()["limits"]["words"] == 500
        result = client.segment(Path(__file__).parents[2] / "samples" / "chelsea.jpg", ["cat", "grass"])
        assert (result.labels == 0).mean() > 0.3
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
        service.reader.join(10)
        assert all("logger" in line for line in service.lines)
        assert "k" * 20 not in service.text
