"""A stand-in for the Hugging Face hub and other servers of files: it stands in this process, on loopback."""

import hashlib
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub.constants
import pytest

from segvoc.checkpoints.published import HubPlace, PublishedFile
from tests.loopback_repositories import Repositories

CHUNK = 16 << 10
"""What the client takes at once, in place of the hub's 10 MiB."""

BODY = 4 * CHUNK + 5


@dataclass
class LoopbackHub:
    """What the stand-in serves, how it fails, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    stated_size: int | None = None
    """A false size to state."""
    break_after: int | None = None
    """Bytes after which the next transfer breaks off."""
    delay: float = 0.0
    """Seconds before a transfer begins."""
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    """Method, path and first byte of each request for a file."""
    repositories: Repositories = field(default_factory=Repositories)
    """Repositories that can be written, beside the files."""

    def publish(self, file: PublishedFile, content: bytes | None = None) -> PublishedFile:
        """Serve a small file at the place of a published one; returns its entry in the manifest, which fits it."""
        content = random.Random(file.name).randbytes(BODY) if content is None else content
        place = file.place
        if isinstance(place, HubPlace):
            folder = "spaces/" if place.repository_type == "space" else ""
            path = f"/{folder}{place.repository}/resolve/{place.revision}/{place.filename}"
        else:
            path = urlsplit(place.url).path
            place = replace(place, url=f"{self.url}{path}")
        self.files[path] = content
        size, digest = None if file.size is None else len(content), hashlib.sha256(content).hexdigest()
        return replace(file, place=place, sha256=digest, size=size, exact_size=size is not None)

    def transfers(self) -> list[tuple[str, int]]:
        return [(path, start) for method, path, start in self.asked if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    do_POST = do_PUT = do_GET

    def _answer(self, *, with_body: bool) -> None:
        hub = self.hub
        content = hub.files.get(self.path)
        if content is None:
            return self._answer_of_repositories(with_body=with_body)
        span = self.headers.get("Range")
        start = int(re.findall(r"\d+", span)[0]) if span else 0
        hub.asked.append((self.command, self.path, start))
        if hub.status != 200:
            return self.send_error(hub.status)
        self.send_response(206 if span else 200)
        revision = re.search("/resolve/([^/]+)/", self.path)
        if revision is not None:
            self.send_header("X-Repo-Commit", revision[1])
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(hub.stated_size or len(content)))
        self.send_header("Accept-Ranges", "bytes")
        length = len(content) - start
        self.send_header("Content-Length", str(length if with_body else hub.stated_size or length))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            time.sleep(hub.delay)
            body = content[start:]
            if hub.break_after is not None:
                body, hub.break_after = body[: hub.break_after], None
            self.wfile.write(body)
        return None

    def _answer_of_repositories(self, *, with_body: bool) -> None:
        hub, (path, _, _) = self.hub, self.path.partition("?")
        body = self._body()
        if hub.status != 200:
            return self.send_error(hub.status)
        found = hub.repositories.answer(self.command, path, body, self.headers.get("Authorization"), hub.url)
        if found is None:  # the client asks for more than files
            return self.send_error(404)
        if "/resolve/" in path:
            hub.asked.append((self.command, path, 0))
        self.send_response(found.status)
        for name, value in found.headers.items():
            self.send_header(name, value)
        content = found.content
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            if hub.break_after is not None and "/resolve/" in path:
                content, hub.break_after = content[: hub.break_after], None
            self.wfile.write(content)
        return None

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    hub = LoopbackHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield hub
        server.shutdown()


def use_hub(monkeypatch: pytest.MonkeyPatch, home: Path, endpoint: str) -> None:
    """Make the hub's client in this process use an endpoint and a cache, as HF_ENDPOINT and HF_HOME would."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(home / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in has no storage of that kind
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
