"""Pictures with captions, not read yet, wherever they lie."""

import os
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError
from segvoc.imaging.reading import decode_image, read_image

LONGEST_CAPTION = 10_000
"""Characters; what is longer is no caption."""

OnProblem = Callable[[str], object]
"""Told of each caption or picture that is passed over, in one line."""


class ImageFile(NamedTuple):
    """A picture in a file of its own."""

    path: Path

    def read(self) -> UInt8[np.ndarray, "H W 3"]:
        """See `read_image`."""
        return read_image(self.path)

    def identity(self) -> tuple[object, ...]:
        """Another one where the file has changed: its size, time of change [ns], and whether it may be read."""
        return _stat(self.path)


class TarMember(NamedTuple):
    """A picture in a tar; it is read at its place, without the rest of the tar. offset, size: bytes."""

    archive: Path
    name: str
    offset: int
    size: int

    def read(self) -> UInt8[np.ndarray, "H W 3"]:
        """See `read_image`."""
        name = f"{self.archive}: {self.name}"
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise InputError(f"{name!r} can't be read: {error.strerror}; check the path and the disk") from None
        return decode_image(content, name)

    def identity(self) -> tuple[object, ...]:
        """Another one where the tar has changed."""
        return (*_stat(self.archive), self.offset, self.size)


class CaptionedImage(NamedTuple):
    """A picture that is not read yet, named by `stem` among its set, and what is said of it."""

    stem: str
    source: ImageFile | TarMember
    captions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CaptionedImages:
    """A set of captioned pictures. name: of the set, for reports."""

    name: str
    images: tuple[CaptionedImage, ...]

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.images)

    def read(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """The picture at a position.

        Raises: InputError: it is missing, damaged, no picture, or too large.
        """
        return self.images[index].source.read()


def usable_captions(found: object, name: str, on_problem: OnProblem) -> tuple[str, ...]:
    """The captions among what a file holds for a picture: strings with something in them, white space made plain.

    Args:
        found: a string, or a list of them.
        name: of the picture, for problems.
        on_problem: told of each entry that is no caption.
    """
    entries = found if isinstance(found, list | tuple) else [found]
    captions = []
    for entry in entries:
        if problem := _problem(entry):
            on_problem(f"a caption of {name!r} {problem}; it is left out")
        else:
            captions.append(" ".join(unicodedata.normalize("NFC", str(entry)).split()))
    return tuple(dict.fromkeys(captions))


def joined_captions(parts: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """All captions of each name, in the order in which the names come."""
    joined: dict[str, list[str]] = {}
    for name, captions in parts:
        joined.setdefault(name, []).extend(captions)
    return {name: tuple(dict.fromkeys(captions)) for name, captions in joined.items()}


def _problem(entry: object) -> str:
    if not isinstance(entry, str):
        return f"is no text but {str(entry)[:40]!r}"
    if not entry.strip():
        return "is empty"
    if len(entry) > LONGEST_CAPTION:
        return f"has {len(entry)} characters, more than {LONGEST_CAPTION}"
    if any("\ud800" <= char <= "\udfff" or (char < " " and not char.isspace()) for char in entry):
        return f"is no clean text ({entry[:40]!r})"
    return ""


def _stat(path: Path) -> tuple[object, ...]:
    try:
        found = path.stat()
    except OSError:
        return ("missing",)
    # a permission that is given later changes neither
    closed = () if os.access(path, os.R_OK) else ("closed",)
    return (found.st_size, found.st_mtime_ns, *closed)
