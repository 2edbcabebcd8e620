"""The images of a project: their names, how they are shown, and their other files."""

import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image

from segvoc import InputError, OutputError, UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.pictures import stored_orientation
from segvoc.imaging.reading import opened_image, read_image
from segvoc.storage.atomic_writes import write_bytes, writing
from segvoc.storage.files import safe_path


@dataclass(frozen=True, kw_only=True)
class ProjectImage:
    """An image of a project."""

    name: str
    """Path below the image folder, with slashes."""
    path: Path

    @property
    def stem(self) -> str:
        """Its name without the suffix, shared by its other files."""
        return stem_of(self.name)


LONGEST_PIECE = 255
"""Max bytes of a file's name, on most disks."""


def stem_of(name: str) -> str:
    """The name of an image without its suffix."""
    return os.path.splitext(name)[0]


_PIECE, _PIECES = 4096, 16


def content_id(path: Path, salt: str = "") -> str:
    """An id for an image: a digest of its file's size and of pieces from all over it; raises `InputError`."""
    digest = sha256()
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"{salt} {size} ".encode())
            for number in range(_PIECES):
                file.seek(max(0, size - _PIECE) * number // (_PIECES - 1))
                digest.update(file.read(_PIECE))
    except OSError as error:
        raise InputError(f"{str(path)!r} can't be read: {error.strerror}; check it") from None
    return digest.hexdigest()[:16]


def cache_name(image: ProjectImage) -> str:
    """A name for what is made from an image's file as it is now."""
    return content_id(image.path, f"{image.name} {image.path.stat().st_mtime_ns}")


def checked_name(name: str) -> str:
    """Check an image's name: `UsageError` if it leads outside the folder, is hidden or too long, or no image's."""
    try:
        path = safe_path(name)
    except ValueError as error:
        raise UsageError(f"the name {name[:80]!r} can't be used: {error}; rename the image") from None
    if not path.name or any(piece.startswith(".") or piece != piece.strip() for piece in path.parts):
        raise UsageError(f"the name {name[:80]!r} is hidden or has white space around it; rename the image")
    if not name.isprintable():
        raise UsageError(f"the name {name[:80]!r} has characters that can't be shown; rename the image")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UsageError(f"{name[:80]!r} has no image suffix (.jpg, .png, ...); rename it")
    if len(f"{path.stem}.png".encode()) > LONGEST_PIECE:
        raise UsageError(f"the name {name[:80]!r} is too long for its label map; rename the image")
    return path.as_posix()


def clash(name: str, other: str) -> str:
    """The error line for two images that would share a label map."""
    return f"{name!r} would share its label map with {other!r}; rename it"


def encoded(image: Image.Image, format_: str, **options: int) -> bytes:
    """Encode an image."""
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def shown_image(path: Path) -> bytes | None:
    """Convert an image to an upright PNG if browsers would show its file differently; else None. Raises `InputError`.

    Browsers apply only the EXIF orientation of JPEG files, not XMP or other formats; few read TIFF files.
    """
    with opened_image(path) as image:
        own = Image.Exif()
        own.load(image.info.get("exif") or b"")
        is_known = image.format in ("JPEG", "MPO") and ExifTags.Base.Orientation in own
        if image.format != "TIFF" and (is_known or stored_orientation(image) == 1):
            return None
    return encoded(Image.fromarray(read_image(path)), "PNG", compress_level=1)


THUMBNAIL_SIDE = 160
"""Side of a thumbnail [px]."""

CACHES = THUMBNAILS, TILES = ".segvoc/thumbnails", ".segvoc/tiles"
"""Folders of what is made from images, by their `cache_name`."""


def thumbnail(folder: Path, image: ProjectImage) -> bytes:
    """A JPEG thumbnail of an image, cached in the project's folder; raises `InputError`."""
    cached = folder / THUMBNAILS / f"{cache_name(image)}.jpg"
    with suppress(OSError):
        return cached.read_bytes()
    with opened_image(image.path, rgb=True) as opened:
        # JPEGs can be decoded at an eighth of their size
        opened.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
        small = Image.fromarray(read_image(opened))
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    content = encoded(small, "JPEG", quality=80)
    with suppress(OSError, OutputError):  # only a cache
        write_bytes(cached, content)
    return content


# ---- the other files of images

TRASH = "trash"


class ImageFiles(NamedTuple):
    """The other files of an image; none has to exist."""

    work: Path
    """The source of truth: `work/a.zip`."""
    labels: Path
    """Derived from `work`: `labels/a.png`."""
    objects: Path
    """`objects/a.png`"""

    @classmethod
    def below(cls, folder: Path, name: str) -> "ImageFiles":
        """The files of an image in a project's folder, or in its own folder in the trash."""
        stem = stem_of(name)
        return cls(folder / f"work/{stem}.zip", folder / f"labels/{stem}.png", folder / f"objects/{stem}.png")


def move(old: Path, new: Path) -> None:
    """Move a file, if it exists, on the same disk, creating folders as needed; raises `OutputError`."""
    with writing(new):
        if os.path.lexists(old):
            new.parent.mkdir(parents=True, exist_ok=True)
            os.replace(old, new)


def remove(path: Path) -> None:
    """Remove a file if it exists; raises `OutputError`."""
    with writing(path):
        path.unlink(missing_ok=True)
