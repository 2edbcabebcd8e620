"""The images of a project: listing, names and sizes."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image

from segvoc import OutputError, UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.reading import opened_image, read_image, stored_orientation
from segvoc.imaging.result_paths import folded, image_paths
from segvoc.storage.atomic_writes import write_bytes
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


def stem_of(name: str) -> str:
    """The name of an image without its suffix."""
    return os.path.splitext(name)[0]


def checked_name(name: str) -> str:
    """Check an image's name: `UsageError` if it leads outside the folder, is hidden, or lacks an image suffix."""
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
    return path.as_posix()


def find_images(
    folder: Path, owner: Callable[[str], str | None], removed: Collection[str]
) -> tuple[dict[str, ProjectImage], list[str]]:
    """List all images below a folder but the `removed`, sorted by name, and a line per unusable image.

    `owner` maps a stem to the image that owns its files, if any.
    """
    if not folder.is_dir():
        return {}, [f"the image folder {str(folder)!r} does not exist; restore it, or correct project.json"]
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
    """The error line for two images that would share a label map."""
    return f"{name!r} would share its label map with {other!r}; rename it"


def _chosen(same: Sequence[ProjectImage], owner: Callable[[str], str | None]) -> ProjectImage:
    if len(same) > 1:
        owners = {owner(image.stem) for image in same}
        same = [image for image in same if image.name in owners] or same
    return same[0]


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
    buffer = BytesIO()
    Image.fromarray(read_image(path)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


THUMBNAIL_SIDE = 160
"""Side of a thumbnail [px]."""

_FOLDER = ".segvoc/thumbnails"


def thumbnail(folder: Path, image: ProjectImage) -> bytes:
    """A JPEG thumbnail of an image, cached in the project's folder until the image changes; raises `InputError`."""
    kept = folder / _FOLDER / f"{image.stem}.jpg"
    status = None
    with suppress(OSError):
        status = image.path.stat()  # before reading, so that an image replaced meanwhile is newer than its thumbnail
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
        with suppress(OSError, OutputError):  # only a cache
            write_bytes(kept, buffer.getvalue())
            os.utime(kept, ns=(status.st_atime_ns, status.st_mtime_ns))
    return buffer.getvalue()
