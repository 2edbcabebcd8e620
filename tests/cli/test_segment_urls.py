"""Images that are no files: from addresses and standard input."""

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.imaging.reading import read_image
from tests.cli.command import WORDS, Command, draw_photos, result_files


def jpeg(**options: object) -> bytes:
    content = io.BytesIO()
    Image.open("photo.png").convert("RGB").save(content, "JPEG", **options)
    return content.getvalue()


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A JPEG's bytes."""
    monkeypatch.chdir(tmp_path)
    draw_photos("photo.png")
    return jpeg()


@pytest.fixture
def root(photo: bytes) -> Iterator[str]:
    """The address of a server that has the photo, and below /turned/ with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = jpeg(exif=exif)

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = turned if self.path.startswith("/turned") else photo
            self.send_response(404 if self.path.startswith("/gone") else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("name", ["coco-instances", pytest.param("labelme", marks=pytest.mark.slow)])
def test_formats_have_the_bytes_that_were_read(
    segment: Command, root: str, photo: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(f"{root}/a/street.jpg?size=2", *WORDS, "--format", name, "--out", "url").ok()
    (copy,) = Path("url").rglob("street.jpg")
    assert copy.read_bytes() == photo
    stdin(monkeypatch, photo)
    segment("-", *WORDS, "--format", name, "--out", "in", "--no-copy-images").ok()
    np.testing.assert_array_equal(segvoc.read_dataset("in").read(0).image, read_image(photo))
    segment(f"{root}/turned/street.jpg", *WORDS, "--format", name, "--out", "turned").ok()
    (copy,) = Path("turned").rglob("street.jpg")
    with Image.open(copy) as image:
        assert image.getexif().get(0x0112, 1) == 1
    found = segvoc.read_dataset("url").read(0).image
    np.testing.assert_array_equal(found, read_image(photo))


def test_an_address_that_gives_nothing_fails_alone(segment: Command, root: str) -> None:
    done = segment(f"{root}/a/street.jpg", f"{root}/gone.jpg", *WORDS, "--json")
    assert done.code == 1 and json.loads(done.out)["image"] == f"{root}/a/street.jpg"
    assert f"'{root}/gone.jpg' can't be fetched (Not Found" in done.err or "404" in done.err


def test_addresses_may_be_in_capitals_and_end_in_a_slash(segment: Command, root: str, photo: bytes) -> None:
    for address in (f"{root.replace('http', 'HTTP')}/a/street.jpg", f"{root}/a/latest/", f"{root}/"):
        segment(address, *WORDS, "--no-overlay").ok()
    assert result_files() == [
        f"{stem}.{suffix}" for stem in ("image", "latest", "street") for suffix in ("json", "png")
    ]


def test_labelme_embeds_what_is_no_file(root: str, photo: bytes) -> None:
    result = segvoc.load("tiny").segment(f"{root}/a/street.jpg", ["cat", "wall"])
    assert result.content == photo
    assert result.to_labelme()["imageData"]


def test_closed_standard_input_is_no_image(segment: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    segment("-", *WORDS).failed(1, "standard input is closed; give the image's path")


@pytest.mark.parametrize("closed", [">&-", pytest.param("<&- >&- 2>&-", marks=pytest.mark.slow)])
def test_closed_streams_end_no_run(photo: bytes, closed: str) -> None:
    call = f'"{sys.executable}" -m segvoc segment photo.png missing.png --words "cat, wall" {closed}'
    done = subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unexpected" not in done.stderr
    assert result_files() == ["photo.json", "photo.overlay.png", "photo.png"]
