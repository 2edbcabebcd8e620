"""Where the images of a dataset are, and which of its sets is meant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from segvoc.errors import UsageError
from segvoc.storage.safe_paths import safe_path

_Set = TypeVar("_Set")


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """What a call says of a dataset."""

    path: Path
    """Its folder, or the file about all images."""
    images: Path | None = None
    """The folder of the images, if they are elsewhere."""
    split: str | None = None
    """Which of its sets is meant ("train", "val"), if it has several."""

    @property
    def folder(self) -> Path:
        """The dataset's folder; of a file, the one it is in."""
        return self.path.parent if self.path.is_file() else self.path

    def image(self, name: str, folders: Sequence[Path]) -> Path:
        """The file of an image.

        Args:
            name: what the dataset calls it: a path below one of the folders.
            folders: where it may be, the likeliest first; `images` alone is looked into if it is given.

        Returns:
            The first that exists; if none does, the first.

        Raises:
            ValueError: the name points outside the folders.
        """
        path = safe_path(name)
        places = [folder / path for folder in ([self.images] if self.images is not None else folders)]
        if self.images is not None:
            places.append(self.images / path.name)
        return next((place for place in places if place.exists()), places[0])


def chosen_set(source: DatasetSource, sets: Mapping[str, _Set], kind: str) -> _Set:
    """The set that is meant.

    `kind` says what the sets are, for the error: "files in annotations/".

    Raises:
        UsageError: there are several and none is named, or there is none of that name.
    """
    names = ", ".join(sorted(sets))
    if source.split is not None:
        if source.split not in sets:
            raise UsageError(f"{str(source.path)!r} has no set {source.split!r}; its {kind} are {names}")
        return sets[source.split]
    if len(sets) > 1:
        raise UsageError(f"{str(source.path)!r} has several {kind}: {names}; choose one with --split")
    return next(iter(sets.values()))


def visible_files(folder: Path, accept: Callable[[Path], bool]) -> list[Path]:
    """The files below a folder that are wanted, sorted by path; hidden files and folders are skipped."""
    found = []
    pending = [folder]
    while pending:
        for path in pending.pop().iterdir():
            if path.name.startswith("."):
                continue
            if path.is_dir() and not path.is_symlink():
                pending.append(path)
            elif accept(path):
                found.append(path)
    return sorted(found)
