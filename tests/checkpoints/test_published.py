"""Fetching published weights from a hub that stands in this process, on loopback."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from segvoc.checkpoints.published import PUBLISHED, PublishedWeights, fetch
from segvoc.errors import CheckpointError

CONTENT = os.urandom(1 << 20) * 24  # more than the hub's client takes at once, which is 10 MiB
WANTED = PublishedWeights(
    preset="some-net",
    repository="someone/some-weights",
    repository_type="space",
    filename="model.pth",
    revision="0123456789" * 4,
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size="24 MB",
    licence="MIT",
    page="https://example.org/some-weights",
    source="made here",
)
CALL = """
import json, sys
from segvoc.checkpoints.published import PublishedWeights, fetch
from segvoc.errors import CheckpointError
try:
    print(fetch(PublishedWeights(**json.loads(sys.argv[1]))))
except CheckpointError as error:
    sys.exit(f"refused: {error}")
"""


@dataclass
class _Hub:
    """What the stand-in serves, and what it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    status: int = 200
    stated_size: int | None = None
    break_after: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def hub() -> Iterator[_Hub]:
    hub = _Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_GET(self) -> None:
            self._answer(hub.content)

        def _answer(self, body: bytes) -> None:
            path = f"/spaces/{WANTED.repository}/resolve/{WANTED.revision}/{WANTED.filename}"
            if self.path != path:  # the client asks for more than files
                return self.send_error(404)
            span = self.headers.get("Range")
            hub.asked.append((self.command, span))
            if hub.status != 200:
                return self.send_error(hub.status)
            start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
            self.send_response(206 if span else 200)
            self.send_header("X-Repo-Commit", WANTED.revision)
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(hub.content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(hub.stated_size or len(hub.content)))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(hub.content) - start))
            if span:
                self.send_header("Content-Range", f"bytes {start}-{len(hub.content) - 1}/{len(hub.content)}")
            self.end_headers()
            body = body[start:]
            if hub.break_after is not None and body:
                body, hub.break_after = body[: hub.break_after], None
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def _fetch(home: Path, endpoint: str, published: PublishedWeights = WANTED, **settings: str) -> Path | str:
    """The file that a fresh process fetches, or the line that it is refused with."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**kept, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1", **settings}
    command = [sys.executable, "-c", CALL, json.dumps(asdict(published))]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode == 0:
        return Path(process.stdout.strip())
    assert "Traceback" not in process.stderr, process.stderr
    assert "Retry" not in process.stderr  # nobody waits for a hub that isn't there
    refusals = [line for line in process.stderr.splitlines() if line.startswith("refused: ")]
    assert len(refusals) == 1 and process.stderr.rstrip().endswith(refusals[0])
    return refusals[0]


def _files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and path.stat().st_size > 1 << 20]


def test_what_was_fetched_is_there_without_network(hub: _Hub, home: Path) -> None:
    path = _fetch(home, hub.url)
    assert isinstance(path, Path), path
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(home)
    asked = len(hub.asked)
    assert _fetch(home, hub.url) == path
    assert len(hub.asked) == asked
    assert _fetch(home, hub.url, HF_HUB_OFFLINE="1") == path


def test_a_transfer_that_breaks_off_is_taken_up(hub: _Hub, home: Path) -> None:
    hub.break_after = 15 << 20
    path = _fetch(home, hub.url)
    assert isinstance(path, Path), path
    assert path.read_bytes() == CONTENT
    spans = [span for command, span in hub.asked if command == "GET"]
    assert spans[0] is None
    assert [int(re.findall(r"\d+", span or "")[0]) for span in spans[1:]] == [10 << 20]


def test_another_file_is_refused_and_removed(hub: _Hub, home: Path) -> None:
    hub.content = CONTENT[:-1] + b"."
    refusal = _fetch(home, hub.url)
    assert isinstance(refusal, str)
    assert "some-net: model.pth was not the published file" in refusal and "is removed; try again" in refusal
    assert not _files(home)
    hub.content = CONTENT
    assert isinstance(_fetch(home, hub.url), Path)


def test_a_file_changed_in_the_cache_is_refused_and_removed(hub: _Hub, home: Path) -> None:
    path = _fetch(home, hub.url)
    assert isinstance(path, Path), path
    path.resolve().write_bytes(CONTENT[:-1])
    assert "is removed" in str(_fetch(home, hub.url, HF_HUB_OFFLINE="1"))
    assert not _files(home)


def test_a_file_outside_the_cache_is_never_removed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_bytes(b"own")
    link = home / "hub" / "spaces--someone--some-weights" / "snapshots" / WANTED.revision / "model.pth"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "own.pth")
    assert "is removed" in str(_fetch(home, "http://127.0.0.1:9", HF_HUB_OFFLINE="1"))
    assert not link.is_symlink() and (tmp_path / "own.pth").read_bytes() == b"own"


@pytest.mark.parametrize(
    ("settings", "said"), [({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"), ({}, "the hub can't be reached")]
)
def test_without_network_the_page_and_the_way_are_told(home: Path, settings: dict[str, str], said: str) -> None:
    refusal = str(_fetch(home, "http://127.0.0.1:9", **settings))
    assert f"some-net: model.pth can't be fetched: {said}" in refusal
    assert "; get it from https://example.org/some-weights and give it as weights=FILE or --weights FILE" in refusal


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "no longer has it"), (401, "no longer has it"), (403, "no longer has it"), (503, "the hub answers 503")],
)
def test_refusals_of_the_hub_are_told(hub: _Hub, home: Path, status: int, said: str) -> None:
    hub.status = status
    refusal = str(_fetch(home, hub.url))
    assert said in refusal and "--weights FILE" in refusal


def test_a_file_larger_than_the_disk_is_not_begun(hub: _Hub, home: Path) -> None:
    hub.stated_size = 1 << 60
    refusal = str(_fetch(home, hub.url))
    assert "no space is left at" in refusal and "HF_HOME" in refusal
    assert [command for command, _ in hub.asked] == ["HEAD"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space is left at"),
        (PermissionError(errno.EACCES, "Permission denied"), "can't be written"),
        (OSError("Consistency check failed\nmore"), r"the transfer broke off \(Consistency check failed\)"),
        (ValueError(), r"the transfer broke off \(ValueError\)"),
    ],
)
def test_what_breaks_a_transfer_is_told(
    hub: _Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, said: str
) -> None:
    def broken(*_: object, **__: object) -> str:
        raise error

    url = f"{hub.url}/spaces/{WANTED.repository}/resolve/{WANTED.revision}/{WANTED.filename}"
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_, **__: url)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(CheckpointError, match=f"can't be fetched: .*{said}") as refusal:
        fetch(replace(WANTED, filename="model.pth"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_every_record_is_complete(preset: str) -> None:
    record = PUBLISHED[preset]
    assert record.preset == preset
    assert all(asdict(record).values())
    assert re.fullmatch("[0-9a-f]{64}", record.sha256) and re.fullmatch("[0-9a-f]{40}", record.revision)
    assert record.repository in record.page and record.page.endswith(record.filename)


def test_no_two_records_name_one_file() -> None:
    assert len({record.sha256 for record in PUBLISHED.values()}) == len(PUBLISHED)
