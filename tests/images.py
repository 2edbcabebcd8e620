"""Images that the tests make, and what an error of one line looks like."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def made_photograph(width: int = 48, height: int = 32) -> np.ndarray:
    """Smooth, without symmetry: every turn and flip of it is another image."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, (x + 2 * y) * 80 / width], axis=-1).astype(np.uint8)


def squares(height: int = 90, width: int = 120, seed: int = 0) -> np.ndarray:
    colors = np.random.default_rng(seed).integers(0, 256, (-(-height // 15), -(-width // 15), 3), dtype=np.uint8)
    return np.kron(colors, np.ones((15, 15, 1), np.uint8))[:height, :width].copy()


def png(width: int, height: int, bit_depth: int, color_type: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A hand-made PNG; `rows` begin with their filter bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0))
    body = b"".join(chunk(*other) for other in chunks) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


@cache
def tiff_of_thumbnails(directories: int, *, last: int = 1, loop: bool = False) -> bytes:
    """An image of one pixel, and directories that claim to be thumbnails, but for the last one; a loop never ends."""
    tags = {254: 1, 256: 1, 257: 1, 258: 8, 262: 1, 273: 8, 278: 1, 279: 1}
    size = 2 + 12 * len(tags) + 4
    content = [b"II*\0" + struct.pack("<I", 12) + b"\x80\0\0\0"]
    for number in range(directories + 1):
        own = tags | {254: 0 if number == 0 else last if number == directories else 1}
        entries = (struct.pack("<HHII", tag, 4, 1, value) for tag, value in own.items())
        after = 12 + size * (number + 1) if number < directories else (12 if loop else 0)
        content += [struct.pack("<H", len(own)), *entries, struct.pack("<I", after)]
    return b"".join(content)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@contextmanager
def one_line_error(kind: type[Exception], *parts: str, match: str | None = None) -> Iterator[None]:
    """Expects an error of one readable line that has all of `parts`, and what a pattern says."""
    with pytest.raises(kind, match=match) as error:
        yield
    message = str(error.value)
    assert "\n" not in message and message.isprintable()
    assert len(message) >= 20
    for part in parts:
        assert part in message, message


UTM = "EPSG:32633"


def write_raster(path: Path, values: np.ndarray, *, interpretation: list[str] | None = None, **profile: Any) -> Path:
    """Write (bands, H, W) values as a GeoTIFF; `interpretation` names the bands."""
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
    from rasterio.enums import ColorInterp

    profile = dict(zip(("count", "height", "width"), values.shape, strict=True)) | {"dtype": values.dtype} | profile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", **profile) as file:
            if interpretation:
                file.colorinterp = [ColorInterp[name] for name in interpretation]
            file.write(values)
    return path


def utm() -> Any:
    """Coordinates of half a metre a pixel."""
    rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
    return {"crs": UTM, "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)}
