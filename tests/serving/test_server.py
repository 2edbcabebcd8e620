"""`segvoc serve` as a process: how it starts, and how it ends."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.processes import free_port
from tests.serving.services import labeled, png

REPOSITORY = Path(__file__).parents[2]
SCRIPT = """
import sys
from functools import partial
from segvoc.serving.app import run
from segvoc.serving.settings import ServiceSettings
from tests.serving.services import SlowSegmenter

run([partial(SlowSegmenter, 0.3)], ServiceSettings(), host="127.0.0.1", port=int(sys.argv[1]))
"""


@dataclass
class Service:
    """A service in a process of its own, and the file of its standard error."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, str]]:
        """What it logged so far, but for a line that it is writing."""
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("}\n")]

    def url(self, patience: float = 300) -> str:
        end = time.monotonic() + patience
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            for address in filter(None, (line.get("address") for line in self.lines())):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/readyz", timeout=5):
                    return address
            time.sleep(0.02)
        raise AssertionError(f"not ready: {self.log.read_text()}")


@contextlib.contextmanager
def started(folder: Path, *command: str, **environment: str) -> Iterator[Service]:
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}", **environment}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], stderr=log, env=environment)
    try:
        yield Service(process, folder / "log")
    finally:
        process.kill()
        process.wait()


def accepted(url: str) -> float:
    """Images that were sent so far, answered or not."""
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    counted = r"^segvoc_(?:open_requests|requests_total\{.*POST.*\}) (\S+)$"
    return sum(map(float, re.findall(counted, text, re.MULTILINE))) - 1  # this request is open too


def sent(threads: ThreadPoolExecutor, url: str) -> list[Future[dict[str, Any]]]:
    """Eight calls that are accepted; most of them wait."""
    calls = [threads.submit(labeled, url, png(), ["cat", "wall"]) for _ in range(8)]
    while accepted(url) < 8:
        time.sleep(0.02)
    return calls


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_sighup_and_sigterm_lose_no_request_and_after_sigkill_the_address_is_free_again(tmp_path):
    port = str(free_port())
    with started(tmp_path, "-c", SCRIPT, port) as service, ThreadPoolExecutor(8) as threads:
        calls = sent(threads, service.url())
        service.process.send_signal(signal.SIGHUP)
        assert all(call.result()["result.json"]["model"] == "numpy" for call in calls)
        end = time.monotonic() + 300
        while not any(line["message"] == "reloaded" for line in service.lines()):
            assert time.monotonic() < end
            time.sleep(0.02)
        service.process.kill()
        service.process.wait()
    with started(tmp_path, "-c", SCRIPT, port) as service, ThreadPoolExecutor(8) as threads:
        url = service.url()
        calls = sent(threads, url)
        service.process.send_signal(signal.SIGTERM)
        labels = [call.result()["labels.png"] for call in calls]
        assert all(np.array_equal(labels[0], one) for one in labels)
        assert service.process.wait(300) == 0
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{url}/v1/models")
        assert "Traceback" not in service.log.read_text()


def test_the_command_serves_tiny_and_interrupting_ends_it_quietly(tmp_path):
    settings = {"SEGVOC_PORT": "0", "SEGVOC_QUEUE": "3", "SEGVOC_API_KEY": "k" * 20}
    with started(tmp_path, "-m", "segvoc", "serve", **settings) as service:
        url = service.url()
        told = next(line["settings"] for line in service.lines() if line["message"] == "starting")
        assert (told["port"], told["queue"], told["models"], told["device"]) == (0, 3, [], "auto")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/v1/models")
        chelsea = (REPOSITORY / "samples/chelsea.jpg").read_bytes()
        result = labeled(url, chelsea, ["cat", "grass", "kid"], key="k" * 20)
        assert (result["labels.png"] == 0).mean() > 0.3
        assert '"kid" may be missed' in " ".join(result["result.json"]["hints"])
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(300) == 0
        assert service.lines() and all("logger" in line for line in service.lines())
        assert "k" * 20 not in service.log.read_text() and "kid" not in service.log.read_text()
