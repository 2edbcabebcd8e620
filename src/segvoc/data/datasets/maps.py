"""Label maps of datasets, the class tables that define their values, and projects, which are folders of such maps."""

import csv
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import (
    AnnotatedImage,
    Annotation,
    DatasetSource,
    Entry,
    ParsedDataset,
    checked_size,
    json_content,
    naming_damage,
    read_lines,
)
from segvoc.errors import UsageError, one_line
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT
from segvoc.imaging.reading import opened_image, upright
from segvoc.storage.files import digest_of, read_json
from segvoc.vocabulary import COLOR_LINES, IGNORED_NAMES, LEADING_INDEX, indexed_names


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """The classes of a dataset and the meaning of its map values."""

    names: tuple[str, ...]
    """The class names in label order, without void classes."""
    indices: Mapping[int, int]
    """The label of each index in an index mask; 65535 if unlabeled."""
    colors: Mapping[int, int] | None = None
    """The label of each color (0xRRGGBB) in a color mask; None if the table has no colors."""
    has_colors_alone: bool = False
    """Whether the table has colors but no explicit indices, so palette images are read as colors."""

    @classmethod
    def of(cls, names: Mapping[int, str], unlabeled: Iterable[int] = ()) -> "LabelTable":
        """The table of names by index; other indices are unlabeled: 255 and 65535, unless they have a name."""
        labels = dict.fromkeys((*unlabeled, UNLABELED_8_BIT, UNLABELED), UNLABELED)
        return cls(names=tuple(names.values()), indices=labels | {index: label for label, index in enumerate(names)})

    @cached_property
    def digest(self) -> str:
        """Equal for equal tables."""
        return digest_of(self)


class ObjectNumbers(NamedTuple):
    """Encoding of a class index and an object number in 16 bits: `factor` times the index plus the number."""

    factor: int
    things: frozenset[int]
    """The indices that have objects."""

    def of(self, values: np.ndarray) -> np.ndarray:
        """Extract each pixel's object number, 0 for none."""
        if values.dtype == np.uint8:
            raise ValueError("the object map is not 16-bit")
        is_object = np.isin(values // self.factor, list(self.things))
        return np.where(is_object, values.astype(np.int64) + 1, 0)


@dataclass(frozen=True, kw_only=True)
class MapFile(Annotation):
    """A map of indices (gray or palette) or colors, with an optional object map."""

    path: Path
    table: LabelTable
    objects_path: Path | None = None
    numbers: ObjectNumbers | None = None
    """Encoding of the object map; None: plain object numbers, with 255 for none in 8 bits."""
    content: bytes | None = None
    """The map's file; None: the one at `path`."""

    @property
    def table_digest(self) -> str:
        """See `Annotation`."""
        return self.table.digest

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        values, name = self._values(self.path, self.content), self.path.name
        if values.ndim == 3 and self.table.colors is None and (values == values[..., :1]).all():
            values = values[..., 0]  # indices saved as three-channel gray
        checked_size(size, values.shape)
        if values.ndim == 2:
            return looked_up(values, self.table.indices, lambda value: f"{name!r} has the undefined index {value}")
        if self.table.colors is None:
            raise ValueError(f"{name!r} is a color mask, but the class table has no colors")
        return looked_up(
            values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32),
            self.table.colors,
            lambda key: f"{name!r} has the undefined color {_shown(tuple(key.to_bytes(3)))} (#{key:06x})",
        )

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        if self.objects_path is None:
            return None
        values = self._values(self.objects_path)
        if values.ndim != 2:
            raise ValueError(f"{self.objects_path.name!r} is a color image, not a map of object numbers")
        checked_size(size, values.shape)
        if self.numbers is not None:
            values = self.numbers.of(values)
        elif values.dtype == np.uint8:
            values = np.where(values == UNLABELED_8_BIT, 0, values)
        renumbered = np.zeros(size, np.uint16)
        renumbered[values > 0] = np.unique(values[values > 0], return_inverse=True)[1] + 1
        return renumbered

    def _values(self, path: Path, content: bytes | None = None) -> np.ndarray:
        """Values (H W) or colors (H W 3)."""
        with opened_image(path, content=content) as image:
            mode, turned = image.mode, upright(image)
            values = np.array(turned.convert("RGB") if mode == "P" and self.table.has_colors_alone else turned)
        if mode == "1":
            return values.astype(np.uint8)
        if mode == "RGBA" and (values[..., 3] == 255).all():
            return values[..., :3]
        if mode not in ("P", "L", "RGB") and not mode.startswith("I"):
            raise ValueError(f"{path.name!r} has the mode {mode}: neither indices nor colors")
        return values


