"""The images of a project: which there are, under which names, and how large they are."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image

from segvoc import OutputError, UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.reading import opened_image, orientation, read_image
from segvoc.imaging.result_paths import folded, image_paths
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import safe_path

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

_ORIENTING = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
"""Where Pillow keeps what may have an orientation."""


@dataclass(frozen=True, kw_only=True)
class ProjectImage:
    """An image of a project."""

    name: str
    """Path below the folder of the images, with slashes."""
    path: Path

    @property
    def stem(self) -> str:
        """Its name without the suffix, by which its other files are called."""
        return stem_of(self.name)


def stem_of(name: str) -> str:
    """The name of an image without its suffix."""
    return os.path.splitext(name)[0]


def checked_name(name: str) -> str:
    """The name that an image may have in a project.

    Raises:
        UsageError: it leads elsewhere, is hidden, or has no suffix of an image.
    """
    try:
        path = safe_path(name)
    except ValueError as error:
        raise UsageError(f"the name {name[:80]!r} can't be used: {error}; rename the image") from None
    if not path.name or any(piece.startswith(".") or piece != piece.strip() for piece in path.parts):
        raise UsageError(f"the name {name[:80]!r} is hidden or has white space around it; rename the image")
    if not name.isprintable():
        raise UsageError(f"the name {name[:80]!r} has characters that can't be shown; rename the image")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UsageError(f"{name[:80]!r} has no suffix of an image (.jpg, .png, ...); rename it")
    return path.as_posix()


def find_images(
    folder: Path, owner: Callable[[str], str | None], removed: Collection[str]
) -> tuple[dict[str, ProjectImage], list[str]]:
    """All images below a folder, by name in order, and a line about each that can't be used.

    Args:
        folder: the folder of the images.
        owner: the name of the image for which a stem has files, if it has any.
        removed: names that are left out.
    """
    if not folder.is_dir():
        return {}, [f"the folder of the images, {str(folder)!r}, is not there; bring it back, or correct project.json"]
    found: dict[str, list[ProjectImage]] = defaultdict(list)
    problems = []
    for image in image_paths([folder]):
        if image.problem is not None:
            if image.path != folder or not os.access(folder, os.R_OK | os.X_OK):
                problems.append(image.problem)
            continue
        name = image.path.relative_to(folder).as_posix()
        if name in removed:
            continue
        try:
            checked_name(name)
        except UsageError as error:
            problems.append(str(error))
            continue
        found[folded(stem_of(name))].append(ProjectImage(name=name, path=image.path))
    images = {}
    for same in found.values():
        chosen = _chosen(same, owner)
        images[chosen.name] = chosen
        problems += [clash(other.name, chosen.name) for other in same if other is not chosen]
    return dict(sorted(images.items())), problems


def clash(name: str, other: str) -> str:
    """The line about an image that would share its label map with another."""
    return f"{name!r} would share its label map with {other!r}; rename it"


def _chosen(same: Sequence[ProjectImage], owner: Callable[[str], str | None]) -> ProjectImage:
    if len(same) > 1:
        owners = {owner(image.stem) for image in same}
        same = [image for image in same if image.name in owners] or same
    return same[0]


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as people see it [px]; only its header is read.

    Raises:
        InputError: it can't be read.
    """
    with opened_image(path) as image:
        height, width = image.height, image.width
        return (width, height) if _turn(image, path) in _SIDEWAYS else (height, width)


def shown_image(path: Path) -> bytes | None:
    """An image as an upright PNG, where a browser would show its file otherwise than it is read here; None: it doesn't.

    Browsers apply the EXIF orientation of JPEG files, and none of other files or of XMP; few read TIFF files.

    Raises:
        InputError: it can't be read.
    """
    with opened_image(path) as image:
        own = Image.Exif()
        own.load(image.info.get("exif") or b"")
        is_known = image.format in ("JPEG", "MPO") and ExifTags.Base.Orientation in own
        if image.format != "TIFF" and (is_known or _turn(image, path) == 1):
            return None
    buffer = BytesIO()
    Image.fromarray(read_image(path)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _turn(image: Image.Image, path: Path) -> int:
    """The EXIF orientation of an image that is open."""
    # Pillow would decode all of a PNG to look for EXIF data behind the pixels
    if image.format == "PNG" and not _ORIENTING & image.info.keys() and not _has_chunk(path, b"eXIf", b"iTXt"):
        return 1
    return orientation(image)


def _has_chunk(path: Path, *kinds: bytes) -> bool:
    """Whether a PNG has a chunk of one of some kinds."""
    with path.open("rb") as file:
        file.seek(8)
        while head := _chunk_head(file):
            if head[1] in kinds:
                return True
            file.seek(head[0] + 4, os.SEEK_CUR)
    return False


def _chunk_head(file: BinaryIO) -> tuple[int, bytes] | None:
    head = file.read(8)
    return (int.from_bytes(head[:4], "big"), head[4:]) if len(head) == 8 else None


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
