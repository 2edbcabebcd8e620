"""Images with the noun phrases of their captions, as an indexable PyTorch data set."""

import json
import os
import sqlite3
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from torch.utils.data import Dataset

from segvoc.data.captions.caption_index import open_index
from segvoc.data.captions.images import ImageLocation
from segvoc.errors import InputError


class CaptionEntry(NamedTuple):
    """An image of the set, not read yet."""

    name: str
    location: ImageLocation
    phrases: tuple[int, ...]
    """Its noun phrases, by their numbers in `CaptionDataset.phrase_texts`."""


class CaptionSample(NamedTuple):
    """An image and the noun phrases of its captions."""

    image: UInt8[np.ndarray, "H W 3"]
    phrases: tuple[str, ...]


class CaptionDataset(Dataset[CaptionSample]):
    """The captioned images that have a phrase; `build_index` makes the index that it reads.

    An entry is read from the index when it is asked for. So the memory of a process, and what is copied to a data
    loader's workers, does not grow with the set.
    """

    def __init__(self, index: Path) -> None:
        """Open an index.

        Args:
            index: the path that `build_index` returned.

        Raises:
            InputError: the index is missing or damaged.
        """
        self.index = index
        self._connection: tuple[int, sqlite3.Connection] | None = None
        facts = {name: json.loads(value) for name, value in self._rows("SELECT name, value FROM facts")}
        self.facts: dict[str, Any] = facts

    def __len__(self) -> int:
        """How many images have a phrase."""
        return self.facts["with_phrases"]

    def __getitem__(self, position: int) -> CaptionSample:
        """Read an image.

        Raises:
            IndexError: there is no such position.
            InputError: the image is missing, damaged, or too large.
        """
        entry = self.entry(position)
        return CaptionSample(entry.location.read(), self.phrases(entry))

    def __getstate__(self) -> dict[str, Any]:
        """Without the connection, which belongs to one process."""
        return self.__dict__ | {"_connection": None}

    @property
    def name(self) -> str:
        """Name of the set, for reports."""
        return self.facts["name"]

    def entry(self, position: int) -> CaptionEntry:
        """Where an image is, and its phrases.

        Raises:
            IndexError: there is no such position.
        """
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is outside of {len(self)} images")
        return next(self.entries(position, position + 1))

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[CaptionEntry]:
        """The entries at the positions from `start` to `stop` (exclusive; by default the end), in order."""
        query = (
            "SELECT name, path, member, offset, size, phrases FROM images JOIN files ON files.id = file "
            "WHERE images.id >= ? AND images.id < ? ORDER BY images.id"
        )
        for name, path, member, offset, size, phrases in self._rows(query, start, len(self) if stop is None else stop):
            location = ImageLocation(_text(path), _text(member), offset, size)
            yield CaptionEntry(_text(name), location, tuple(json.loads(phrases)))

    def phrases(self, entry: CaptionEntry) -> tuple[str, ...]:
        """The texts of an image's phrases."""
        return tuple(text for number in entry.phrases for text in self.phrase_texts(number, number + 1))

    def phrase_texts(self, start: int = 0, stop: int | None = None) -> Sequence[str]:
        """The distinct phrases of the set with the numbers from `start` to `stop` (exclusive; by default the end)."""
        query = "SELECT phrase FROM phrases WHERE id >= ? AND id < ? ORDER BY id"
        rows = self._rows(query, start, self.facts["phrases"] if stop is None else stop)
        return [phrase for (phrase,) in rows]

    def _rows(self, query: str, *values: int) -> Iterator[tuple[Any, ...]]:
        try:
            # a connection must not be used in a process that was forked later
            if self._connection is None or self._connection[0] != os.getpid():
                connection = open_index(self.index)
                weakref.finalize(self, connection.close)
                self._connection = os.getpid(), connection
            yield from self._connection[1].execute(query, values)
        except sqlite3.Error as error:
            path = str(self.index)
            raise InputError(f"{path!r} can't be read ({error}); delete it and run the same command again") from None


def _text(content: bytes) -> str:
    return content.decode(errors="surrogatepass")