def looked_up(
    values: np.ndarray, labels: Mapping[int, int], problem: Callable[[int], str]
) -> UInt16[np.ndarray, "H W"]:
    """Look up the label of each value of a map, or raise a `ValueError` with the problem of a value without one."""
    distinct, inverse = np.unique(values, return_inverse=True)
    if unknown := [value for value in distinct.tolist() if value not in labels]:
        raise ValueError(problem(unknown[0]))
    return np.array([labels[value] for value in distinct.tolist()], np.uint16)[inverse].reshape(values.shape)


# ---- class tables as text, CSV or JSON


@dataclass(frozen=True, kw_only=True)
class _Row:
    name: str
    index: int | None
    color: tuple[int, ...] | None


def read_label_table(path: Path) -> LabelTable:
    """Read a class table, or raise a `UsageError`.

    A text line is a name, optionally with an index or with red, green and blue before or after it, as in VOC's
    labelmap.txt (`name:red,green,blue::`). CSV has a header (name, index, r, g, b, ... in any order). JSON is a list of
    names or objects ({"name", "id", "color"}), or an object of names by index. Classes called "void", "unlabeled",
    "ignore", ... are unlabeled.
    """
    with naming_damage(path):
        if path.suffix.lower() == ".json":
            return _label_table(_json_rows(json_content(path)))
        lines = [line.strip() for line in read_lines(path) if not line.startswith("#")]
        rows = _text_rows([line for line in lines if line])
        if rows[0].index is None and rows[0].color is None and not all(lines[: len(rows)]):
            raise ValueError(f"line {lines.index('') + 1} is empty, and a class is known by its line")
        return _label_table(rows)


def _label_table(rows: Sequence[_Row]) -> LabelTable:
    names = tuple(dict.fromkeys(row.name for row in rows if row.name.lower() not in IGNORED_NAMES))
    if not names:
        raise ValueError("it has no class")
    for what, values in (("index", [row.index for row in rows]), ("color", [row.color for row in rows])):
        if len(missing := [row.name for row, value in zip(rows, values, strict=True) if value is None]) % len(rows):
            raise ValueError(f"{missing[0][:60]!r} has no {what}, others have one")
        if twice := [value for value, count in Counter(values).items() if value is not None and count > 1]:
            raise ValueError(f"two classes have the {what} {_shown(twice[0])}")
    labels = [names.index(row.name) if row.name in names else UNLABELED for row in rows]
    # default indices follow the order of the rows
    indices = {order if row.index is None else row.index: labels[order] for order, row in enumerate(rows)}
    if max(indices) > UNLABELED:
        raise ValueError(f"the index {max(indices)} is not from 0 to {UNLABELED}")
    colors = {row.color: label for row, label in zip(rows, labels, strict=True) if row.color is not None}
    if wrong := [color for color in colors if max(color) > 255]:
        raise ValueError(f"the color {_shown(wrong[0])} has a value above 255")
    return LabelTable(
        names=names,
        indices={UNLABELED_8_BIT: UNLABELED, UNLABELED: UNLABELED} | indices,
        colors={red << 16 | green << 8 | blue: label for (red, green, blue), label in colors.items()} or None,
        has_colors_alone=bool(colors) and rows[0].index is None,
    )


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


_COLUMNS = {
    **dict.fromkeys(("name", "class", "label", "category"), "name"),
    **dict.fromkeys(("index", "idx", "id", "class id", "value", "pixel value"), "index"),
    **{"r": "r", "red": "r", "g": "g", "green": "g", "b": "b", "blue": "b", "color": "color"},
}
"""Meaning of CSV columns and JSON keys."""


def _text_rows(lines: Sequence[str]) -> list[_Row]:
    if not lines:
        raise ValueError("it has no class")
    delimiter = max("\t;,", key=lines[0].count)
    header = next(csv.reader(lines[:1], delimiter=delimiter))
    if len(header) > 1 and "name" in map(_column, header):
        cells = csv.reader(lines[1:], delimiter=delimiter)
        return [_row(zip(header, row, strict=False), f"the line {', '.join(row)[:60]!r}") for row in cells]
    if form := next((form for form in COLOR_LINES if all(map(form.fullmatch, lines))), None):
        matches = (form.fullmatch(line) for line in lines)
        return [_row(match.groupdict().items(), f"the line {match[0][:60]!r}") for match in matches if match]
    if (indexed := indexed_names(lines)) is not None:
        return [_row([("index", index), ("name", name)], f"the line of {name[:60]!r}") for index, name in indexed]
    if form := next((form for form in (LEADING_INDEX, *COLOR_LINES) if form.fullmatch(lines[0])), None):
        other = next(line for line in lines if not form.fullmatch(line))
        raise ValueError(f"the line {other[:60]!r} isn't like the first one")
    return [_row([("name", line)], "a line") for line in lines]


