"""Checked access to the files of datasets, which anybody may have written: their names and their values."""

import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from segvoc.errors import UsageError, one_line
from segvoc.storage.files import is_hidden, read_json, safe_path


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


def visible_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files with these suffixes below a folder, sorted by path; hidden files and folders are skipped."""

    def refuse(error: OSError) -> None:
        raise error

    paths = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not is_hidden(name)]
        paths += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(path for path in paths if path.suffix.lower() in suffixes)


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
        raise UsageError(f"{str(path)!r} is damaged: {one_line(error)}; export the dataset again") from None


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

    def flag(self, key: str, default: bool = False) -> bool:
        """Yes or no: true or false, 1 or 0, as a value or as text; the default if it is missing."""
        value = self.content.get(key)
        if value is None or value == "":
            return default
        flag = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower().removesuffix(".0"))
        if flag is None:
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not true or false")
        return flag

    def whole(self, key: str) -> int:
        """An integer."""
        value = self._value(key, "a whole number", lambda value: isinstance(value, int | float) and value % 1 == 0)
        return int(value)

    def identity(self, key: str) -> int | str:
        """An id: a number or a text."""
        return self._value(key, "an id", lambda value: isinstance(value, int | str))

    def number(self, key: str) -> float:
        """A finite number."""
        return finite(self._value(key), f"{key!r} of {self.name}")

    def items(self, key: str) -> Sequence[Any]:
        """A list."""
        return self._value(key, "a list", lambda value: isinstance(value, list))

    def points(self, key: str) -> list[float]:
        """The coordinates of points, alternating x and y."""
        listed = self.items(key)
        if not all(isinstance(point, list) and len(point) == 2 for point in listed):
            raise ValueError(f"a point of {self.name} isn't x and y")
        return [finite(value, f"a coordinate of {self.name}") for point in listed for value in point]

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
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
