"""The images of a project: their names, their other files, and the trash with those of removed images."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image

from segvoc import OutputError, UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.reading import opened_image, read_image, stored_orientation
from segvoc.imaging.result_paths import folded, image_paths
from segvoc.storage.atomic_writes import write_bytes, writing
from segvoc.storage.files import read_json, safe_path, write_json
from segvoc_annotate.projects.records import ImageState


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


# ---- the other files of images

TRASH = "trash"
REMOVED_FILE = "removed.json"
"""The list, in the trash, of removed images outside the project."""


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """The derived files of an image; none has to exist."""

    work: Path
    """The source of truth: `work/a.zip`."""
    labels: Path
    """Derived from `work`: `labels/a.png`."""
    objects: Path
    """`objects/a.png`"""
    state: Path
    """`states/a.json`, written last."""

    @classmethod
    def below(cls, folder: Path, stem: str) -> "ImageFiles":
        """The files of a stem in a project's folder or its trash."""
        return cls(
            work=folder / f"work/{stem}.zip",
            labels=folder / f"labels/{stem}.png",
            objects=folder / f"objects/{stem}.png",
            state=folder / f"states/{stem}.json",
        )

    def __iter__(self) -> Iterator[Path]:
        return iter((self.work, self.labels, self.objects, self.state))

    def move(self, to: "ImageFiles") -> bool:
        """Move the existing files; return whether there were any. Raises `OutputError`."""
        found = [(old, new) for old, new in zip(self, to, strict=True) if old.is_file()]
        for old, new in found:
            move(old, new)
        return bool(found)


class Trash:
    """The images that were removed from a project.

    An image in the trash is removed; its other files follow. Images outside the project (unless `is_owned`) stay in
    place and are listed instead. Changes raise `OutputError`.
    """

    def __init__(self, folder: Path, images: Path, *, is_owned: bool) -> None:
        self.project, self.images, self.is_owned = folder, images, is_owned
        self.folder = folder / TRASH

    def names(self) -> list[str]:
        """The images in it, in order."""
        names = self._listed()
        place = self.folder / "images"
        for parent, folders, files in os.walk(place):
            folders[:] = [name for name in folders if not name.startswith(".")]
            below = Path(parent).relative_to(place)
            names += [(below / name).as_posix() for name in files if not name.startswith(".")]
        return sorted(set(names))

    def outside(self) -> list[str]:
        """Removed images outside the project."""
        return [] if self.is_owned else self._listed()

    def put(self, name: str) -> None:
        """Move an image to the trash; its files follow. `UsageError` if the trash has another image of this name."""
        if not self.is_owned:
            self._list([*self._listed(), name])
            return
        if other := self.holds(name):
            raise UsageError(f"the trash has {other!r} already; put that back, or delete it from {str(self.folder)!r}")
        move(self.images / name, self.folder / "images" / name)

    def holds(self, name: str) -> str | None:
        """The image in the trash whose files would clash with this one's; None without one."""
        own = folded(stem_of(name))
        return next((other for other in self.names() if folded(stem_of(other)) == own), None)

    def path(self, name: str) -> Path:
        """Where an image in the trash is."""
        return self.images / name if name in self._listed() else self.folder / "images" / name

    def files(self, name: str) -> ImageFiles:
        """The files of an image in the trash."""
        return ImageFiles.below(self.folder, stem_of(name))

    def take(self, name: str) -> None:
        """Restore an image whose files are already restored."""
        if name in (listed := self._listed()):
            self._list([other for other in listed if other != name])
        else:
            move(self.folder / "images" / name, self.images / name)

    def _listed(self) -> list[str]:
        with suppress(OSError, ValueError):
            content = read_json(self.folder / REMOVED_FILE)
            names = content.get("images") if isinstance(content, dict) else None
            return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        return []

    def _list(self, names: list[str]) -> None:
        write_json(self.folder / REMOVED_FILE, {"images": sorted(set(names))})


def move(old: Path, new: Path) -> None:
    """Move a file on the same disk, creating folders as needed; raises `OutputError`."""
    with writing(new):
        new.parent.mkdir(parents=True, exist_ok=True)
        os.replace(old, new)


def remove(path: Path) -> None:
    """Remove a file if it exists; raises `OutputError`."""
    with writing(path):
        path.unlink(missing_ok=True)


def mark_as_ours(files: ImageFiles, state: ImageState) -> None:
    """Set a label map's modification time, which identifies it as ours without reading it; raises `OutputError`."""
    seconds = seconds_of(state.at)
    with writing(files.labels):
        os.utime(files.labels, (seconds, seconds))


def seconds_of(at: str | None) -> float:
    """Parse a timestamp as seconds since 1970; 0 if missing or invalid."""
    try:
        return datetime.fromisoformat(at or "").timestamp()
    except ValueError:
        return 0.0
