"""A stand-in for Label Studio: it asks for predictions as Label Studio does, and hands out images on loopback."""

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.serving.services import png

TOKEN = "0123456789abcdef0123456789abcdef01234567"

BRUSH = (
    '<View><Image name="img" value="$photo"/><BrushLabels name="masks" toName="img"><Label value="cat"/>'
    '<Label value="Furniture" predicted_values="sofa, table"/><Label value="wall" alias="W"/></BrushLabels></View>'
)
"""A labeling configuration with masks."""


def with_options(config: str, options: str) -> str:
    return config.replace('toName="img"', f'toName="img" {options}')


def data_uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def predict_body(*images: object, config: str = BRUSH) -> dict[str, Any]:
    """What Label Studio posts to /predict, with much that doesn't matter."""
    tasks = [
        {"id": number, "data": {"photo": image, "note": "x"}, "annotations": [], "predictions": [], "is_labeled": False}
        for number, image in enumerate(images, 1)
    ]
    params = {"login": None, "password": None, "context": None}
    return {"tasks": tasks, "model_version": "old", "project": "7.1700000000", "label_config": config, "params": params}


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class LabelStudio:
    url: str
    answers: dict[str, Answer]
    """By path and query."""
    asked: list[tuple[str, str, str]]
    """Method, path and query, and authorization of each request."""


@contextlib.contextmanager
def label_studio() -> Iterator[LabelStudio]:
    """A Label Studio on loopback, with one uploaded image."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            studio.asked.append((self.command, self.path, authorization))
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            answer = studio.answers.get(self.path, Answer(404))
            if self.command == "POST":
                assert json.loads(body)["refresh"]
            elif authorization not in (f"Token {TOKEN}", "Bearer short-lived"):
                answer = Answer(401)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(answer.body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        url = f"http://127.0.0.1:{server.server_port}"
        studio = LabelStudio(url, {"/data/upload/7/a.png": Answer(body=png())}, [])
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield studio
        server.shutdown()
