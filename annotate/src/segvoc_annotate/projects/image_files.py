"""The files of an image in a project's folder, and the trash with those of removed images."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from segvoc import UsageError
from segvoc.imaging.result_paths import folded
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import read_json, write_json
from segvoc_annotate.projects.images import stem_of
from segvoc_annotate.projects.records import ImageState

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
