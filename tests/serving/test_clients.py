"""The clients in examples/: they come back to a service that drops connections or is busy, and label a folder."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import httpx2
import numpy as np
import pytest
from PIL import Image

from segvoc.imaging.label_maps import labels_of
from tests.inference.numpy_engine import NumpySegmenter
from tests.serving.services import drawn_image, listening, png

EXAMPLES = Path(__file__).parents[2] / "examples"
CLIENTS = [
    pytest.param([sys.executable, str(EXAMPLES / "client.py")], id="python"),
    pytest.param(
        ["node", str(EXAMPLES / "client.mjs")],
        id="javascript",
        marks=pytest.mark.skipif(shutil.which("node") is None, reason="needs Node"),
    ),
]
KEY = "sixteen-characters-and-more"


class Unsteady(http.server.BaseHTTPRequestHandler):
    """In front of a service: drops the first connection, is busy once, and breaks off another answer."""

    protocol_version = "HTTP/1.1"
    port: ClassVar[int]
    asked: ClassVar[list[float]]
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            self.asked.append(time.monotonic())
            number = len(self.asked)
        if number == 1:
            self.close_connection = True
            return
        if number == 2:
            self.send_response(429)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {name: self.headers[name] for name in ("Content-Type", "Accept", "Authorization")}
        answer = httpx2.post(f"http://127.0.0.1:{self.port}{self.path}", content=body, headers=headers, timeout=300)
        self.send_response(answer.status_code)
        for name in ("Content-Type", "X-Segvoc-Model"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if number == 3:
            self.wfile.write(answer.content[: len(answer.content) // 2])
            self.close_connection = True
            return
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def unsteady(port: int) -> Iterator[str]:
    Unsteady.port, Unsteady.asked = port, []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unsteady) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_folder_is_labeled_by_an_unsteady_service(client: list[str], tmp_path: Path):
    (tmp_path / "photos").mkdir()
    for number in range(6):
        (tmp_path / "photos" / f"{number}.png").write_bytes(png(drawn_image(number)))
    (tmp_path / "photos" / "damaged.jpg").write_bytes(b"GIF89a")
    with listening(NumpySegmenter(), api_key=KEY) as port, unsteady(port) as address:
        call = [*client, address, str(tmp_path / "photos"), "cat, wall", str(tmp_path / "out")]
        environment = {**os.environ, "SEGVOC_API_KEY": KEY}
        for _ in range(2):
            done = subprocess.run(call, capture_output=True, text=True, env=environment, timeout=300)
            assert (done.returncode, len(done.stdout.splitlines())) == (1, 6), done.stderr
            assert "damaged.jpg: the image" in done.stderr
    assert len(Unsteady.asked) == 6 + 1 + 3 + 1  # the second call asks for what was refused alone
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{number}.png" for number in range(6)]
    for number in range(6):
        labels = labels_of(Image.open(tmp_path / "out" / f"{number}.png"), "")
        expected = NumpySegmenter().segment(drawn_image(number), ["cat", "wall"]).labels
        np.testing.assert_array_equal(labels, expected)
    assert Unsteady.asked[-2] - Unsteady.asked[1] >= 1  # Retry-After; the last is of the second call
