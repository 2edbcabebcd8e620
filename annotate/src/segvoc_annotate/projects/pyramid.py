"""A large image as tiles at several sizes, from which the page draws what is looked at."""

import io
import threading
import zipfile
from pathlib import Path

from PIL import Image

from segvoc import UsageError
from segvoc.imaging.reading import read_image
from segvoc.storage.atomic_writes import write_bytes
from segvoc_annotate.projects.images import TILES, ProjectImage, cache_name, encoded

TILE_SIDE = 512
"""Side of a tile [px]."""

TILED_PIXELS = 16_000_000
"""Images with more pixels are shown as tiles, and labeled at the largest size of at most that many."""

SCALED = "scaled.jpg"
"""The image at the size at which it is labeled."""

_QUALITY = 88
_ONE = threading.Lock()
"""Pyramids are made one by one: each holds an image."""


def tile(folder: Path, image: ProjectImage, name: str) -> bytes:
    """A JPEG of the pyramid in a project's folder, which is made where it is missing or the image changed.

    `name` is LEVEL/ROW/COLUMN, at half the size of the level before each, or `SCALED`. `UsageError` if there is no such
    tile; raises `InputError`.
    """
    with _ONE:
        path = _made(folder, image)
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(f"{name}.jpg" if name != SCALED else SCALED)
    except KeyError:
        raise UsageError(f"{image.name!r} has no tile {name[:40]!r}; ask for level/row/column") from None


def _made(folder: Path, image: ProjectImage) -> Path:
    path = folder / TILES / f"{cache_name(image)}.zip"
    if not path.exists():
        write_bytes(path, _pyramid(Image.fromarray(read_image(image.path))))
    return path


def _pyramid(image: Image.Image) -> bytes:
    buffer, level, is_scaled = io.BytesIO(), 0, False
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        while True:
            width, height = image.size
            if not is_scaled and width * height <= TILED_PIXELS:
                archive.writestr(SCALED, encoded(image, "JPEG", quality=92))
                is_scaled = True
            for row, top in enumerate(range(0, height, TILE_SIDE)):
                for column, left in enumerate(range(0, width, TILE_SIDE)):
                    box = (left, top, min(width, left + TILE_SIDE), min(height, top + TILE_SIDE))
                    archive.writestr(f"{level}/{row}/{column}.jpg", encoded(image.crop(box), "JPEG", quality=_QUALITY))
            if max(width, height) <= TILE_SIDE and is_scaled:
                break
            image, level = image.reduce(2), level + 1
    return buffer.getvalue()