def _json_rows(content: Any) -> list[_Row]:
    if isinstance(content, dict):
        content = [{"index": index, "name": name} for index, name in content.items()]
    if not isinstance(content, list):
        raise ValueError("it is neither a list nor an object")
    for number, entry in enumerate(content):
        if not isinstance(entry, str | dict):
            raise ValueError(f"entry {number} is neither a name nor an object")
    entries = (entry if isinstance(entry, dict) else {"name": entry} for entry in content)
    return [_row(entry.items(), f"entry {number}") for number, entry in enumerate(entries)]


def _column(title: str) -> str:
    return _COLUMNS.get(title.strip().strip("\"'").lower().replace("_", " "), "")


def _row(cells: Iterable[tuple[str, Any]], place: str) -> _Row:
    values = {_column(title): value for title, value in cells}
    name, index, color = values.get("name"), values.get("index"), values.get("color")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{place} has no name")
    if {"r", "g", "b"} <= values.keys():
        color = [values["r"], values["g"], values["b"]]
    elif isinstance(color, str) and re.fullmatch("#[0-9a-fA-F]{6}", color):
        color = list(bytes.fromhex(color[1:]))
    if color is not None and not (isinstance(color, list) and len(color) == 3):
        raise ValueError(f"{place} has no color of red, green and blue")
    return _Row(
        name=name.strip().strip("\"'"),
        index=None if index is None else _whole(index, place),
        color=None if color is None else tuple(_whole(value, place) for value in color),
    )


def _whole(value: object, place: str) -> int:
    text = str(value).strip()
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError(f"{place} has {text[:40]!r} where a whole number is expected")
    return int(text)


# ---- projects of segvoc-annotate

PROJECT_FILE = "project.json"
"""The file that identifies a project folder."""

PROJECT_FORMAT = "segvoc project"
PROJECT_VERSION = 1


def is_project(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has a `project.json` of a project; a damaged one counts."""
    path = Path(folder) / PROJECT_FILE
    try:
        content = read_json(path) if path.is_file() else None
    except (OSError, ValueError):
        return True
    return isinstance(content, dict) and content.get("format") == PROJECT_FORMAT


def _json_in_zip(path: Path, name: str) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(name))
    except OSError:
        raise
    except Exception as error:  # zipfile raises a dozen exception types on damaged data
        raise ValueError(one_line(error)) from None


def _last(merged: Mapping[int, object], word: int) -> int:
    """The id that a word's pixels have in the end."""
    for _ in merged:
        word = into if isinstance(into := merged.get(word), int) else word
    return word


def read_project(source: DatasetSource) -> ParsedDataset:
    """Read the finished images of a project, with its words.

    It reads `project.json`, the states in `work/a.zip`, `labels/a.png` and `objects/a.png` (docs/reference/files.md).
    """
    folder, file = source.folder, source.folder / PROJECT_FILE
    if not file.is_file():
        raise UsageError(f"{str(folder)!r} has no {PROJECT_FILE}; give the folder of a project")
    with naming_damage(file):
        project = Entry(json_content(file), "the file")
        if project.content.get("format") != PROJECT_FORMAT:
            raise UsageError(f"{str(file)!r} is not a segvoc project; give the folder of a project")
        if (version := project.whole("version")) > PROJECT_VERSION:
            raise UsageError(f"{str(file)!r} is of version {version}, made by a newer segvoc; update segvoc")
        words = project.entries("words", "word")
        names = {word.whole("id"): word.text("name") for word in words if not word.content.get("removed")}
        background = project.entry("options").content.get("background") if "options" in project else None
        images_folder = folder / (project.text("images") if "images" in project else "images")
    if not names:
        raise UsageError(f"the project {str(folder)!r} has no words; add some: segvoc project words")
    table = LabelTable.of(names, unlabeled=[word.whole("id") for word in words])
    # pixels of a word that was merged into another one may still have its id
    merged = {word.whole("id"): word.content.get("merged_into") for word in words if word.content.get("removed")}
    table = replace(table, indices={one: table.indices.get(_last(merged, one), UNLABELED) for one in table.indices})
    images = []
    for path in sorted((folder / "work").rglob("*.zip")):
        with naming_damage(path):
            state = Entry(_json_in_zip(path, "state.json"), "the file").content
        if not state.get("done") or not isinstance(name := state.get("image"), str):
            continue
        stem = path.relative_to(folder / "work").as_posix().removesuffix(".zip")
        label_map, objects = folder / "labels" / f"{stem}.png", folder / "objects" / f"{stem}.png"
        annotation = MapFile(path=label_map, table=table, objects_path=objects if objects.exists() else None)
        image = (source.images or images_folder) / name
        images.append(AnnotatedImage(image=image, labels=label_map, stem=stem, annotation=annotation))
    if not images:
        raise UsageError(f"no image of the project {str(folder)!r} is done; mark images as done on its page (N)")
    background = background if isinstance(background, str) else None
    return ParsedDataset(names=table.names, images=images, background=background, has_outside=False)
