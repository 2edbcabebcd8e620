"""Servers for the page: of its files alone, and a service with the answers that the page knows, in this process."""

import email
import email.policy
import functools
import http.server
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segvoc.inference.segmenter import Segmenter
from segvoc.models.shipped import open_tiny
from segvoc.serving.answers import zip_answer
from segvoc.serving.middleware import HEADERS as SENT
from segvoc.vocabulary import PartVocabulary
from tests.inference.numpy_engine import NumpySegmenter

HEADERS = {name: SENT[name] for name in ("Content-Security-Policy", "Permissions-Policy", "Referrer-Policy")}

ISOLATION = {name: SENT[name] for name in ("Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy")}
"""Headers with which browsers let a page share memory between threads."""


class PageFiles(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, headers_too: Mapping[str, str] = HEADERS, **options: Any) -> None:
        self.headers_too = headers_too
        super().__init__(*arguments, **options)

    def end_headers(self) -> None:
        for name, value in self.headers_too.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""


@dataclass
class FakeService:
    """What the service does, and what it was asked."""

    folder: Path
    model: Segmenter = field(default_factory=NumpySegmenter)
    """Labels as well as any where no test asks what they are, in a moment."""
    key: str | None = None
    busy: int = 0
    """Requests that it refuses first, because it is busy."""
    is_down: bool = False
    """Whether connections end without an answer, as while it is restarted."""
    hold: threading.Event | None = None
    taught: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    """Fields of the forms that were sent, without images."""

    def server(self) -> http.server.ThreadingHTTPServer:
        handler = functools.partial(_Handler, service=self, directory=str(self.folder), headers_too=HEADERS | ISOLATION)
        return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


class _Handler(PageFiles):
    def __init__(self, *arguments: Any, service: FakeService, **options: Any) -> None:
        self.service = service
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        if self.path == "/backends.json":
            addresses = {"segment": "v1/segment", "models": "v1/models"}
            self._json(200, {"service": addresses, "browser": {"model": "model/", "clicks": "clicks/"}})
        elif self.path == "/v1/models" and self._may():
            model = {"name": "tiny", "parameters": 1, "parts": True, "taught": self.service.taught}
            limits = {"bytes": 10_000_000, "pixels": 20_000_000, "words": 100}
            self._json(200, {"models": [model], "limits": limits})
        elif self.path != "/v1/models":
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.service.is_down:
            self.close_connection = True
            return
        if not self._may():
            return
        if self.service.busy:
            self.service.busy -= 1
            return self._failure(503, "busy", "the queue is full; try again", {"Retry-After": "1"})
        if self.service.hold:
            self.service.hold.wait(60)
        fields = _form(self.headers["Content-Type"], body)
        image = fields.pop("image")
        self.service.forms.append({name: content.decode() for name, content in fields.items()})
        if b"teapot" in fields.get("words", b""):
            return self._failure(422, "invalid", "this is no word for a teapot; choose another")
        answer = _answer(self.service.model, image, tuple(self.service.forms[-1].items()))
        self._send(200, "application/zip", answer, {})

    def _may(self) -> bool:
        if self.service.key is None or self.headers["Authorization"] == f"Bearer {self.service.key}":
            return True
        self._failure(401, "unauthorized", "the API key is missing or wrong")
        return False

    def _failure(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self._json(status, {"error": {"code": code, "message": message, "request_id": "1"}}, headers)

    def _json(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(content).encode(), headers or {})

    def _send(self, status: int, kind: str, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _form(kind: str, body: bytes) -> dict[str, bytes]:
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body, policy=email.policy.HTTP)
    parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
    return {str(name): part.get_payload(decode=True) for name, part in parts.items()}


tiny = functools.cache(open_tiny)


@functools.cache
def _answer(model: Segmenter, image: bytes, fields: tuple[tuple[str, str], ...]) -> bytes:
    form = dict(fields)
    parts = PartVocabulary(form["parts"]) if form.get("parts") else None
    return zip_answer(model.segment(image, json.loads(form["words"]), parts=parts), {"hints": []})
