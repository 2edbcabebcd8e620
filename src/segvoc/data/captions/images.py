"""Captioned images in files or tars, which are read on demand."""

import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError
from segvoc.imaging.reading import decode_image, read_image

LONGEST_CAPTION = 10_000
"""Longest caption that is accepted [characters]."""

OnProblem = Callable[[str], object]
"""Receives one line for each caption or image that is skipped."""


class ImageLocation(NamedTuple):
    """An image file, or an image in a tar, which is read at its offset without unpacking the tar."""

    file: str
    """Path of the image, or of the tar that contains it."""
    member: str = ""
    """Name inside the tar; empty for an image file."""
    offset: int = 0
    """Where the image begins in the tar [bytes]."""
    size: int = 0
    """Length in the tar [bytes]."""

    def read(self) -> UInt8[np.ndarray, "H W 3"]:
        """Read and decode the image.

        Raises:
            InputError: it is missing, damaged, not an image, or too large.
        """
        if not self.member:
            return read_image(Path(self.file))
        name = f"{self.file}: {self.member}"
        try:
            with open(self.file, "rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise InputError(f"{name!r} can't be read: {error.strerror}; check the path and the disk") from None
        return decode_image(content, repr(name))


class CaptionedImage(NamedTuple):
    """The location of an image, and its captions."""

    name: str
    """Unique within its set; for files, the path below the set's folder without suffix."""
    location: ImageLocation
    captions: tuple[str, ...]


def file_fingerprint(path: str | os.PathLike[str]) -> tuple[object, ...]:
    """Size and modification time [ns] of a file, and whether this process may read it."""
    try:
        found = os.stat(path)
    except OSError:
        return ("missing",)
    # granting read access changes neither size nor modification time
    unreadable = () if os.access(path, os.R_OK) else ("unreadable",)
    return (found.st_size, found.st_mtime_ns, *unreadable)


def usable_captions(found: object, name: str, on_problem: OnProblem) -> tuple[str, ...]:
    """The usable captions among what a file stores for an image, with white space normalized and duplicates removed.

    `on_problem` receives one line for each entry that is not a caption.
    """
    entries = found if isinstance(found, list | tuple) else [found]
    captions = []
    for entry in entries:
        if problem := _problem(entry):
            on_problem(f"a caption of {name!r} {problem}; it is left out")
        else:
            captions.append(" ".join(unicodedata.normalize("NFC", str(entry)).split()))
    return tuple(dict.fromkeys(captions))


def joined_captions(entries: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """All captions of each name, without duplicates; names are in the order of their first appearance."""
    joined: dict[str, list[str]] = {}
    for name, captions in entries:
        joined.setdefault(name, []).extend(captions)
    return {name: tuple(dict.fromkeys(captions)) for name, captions in joined.items()}


def _problem(entry: object) -> str:
    if not isinstance(entry, str):
        return f"is not text but {str(entry)[:40]!r}"
    if not entry.strip():
        return "is empty"
    if len(entry) > LONGEST_CAPTION:
        return f"has {len(entry)} characters, more than {LONGEST_CAPTION}"
    if any("\ud800" <= char <= "\udfff" or (char < " " and not char.isspace()) for char in entry):
        return f"is not clean text ({entry[:40]!r})"
    return ""
