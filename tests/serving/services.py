"""Services of small models, as their callers see them."""

import asyncio
import contextlib
import io
import socket
import threading
from collections.abc import Iterator, MutableMapping
from functools import partial
from typing import Any

import numpy as np
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from segvoc.inference.segmenter import Segmenter
from segvoc.serving.app import create_app
from segvoc.serving.server import process_app, service_config
from segvoc.serving.settings import ServiceSettings
from segvoc.serving.tracing import Tracing
from tests.inference.numpy_engine import NumpySegmenter


class GatedSegmenter(NumpySegmenter):
    """Works only while its gate is open, and notes how many views came at a time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gate = threading.Event()
        self.gate.set()
        self.sizes: list[int] = []

    def run(self, pixels: np.ndarray, text: Any, protocol: Any) -> tuple[Any, Any]:
        self.sizes.append(len(pixels))
        assert self.gate.wait(30)
        return super().run(pixels, text, protocol)


def drawn_image(seed: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Coarse noise (H, W, 3)."""
    height, width = size
    cells = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return np.kron(cells, np.ones((16, 16, 1), np.uint8))[:height, :width]


def png(image: np.ndarray | None = None) -> bytes:
    """An image as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(drawn_image() if image is None else image).save(buffer, "PNG")
    return buffer.getvalue()


@contextlib.contextmanager
def in_process(
    model: Segmenter | None = None,
    *,
    host: str = "127.0.0.1",
    definitions: MutableMapping[str, bytes] | None = None,
    tracing: Tracing | None = None,
    **changes: Any,
) -> Iterator[TestClient]:
    """A client of a service in this process, without a socket; what goes wrong inside doesn't come through."""
    settings = ServiceSettings(**changes)
    app = create_app(lambda: model or NumpySegmenter(), settings, definitions, tracing=tracing)
    with TestClient(app, base_url=f"http://{host}", raise_server_exceptions=False) as client:
        yield client


@contextlib.contextmanager
def listening(model: Segmenter | None = None, **changes: Any) -> Iterator[int]:
    """The port of a service that listens on loopback, in a thread of this process."""
    settings = ServiceSettings(**changes)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = service_config(partial(process_app, lambda: model or NumpySegmenter(), settings), settings)
        config.log_config = None
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def failure(response: Any) -> str:
    """The code of a failure, whose form is checked."""
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["request_id"] == response.headers["x-request-id"]
    assert error["message"] and "\n" not in error["message"] and "Traceback" not in error["message"]
    assert "/src/" not in error["message"]
    return error["code"]
