"""Shared by dataset readers: locating files, and checked access to their untrusted values."""

import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from segvoc.errors import UsageError, one_line
from segvoc.storage.files import read_json, safe_path

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
        and of paths from another machine. Returns the first and longest match, or the first candidate; `ValueError` if
        the name points outside the folders, and no end of it matches.
        """
        folders = folders if self.images is None else [self.images]
        try:
            whole, outside = safe_path(name), None
        except ValueError as error:
            whole, outside = Path(), error
        ends = [whole] if outside is None and self.images is None else path_ends(name) or [whole]
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


def inner_path(name: str) -> Path:
    """The longest relative end of a path or URL; "image" if it isn't a file name."""
    return next(iter(path_ends(name)), Path("image"))


def chosen_set(source: DatasetSource, sets: Mapping[str, _Set], kind: str) -> _Set:
    """Choose the requested set, or the only one; `kind` describes the sets in errors: "files in annotations/"."""
    names = ", ".join(sorted(sets))
    if source.split is not None:
        if source.split not in sets:
            raise UsageError(f"{str(source.path)!r} has no set {source.split!r}; its {kind} are {names}")
        return sets[source.split]
    if len(sets) > 1:
        raise UsageError(f"{str(source.path)!r} has several {kind}: {names}; choose one with --split")
    return next(iter(sets.values()))


def visible_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files with these suffixes below a folder, sorted by path; hidden files and folders are skipped."""

    def refuse(error: OSError) -> None:
        raise error

    found = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in suffixes)


def damaged(path: Path, problem: str) -> UsageError:
    """The error for a damaged annotation file."""
    return UsageError(f"{str(path)!r} is damaged: {problem}; export the dataset again")


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turn read errors and `ValueError`s about a file's content into `UsageError`s, which pass through."""
    try:
        yield
    except UsageError:
        raise
    except OSError as error:
        raise UsageError(f"{str(path)!r} can't be read: {error.strerror}; check the path") from None
    except ValueError as error:
        raise damaged(path, one_line(error)) from None


def json_content(path: Path) -> Any:
    """Read a JSON file, or raise a `UsageError`."""
    with naming_damage(path):
        try:
            return read_json(path)
        except ValueError as error:
            raise ValueError(f"it is not JSON ({one_line(error)})") from None


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file, or raise a `UsageError`."""
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
    """Read the root of an XML file without DOCTYPE, or raise a `UsageError`."""
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
        """A text that isn't blank."""
        return self._value(key, "a text", lambda value: isinstance(value, str) and bool(value.strip()))

    def whole(self, key: str) -> int:
        """An integer."""
        return int(self._value(key, "a whole number", lambda value: isinstance(value, int) or _is_whole(value)))

    def identity(self, key: str) -> int | str:
        """An id: a number or a text."""
        return self._value(key, "an id", lambda value: isinstance(value, int | str))

    def number(self, key: str) -> float:
        """A finite number."""
        return finite(self._value(key), f"{key!r} of {self.name}")

    def items(self, key: str) -> Sequence[Any]:
        """A list."""
        return self._value(key, "a list", lambda value: isinstance(value, list))

    def entry(self, key: str) -> "Entry":
        """A nested entry."""
        return Entry(self._value(key), f"{key!r} of {self.name}")

    def entries(self, key: str, name: str) -> list["Entry"]:
        """A list of entries, each named with its position."""
        return [Entry(content, f"{name} {number}") for number, content in enumerate(self.items(key))]

    def size(self, height: str = "height", width: str = "width") -> tuple[int, int] | None:
        """The height and width of an image [px]; None if either is missing."""
        return (self.whole(height), self.whole(width)) if height in self and width in self else None

    def _value(self, key: str, kind: str = "", fits: Callable[[Any], bool] | None = None) -> Any:
        if (value := self.content.get(key)) is None:
            raise ValueError(f"{self.name} has no {key!r}")
        if fits is not None and (isinstance(value, bool) or not fits(value)):
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not {kind}")
        return value


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def finite(value: object, name: str) -> float:
    """Convert a value to a finite number, or raise `ValueError`."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is {_kind(value)}, not a finite number")
    return number


def points_of(listed: Sequence[Any], name: str) -> list[float]:
    """The coordinates of points, alternating x and y, or raise `ValueError`."""
    if not all(isinstance(point, list) and len(point) == 2 for point in listed):
        raise ValueError(f"a point of {name} isn't x and y")
    return [finite(value, f"a coordinate of {name}") for point in listed for value in point]


def _kind(value: object) -> str:
    """Format a value for errors."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
