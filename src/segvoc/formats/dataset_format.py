"""What all formats of datasets have in common: files for each image, and files about all of them at the end."""

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar

from segvoc.annotations.connected_regions import Region, segments
from segvoc.annotations.stuff import stuff_classes
from segvoc.errors import UsageError
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.json_files import strict_json

Facts = Mapping[str, Any]
"""What the files about all images have to know of one, as plain values."""


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """An image in a dataset."""

    stem: str
    """Its name in the dataset, which may begin with sub-folders, without suffix."""
    image: str
    """Path of the image below the dataset's folder, where it is or would be if it had gone along."""
    facts: Facts
    """What `DatasetFormat.write` has returned."""


DatasetEntries = Iterable[DatasetEntry]
"""The images of a dataset in the order of their names; each time they are gone through, they are read one by one."""


class DatasetFormat(ABC):
    """A format. Objects know the words of a dataset, classes where its files are.

    Args:
        words: the words, whose indices are the labels.
        background: the word that stands for "none of the others".

    Raises:
        UsageError: the format has no room for these words.
    """

    name: ClassVar[str]
    """Its name on the command line."""
    needs: ClassVar[tuple[str, ...]] = ()
    """The modules of the extra `formats` that `write` needs."""

    def __init__(self, words: Sequence[str], background: str | None = None) -> None:
        self.words, self.background = tuple(words), background

    @classmethod
    def image_file(cls, stem: str, suffix: str) -> str:
        """Where the format wants an image's image."""
        return f"images/{stem}{suffix}"

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """The files that `write` always writes for an image; none if all is in those about all images."""
        return ()

    def segments_of(self, result: Segmentation) -> Iterator[Region]:
        """The segments of a result: objects, and of words without any each connected region, or all of its stuff."""
        stuff = stuff_classes(self.words, self.background)
        return segments(result.labels, len(self.words), stuff, result.objects)

    @abstractmethod
    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """Write the files of an image, each atomically.

        Args:
            folder: the dataset.
            stem: the image's name.
            image: path of the image: below `folder`, or absolute.
            result: its labels.

        Returns:
            What `finish` has to know of it.

        Raises:
            OutputError: a file can't be written.
        """

    @abstractmethod
    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """Write the files about all images, each atomically.

        Args:
            folder: the dataset.
            entries: all of them, in the order of their names; can be gone through several times.

        Raises:
            OutputError: a file can't be written.
        """


def refuse_words(words: Iterable[str], characters: str, name: str) -> None:
    """Check that no word has a character that separates words in a format.

    Raises:
        UsageError: one has.
    """
    for word in words:
        if found := [character for character in characters if character in word]:
            raise UsageError(f"{name} can't hold the word {word!r}, as {found[0]!r} separates words there; rename it")


def write_text(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text in UTF-8, atomically.

    Raises:
        OutputError: the file can't be written.
    """

    def write(file: BinaryIO) -> None:
        for line in lines:
            file.write(f"{line}\n".encode("utf-8", "surrogateescape"))

    write_atomically(path, write)


def write_json_lists(
    path: Path, head: Mapping[str, object], lists: Mapping[str, Iterable[Mapping[str, object]]]
) -> None:
    """Write a JSON object of long lists, atomically and in little memory.

    Args:
        path: the file.
        head: the short values, which come first.
        lists: the entries of each list; one a line.

    Raises:
        OutputError: the file can't be written.
    """

    def write(file: BinaryIO) -> None:
        file.write(b"{")
        for name, value in head.items():
            file.write(f"{json.dumps(name)}: {strict_json(value)},\n".encode())
        for index, (name, entries) in enumerate(lists.items()):
            file.write(f"{',' if index else ''}\n{json.dumps(name)}: ".encode())
            write_json_list(file, entries)
        file.write(b"}\n")

    write_atomically(path, write)


def write_json_list(file: BinaryIO, entries: Iterable[Mapping[str, object]]) -> None:
    """Write a JSON list into an open file, one entry a line."""
    file.write(b"[")
    for index, entry in enumerate(entries):
        file.write(f"{',' if index else ''}\n{strict_json(entry)}".encode())
    file.write(b"\n]")


def xml_text(text: str) -> str:
    """A text with "�" in place of what XML has no way to write, such as bytes of a file name that aren't Unicode."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def relative(path: str, start: str) -> str:
    """Path of an image as seen from a file of the dataset.

    Args:
        path: as in `DatasetEntry.image`.
        start: path of the file below the dataset's folder.
    """
    if os.path.isabs(path):
        return path
    return PurePosixPath(os.path.relpath(path, PurePosixPath(start).parent)).as_posix()
