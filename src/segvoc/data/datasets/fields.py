"""Shared by dataset readers: locating files, and checked access to their untrusted values."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from segvoc.errors import UsageError, one_line
from segvoc.storage.files import safe_path
from segvoc.storage.json_files import read_json

_Set = TypeVar("_Set")


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """The location of a dataset, as given by the caller."""

    path: Path
    """Its folder, or its annotation file for all images."""
    images: Path | None = None
    """The folder of the images, if they are elsewhere."""
    split: str | None = None

    @property
    def folder(self) -> Path:
        """The dataset's folder, or the folder of its file."""
        return self.path.parent if self.path.is_file() else self.path

    def image(self, name: str, folders: Sequence[Path]) -> Path:
        """Find an image by its path in the dataset, below candidate folders, the likeliest first.

        If given, only `images` is searched, also for the end of the path. The folders are searched for the end of URLs
        and of paths from another machine. Returns the first and longest match, or the first candidate.

        Raises:
            ValueError: the name points outside the folders, and no end of it matches.
        """
        folders = folders if self.images is None else [self.images]
        try:
            whole, outside = safe_path(name), None
        except ValueError as error:
            whole, outside = Path(), error
        ends = [whole] if outside is None and self.images is None else path_ends(name)
        places = [folder / end for end in ends for folder in folders]
        if (found := next((place for place in places if place.is_file()), None)) is not None:
            return found
        if outside is not None:
            raise outside
        return places[0]


def path_ends(name: str) -> list[Path]:
    """The relative ends of any path or URL, without parts that lead out of a folder: "a/b.jpg", "b.jpg"."""
    if re.match(r"[a-zA-Z][\w+.-]*://", name):
        name = unquote(urlsplit(name).path)
    parts = [part for part in re.split(r"[/\\]+", re.sub("^[a-zA-Z]:", "", name)) if part not in ("", ".", "..")]
    with suppress(ValueError):  # not a file name
        return [safe_path("/".join(parts[first:])) for first in range(len(parts))]
    return []


def chosen_set(source: DatasetSource, sets: Mapping[str, _Set], kind: str) -> _Set:
    """Choose the requested set; `kind` describes the sets in errors: "files in annotations/".

    Raises:
        UsageError: there are several sets and none is named, or the name is unknown.
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
    """List the accepted files below a folder, sorted by path; hidden files and folders are skipped."""
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


class DamagedDatasetError(UsageError):
    """The annotation file of a dataset is damaged."""


def damaged(path: Path, problem: str) -> DamagedDatasetError:
    """The error for a damaged annotation file."""
    return DamagedDatasetError(f"{str(path)!r} is damaged: {problem}; export the dataset again")


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turn read errors and `ValueError`s about a file's content into `DamagedDatasetError`.

    A `UsageError` passes through.
    """
    try:
        yield
    except UsageError:
        raise
    except OSError as error:
        raise DamagedDatasetError(f"{str(path)!r} can't be read: {error.strerror}; check the path") from None
    except ValueError as error:
        raise damaged(path, one_line(error)) from None


def json_content(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DamagedDatasetError: it can't be read.
    """
    with naming_damage(path):
        try:
            return read_json(path)
        except ValueError as error:
            raise ValueError(f"it is not JSON ({one_line(error)})") from None


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file.

    Raises:
        DamagedDatasetError: it can't be read.
    """
    with naming_damage(path):
        try:
            # not `splitlines`, which also splits at characters that names may contain
            return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
        except UnicodeError:
            raise ValueError("it is not UTF-8 text") from None


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise ValueError("it has a DOCTYPE, which is not allowed (it may define entities)")


def read_xml(path: Path) -> ElementTree.Element:
    """Read the root of an XML file.

    Raises:
        DamagedDatasetError: the file can't be read, isn't XML, or has a DOCTYPE.
    """
    with naming_damage(path):
        try:
            return ElementTree.parse(path, ElementTree.XMLParser(target=_WithoutDoctype())).getroot()
        except (ElementTree.ParseError, LookupError) as error:
            raise ValueError(str(error)) from None


class Entry:
    """An entry of a file with checked values; errors refer to it by name ("annotation 7")."""

    def __init__(self, content: object, name: str) -> None:
        if not isinstance(content, Mapping):
            raise ValueError(f"{name} is {_kind(content)}, not an object")
        self.content, self.name = content, name

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def text(self, key: str) -> str:
        """Get a non-empty text."""
        value = self._value(key)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not a text")
        return value

    def whole(self, key: str) -> int:
        """Get an integer."""
        value = self._value(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not a whole number")
        return value

    def identity(self, key: str) -> int | str:
        """Get an id: a number or a text."""
        value = self._value(key)
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not an id")
        return value

    def number(self, key: str) -> float:
        """Get a finite number."""
        return finite(self._value(key), f"{key!r} of {self.name}")

    def items(self, key: str) -> Sequence[Any]:
        """A list."""
        value = self._value(key)
        if not isinstance(value, list):
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not a list")
        return value

    def entry(self, key: str) -> "Entry":
        """Get a nested entry."""
        return Entry(self._value(key), f"{key!r} of {self.name}")

    def size(self, height: str = "height", width: str = "width") -> tuple[int, int] | None:
        """Get the height and width of an image [px]; None if either is missing."""
        if height not in self or width not in self:
            return None
        return self.whole(height), self.whole(width)

    def _value(self, key: str) -> Any:
        if self.content.get(key) is None:
            raise ValueError(f"{self.name} has no {key!r}")
        return self.content[key]


def finite(value: object, name: str) -> float:
    """Convert a value to a finite number, or raise `ValueError`."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is {_kind(value)}, not a finite number")
    return number


def _kind(value: object) -> str:
    """Format a value for errors."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
