"""Services of small models, as their callers see them."""

import asyncio
import contextlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx2
import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from segvoc.inference.segmenter import Segmenter
from segvoc.serving.app import create_app
from segvoc.serving.server import bound_socket, service_server
from segvoc.serving.settings import ServiceSettings
from tests.inference.numpy_engine import NumpySegmenter


class GatedSegmenter(NumpySegmenter):
    """Works only while its gate is open, and notes how many views came at a time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gate = threading.Event()
        self.gate.set()
        self.sizes: list[int] = []

    def encode_views(self, pixels: np.ndarray, *, complete: bool = True) -> dict[str, np.ndarray]:
        self.sizes.append(len(pixels))
        assert self.gate.wait(300)
        return super().encode_views(pixels, complete=complete)


def named(name: str) -> NumpySegmenter:
    model = NumpySegmenter()
    model.name = name
    return model


class SlowSegmenter(NumpySegmenter):
    """Sleeps before it runs, so that several of them don't share cores; `seconds` is the time for a batch [s]."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def compare(self, features: Any, text: Any, protocol: Any) -> tuple[Any, Any]:
        time.sleep(self.seconds)  # here, since equal images are encoded once
        return super().compare(features, text, protocol)


def drawn_image(seed: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    height, width = size
    cells = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return np.kron(cells, np.ones((16, 16, 1), np.uint8))[:height, :width]


def png(image: np.ndarray | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(drawn_image() if image is None else image).save(buffer, "PNG")
    return buffer.getvalue()


FORM = "multipart/form-data; boundary=b"


def part(name: str, value: bytes, more: str = "") -> bytes:
    """A field of a form."""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def post(path: str, kind: str, body: bytes, *headers: str, length: str | None = None) -> bytes:
    """A request as it is sent; `length` takes the place of the header that has the body's length."""
    size = f"Content-Length: {len(body)}" if length is None else length
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *headers, size]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def form(*parts: bytes, image: bytes | None = None, kind: str = FORM, headers: tuple[str, ...] = ()) -> bytes:
    """A request to label an image, as it is sent."""
    file = part("image", png() if image is None else image, '; filename="a.png"')
    return post("/v1/segment", kind, b"".join(parts) + file + b"--b--\r\n", *headers)


Model = Segmenter | Callable[[], Segmenter]
"""A model, or a function that opens it, which jobs in other processes need."""


def opener(model: Model | None) -> Callable[[], Segmenter]:
    if model is None:
        return NumpySegmenter
    return (lambda: model) if isinstance(model, Segmenter) else model


@contextlib.contextmanager
def in_process(*models: Model | None, host: str = "127.0.0.1", **changes: Any) -> Iterator[TestClient]:
    """A client of a service in this process, without a socket; what goes wrong inside doesn't come through."""
    app = create_app([opener(model) for model in models or (None,)], ServiceSettings(**changes))
    with TestClient(app, base_url=f"http://{host}", raise_server_exceptions=False) as client:
        yield client


@contextlib.contextmanager
def listening(model: Model | None = None, **changes: Any) -> Iterator[int]:
    """The port of a service that listens on loopback, in a thread of this process."""
    settings = ServiceSettings(**changes)
    with bound_socket("127.0.0.1", 0) as listener:
        server = service_server(create_app([opener(model)], settings), settings)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(300)
            assert not thread.is_alive()


def labeled(url: str, image: bytes, words: Sequence[str], key: str | None = None, **fields: str) -> dict[str, Any]:
    """The files of the zip that a service answers an image with."""
    headers = {"Accept": "application/zip", **({} if key is None else {"Authorization": f"Bearer {key}"})}
    form = {"words": json.dumps(list(words)), **fields}
    answer = httpx2.post(f"{url}/v1/segment", files={"image": image}, data=form, headers=headers, timeout=120)
    answer.raise_for_status()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    opened: dict[str, Any] = {"result.json": json.loads, "probabilities.npy": lambda file: np.load(io.BytesIO(file))}
    return {name: opened.get(name, lambda png: np.asarray(Image.open(io.BytesIO(png))))(files[name]) for name in files}


def wait_until_open(client: TestClient, requests: int, **headers: str) -> None:
    """Until so many requests are open, the one that asks included."""
    while f"segvoc_open_requests {requests}.0" not in client.get("/metrics", headers=headers).text:
        time.sleep(0.02)


def failure(response: Any) -> str:
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"code", "message", "request_id"} and error["request_id"] == response.headers["x-request-id"]
    assert error["message"] and "\n" not in error["message"] and "Traceback" not in error["message"]
    assert "/src/" not in error["message"]
    return error["code"]
