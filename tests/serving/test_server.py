"""`segvoc serve` as a process: how it starts, and how it ends."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from segvoc.serving.server import bound_socket
from tests.serving.services import labeled, png

REPOSITORY = Path(__file__).parents[2]
CHELSEA = (REPOSITORY / "samples/chelsea.jpg").read_bytes()
KEY = "k" * 20


@dataclass
class Service:
    """A service in a process of its own, and the file of its standard error."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, str]]:
        """What it logged so far, but for a line that it is writing."""
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("}\n")]

    def url(self) -> str:
        """The address, once it takes requests."""
        end = time.monotonic() + 300
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            for address in filter(None, (line.get("address") for line in self.lines())):
                with contextlib.suppress(httpx2.HTTPError):
                    httpx2.get(f"{address}/readyz", timeout=5).raise_for_status()
                    return address
            time.sleep(0.02)
        raise AssertionError(f"not ready: {self.log.read_text()}")


@contextlib.contextmanager
def started(folder: Path, end: signal.Signals) -> Iterator[Service]:
    """`segvoc serve` of tiny; at the end, a signal has to end it quietly."""
    settings = {"SEGVOC_PORT": "0", "SEGVOC_QUEUE": "30", "SEGVOC_API_KEY": KEY, "PYTHONPATH": str(REPOSITORY / "src")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "segvoc", "serve"], stderr=log, env=os.environ | settings)
    service = Service(process, folder / "log")
    try:
        yield service
        process.send_signal(end)
        assert process.wait(300) == 0
        assert service.lines() and all("logger" in line for line in service.lines())
        log = service.log.read_text()
        assert "Traceback" not in log and KEY not in log and "kid" not in log
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A process that tests share, and that Ctrl+C ends."""
    with started(tmp_path_factory.mktemp("served"), signal.SIGINT) as service:
        yield service


def accepted(url: str) -> float:
    """Images that were sent so far, answered or not."""
    text = httpx2.get(f"{url}/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
    counted = r"^segvoc_(?:open_requests|requests_total\{.*POST.*\}) (\S+)$"
    return sum(map(float, re.findall(counted, text, re.MULTILINE))) - 1  # this request is open too


def sent(threads: ThreadPoolExecutor, url: str) -> list[Future[dict[str, Any]]]:
    """Eight calls that are accepted; most of them wait."""
    before = accepted(url)
    calls = [threads.submit(labeled, url, png(), ["cat", "wall"], KEY) for _ in range(8)]
    while accepted(url) < before + 8:
        time.sleep(0.02)
    return calls


def test_the_command_serves_tiny_with_the_settings_of_its_environment(served: Service) -> None:
    url = served.url()
    told = next(line["settings"] for line in served.lines() if line["message"] == "starting")
    assert (told["queue"], told["models"], told["device"]) == (30, ["tiny"], "auto")
    assert httpx2.get(f"{url}/v1/models").status_code == 401
    result = labeled(url, CHELSEA, ["cat", "grass", "background"], KEY)
    assert (result["labels.png"] == 0).mean() > 0.3
    assert '"background" is matched literally' in " ".join(result["result.json"]["hints"])


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_sighup_loses_no_request(served: Service) -> None:
    with ThreadPoolExecutor(8) as threads:
        calls = sent(threads, served.url())
        served.process.send_signal(signal.SIGHUP)
        assert all(call.result()["result.json"]["model"] == "tiny" for call in calls)
    end = time.monotonic() + 300
    while not any(line["message"] == "reloaded" for line in served.lines()):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_sigterm_loses_no_request_and_the_address_is_free_again(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        with started(tmp_path, signal.SIGTERM) as service:
            url = service.url()
            calls = sent(threads, url)
        assert all(call.result()["labels.png"].shape == (48, 64) for call in calls)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{url}/v1/models")
    with bound_socket("127.0.0.1", int(url.rpartition(":")[2])):
        pass
