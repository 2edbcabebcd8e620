"""What readers of datasets share: where a dataset lies, and checked values of its files, which may be hostile."""

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
    """What a call says of a dataset."""

    path: Path
    """Its folder, or the file about all images."""
    images: Path | None = None
    """The folder of the images, if they are elsewhere."""
    split: str | None = None

    @property
    def folder(self) -> Path:
        """The dataset's folder; of a file, the one it is in."""
        return self.path.parent if self.path.is_file() else self.path

    def image(self, name: str, folders: Sequence[Path]) -> Path:
        """The file of an image that the dataset calls by a path below one of some folders, the likeliest first.

        `images` alone is looked into if it is given, also for the end of the path. So are the folders for that of a URL
        or of a path on another machine. The first, and longest, that exists; if none does, the first.

        Raises:
            ValueError: the name points outside the folders, and no end of it is there.
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
    """A path or URL of any machine, without what leads out of a folder, and its ends: "a/b.jpg", "b.jpg"."""
    if re.match(r"[a-zA-Z][\w+.-]*://", name):
        name = unquote(urlsplit(name).path)
    parts = [part for part in re.split(r"[/\\]+", re.sub("^[a-zA-Z]:", "", name)) if part not in ("", ".", "..")]
    with suppress(ValueError):  # no name of a file
        return [safe_path("/".join(parts[first:])) for first in range(len(parts))]
    return []


def chosen_set(source: DatasetSource, sets: Mapping[str, _Set], kind: str) -> _Set:
    """The set that is meant; `kind` says what the sets are, for the error: "files in annotations/".

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


class DamagedDatasetError(UsageError):
    """A file about all images of a dataset is damaged."""


def damaged(path: Path, problem: str) -> DamagedDatasetError:
    """The error for such a file."""
    return DamagedDatasetError(f"{str(path)!r} is damaged: {problem}; export the dataset again")


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Raise an error of reading a file, or a `ValueError` about what is in it, as that for a damaged file.

    A `UsageError` comes through.
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
    """The content of a JSON file.

    Raises:
        DamagedDatasetError: it can't be read.
    """
    with naming_damage(path):
        try:
            return read_json(path)
        except ValueError as error:
            raise ValueError(f"it is not JSON ({one_line(error)})") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8.

    Raises:
        DamagedDatasetError: it can't be read.
    """
    with naming_damage(path):
        try:
            # not `splitlines`, for which a name may have ends of lines inside
            return path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
        except UnicodeError:
            raise ValueError("it is no text in UTF-8") from None


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise ValueError("it has a DOCTYPE, which may hold entities; none belongs there")


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        DamagedDatasetError: the file can't be read, is no XML, or has a DOCTYPE.
    """
    with naming_damage(path):
        try:
            return ElementTree.parse(path, ElementTree.XMLParser(target=_WithoutDoctype())).getroot()
        except (ElementTree.ParseError, LookupError) as error:
            raise ValueError(str(error)) from None


class Entry:
    """An entry of a file, whose values are checked; errors call it by its name ("annotation 7")."""

    def __init__(self, content: object, name: str) -> None:
        if not isinstance(content, Mapping):
            raise ValueError(f"{name} is {_kind(content)}, not an object")
        self.content, self.name = content, name

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def text(self, key: str) -> str:
        """A text that isn't empty."""
        value = self._value(key)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not a text")
        return value

    def whole(self, key: str) -> int:
        """A whole number."""
        value = self._value(key)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not a whole number")
        return value

    def identity(self, key: str) -> int | str:
        """A number or a text that stands for something."""
        value = self._value(key)
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not an id")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        return finite(self._value(key), f"{key!r} of {self.name}")

    def items(self, key: str) -> Sequence[Any]:
        """A list."""
        value = self._value(key)
        if not isinstance(value, list):
            raise ValueError(f"{key!r} of {self.name} is {_kind(value)}, not a list")
        return value

    def entry(self, key: str) -> "Entry":
        """An entry inside this one."""
        return Entry(self._value(key), f"{key!r} of {self.name}")

    def size(self, height: str = "height", width: str = "width") -> tuple[int, int] | None:
        """Height and width of an image [px]; None where the entry lacks one of them."""
        if height not in self or width not in self:
            return None
        return self.whole(height), self.whole(width)

    def _value(self, key: str) -> Any:
        if self.content.get(key) is None:
            raise ValueError(f"{self.name} has no {key!r}")
        return self.content[key]


def finite(value: object, name: str) -> float:
    """A value as a finite number, or a `ValueError`."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is {_kind(value)}, not a finite number")
    return number


def _kind(value: object) -> str:
    """A value as errors show it."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
