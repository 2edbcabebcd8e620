"""What a dataset format is: how such a dataset is recognized, read and, if it can be, written."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

from segvoc.errors import UsageError
from segvoc.imaging.connected_regions import Region, connected_regions
from segvoc.imaging.palette import class_colors
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.parsed import DatasetSource, ParsedDataset
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.files import strict_json

Facts = Mapping[str, Any]
"""Data of an image for the dataset-wide files, as plain values."""


class DatasetEntry(NamedTuple):
    """An image in a dataset."""

    stem: str
    """Its name in the dataset, may include subfolders, without suffix."""
    image: str
    """Path of the image below the dataset's folder, copied or not."""
    facts: Facts
    """The return value of `FormatWriter.write`."""


class FormatWriter(ABC):
    """Writes a format. Instances hold the words of a dataset; classes define the layout of its files.

    `words` are in label order, `background` stands for "none of the others"; `UsageError` if the format can't hold a
    word.
    """

    lost: ClassVar[str] = "(?!)"
    """Pattern of text that words must not contain, since it wouldn't survive a round trip."""
    of_videos: ClassVar[bool] = False
    """Whether it only holds frames of videos."""
    image_file: ClassVar[str] = "images/{stem}{suffix}"
    own_file: ClassVar[str | None] = None
    """The path of the file that `write` always writes for an image; None if all is in dataset-wide files."""

    def __init__(self, words: Sequence[str], background: str | None = None) -> None:
        self.words, self.background = tuple(words), background
        for word in self.words:
            if (match := re.search(self.lost, word, re.IGNORECASE)) is not None:
                raise UsageError(
                    f"the format can't hold the word {word!r}, as {match[0]!r} means something else there; rename it"
                )

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """The files that `write` always writes for an image."""
        return () if cls.own_file is None else (cls.own_file.format(stem=stem),)

    @abstractmethod
    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """Write the files of an image, each atomically, and return its data for `finish`.

        `image` is the path of the image: below `folder`, or absolute.
        """

    @abstractmethod
    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        """Write the dataset-wide files, each atomically; `entries` are sorted by name, and read by each iteration."""

    def regions(self, result: Segmentation) -> list[Region]:
        """The objects of a result, or for words without objects each connected component."""
        return connected_regions(result.labels, len(self.words), result.object_map)

    def hex_colors(self) -> Iterator[tuple[str, str]]:
        """Each word with its color, "#1f77b4"."""
        for word, color in zip(self.words, class_colors(len(self.words)).tolist(), strict=True):
            yield word, f"#{bytes(color).hex()}"


@dataclass(frozen=True, kw_only=True)
class DatasetFormat:
    """A format of datasets: the value that its file gives, and a line of `segvoc.labeling.formats.table`."""

    name: str
    """What options and calls name it."""
    read: Callable[[DatasetSource], ParsedDataset]
    """Its reader; what it doesn't read is counted."""
    writer: type[FormatWriter] | None = None
    """None for a format that is only read."""
    marks: Callable[[Path], object] = lambda folder: None
    """What a folder has that no other format has: files, folders, True; empty if there is nothing."""
    rank: int = 0
    """Of the formats that a folder has the marks of, those of the highest rank count."""
    is_alike: Callable[[Path], bool] = lambda folder: False
    """Whether a folder without the marks of any format looks like one; the first in the table counts."""
    is_json: Callable[[object], bool] = lambda content: False
    """Whether the content of a JSON file is that of such a dataset."""
    is_file: Callable[[Path], bool] = lambda path: False
    """Whether a file is the one that stands for such a dataset, by its name; the first in the table counts."""


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text in UTF-8, one by one, atomically."""

    def write(file: BinaryIO) -> None:
        for line in lines:
            file.write(f"{line}\n".encode("utf-8", "surrogateescape"))

    write_atomically(path, write)


def list_lines(entries: Iterable[Facts]) -> Iterator[str]:
    """The lines of a JSON list, an entry per line."""
    separator = "["
    for entry in entries:
        yield separator + strict_json(entry)
        separator = ","
    yield "]" if separator == "," else "[]"


NO_XML = "[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""Characters that XML can't represent, or reads as a space."""
