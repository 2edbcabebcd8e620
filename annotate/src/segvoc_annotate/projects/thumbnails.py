"""Thumbnails of a project's images, kept beside it in a hidden folder."""

import os
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from PIL import Image

from segvoc import OutputError
from segvoc.imaging.reading import opened_image, read_image
from segvoc.storage.atomic_writes import write_bytes
from segvoc_annotate.projects.images import ProjectImage

THUMBNAIL_SIDE = 160
"""Side of a thumbnail [px]."""

_FOLDER = ".segvoc/thumbnails"


def thumbnail(folder: Path, image: ProjectImage) -> bytes:
    """A thumbnail of an image as JPEG, made again whenever the image has changed.

    Args:
        folder: the project's folder.
        image: the image.

    Raises:
        InputError: it can't be read.
    """
    kept = folder / _FOLDER / f"{image.stem}.jpg"
    status = None
    with suppress(OSError):
        status = image.path.stat()  # before reading: an image that is replaced meanwhile is newer than its thumbnail
        if kept.stat().st_mtime_ns == status.st_mtime_ns:
            return kept.read_bytes()
    with opened_image(image.path, rgb=True) as opened:
        # JPEGs can be decoded at an eighth of their size
        opened.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
        small = Image.fromarray(read_image(opened))
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=80)
    if status is not None:
        with suppress(OSError, OutputError):  # they only save time
            write_bytes(kept, buffer.getvalue())
            os.utime(kept, ns=(status.st_atime_ns, status.st_mtime_ns))
    return buffer.getvalue()
