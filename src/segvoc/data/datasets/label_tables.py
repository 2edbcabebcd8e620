"""Tables of classes beside masks: names, with the index or the color of each, as text, CSV or JSON."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvoc.data.datasets.fields import json_content, naming_damage, read_lines
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT

RgbColor = tuple[int, int, int]

IGNORED_NAMES = frozenset(
    ("__ignore__", "don't care", "ignore", "ignored", "unlabeled", "unlabelled", "unknown", "void")
)
"""Classes whose pixels are unlabeled, in small letters."""


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """The classes of a dataset, and how masks say them."""

    names: tuple[str, ...]
    """The names of the classes that are no void; their order is that of the labels."""
    indices: Mapping[int, int]
    """The label of each index in a mask of indices; 65535 for what is unlabeled."""
    colors: Mapping[int, int] | None
    """The label of each color (0xRRGGBB) in a mask of colors; None: the table has no colors."""
    has_colors_alone: bool
    """Whether the table has colors and no indices, which are the lines' order then."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    name: str
    index: int | None = None
    color: RgbColor | None = None


def read_label_table(path: Path) -> LabelTable:
    """Read a table of classes.

    As text, a line is a name; index and name; red, green, blue and name; or the other way round. CSV may have a header
    (name, index, r, g, b, ... in any order). JSON is a list of names or of objects ({"name", "id", "color"}), or an
    object by index or by name. Classes called "void", "unlabeled", "ignore", ... are unlabeled.

    Raises:
        DamagedDatasetError: it can't be read, or isn't such a table.
    """
    with naming_damage(path):
        rows = _json_rows(json_content(path)) if path.suffix.lower() == ".json" else _text_rows(read_lines(path))
        return _label_table(rows)


def _label_table(rows: Sequence[_Row]) -> LabelTable:
    """The table of some rows."""
    names = tuple(dict.fromkeys(row.name for row in rows if row.name.lower() not in IGNORED_NAMES))
    if not names:
        raise ValueError("it has no class")
    for what, values in (("index", [row.index for row in rows]), ("color", [row.color for row in rows])):
        if len(missing := [row.name for row, value in zip(rows, values, strict=True) if value is None]) % len(rows):
            raise ValueError(f"{missing[0][:60]!r} has no {what}, others have one")
        if twice := [value for value, count in Counter(values).items() if value is not None and count > 1]:
            raise ValueError(f"two classes have the {what} {_shown(twice[0])}")
    labels = [names.index(row.name) if row.name in names else UNLABELED for row in rows]
    # without indices, they follow the order of the rows
    numbers = [order if row.index is None else row.index for order, row in enumerate(rows)]
    indices = dict(zip(numbers, labels, strict=True))
    if wrong := [index for index in indices if not 0 <= index <= UNLABELED]:
        raise ValueError(f"the index {wrong[0]} is not from 0 to {UNLABELED}")
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


# ---- text and CSV

_GAP = r"[\s,;:]+"
_COLOR = rf"(?P<red>\d{{1,3}}){_GAP}(?P<green>\d{{1,3}}){_GAP}(?P<blue>\d{{1,3}})"
_NAME = r"(?!\d+[\s,;:])(?P<name>.*[^\d\s,;:=].*?)"
_NAME_OR_NUMBER = r"(?P<name>\d+|(?!\d+[\s,;:]).*[^\d\s,;:=].*?)"
_FORMS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?P<index>\d{{1,5}}){_GAP}{_COLOR}{_GAP}{_NAME}",
        rf"(?P<index>\d{{1,5}}){_GAP}{_NAME}{_GAP}{_COLOR}[\s,;:]*",
        rf"{_COLOR}{_GAP}{_NAME_OR_NUMBER}",
        rf"{_NAME}{_GAP}{_COLOR}[\s,;:]*",
        rf"(?P<index>\d{{1,5}})\s*[\s,;:=]\s*{_NAME}",
        r"(?P<name>[^\t,;:=]*[^\d\s,;:=][^\t,;:=]*)\s*[\t,;:=]\s*(?P<index>\d{1,5})",
    )
)
"""The forms of a line, the most particular first. No name begins with a number: a line may lack one."""

_COLUMNS = {
    **dict.fromkeys(("name", "names", "class", "class_name", "classname", "label", "label_name", "category"), "name"),
    **dict.fromkeys(("index", "idx", "id", "value", "class_id", "label_id", "class_index", "pixel_value"), "index"),
    **dict.fromkeys(("r", "red"), "red"),
    **dict.fromkeys(("g", "green"), "green"),
    **dict.fromkeys(("b", "blue"), "blue"),
    **dict.fromkeys(("color", "rgb", "color_rgb", "hex"), "color"),
}
"""What the columns of a header, and the keys of JSON objects, stand for."""


def _text_rows(lines: Sequence[str]) -> list[_Row]:
    lines = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError("it has no class")
    delimiter = max("\t;,", key=lines[0].count)
    header = [_COLUMNS.get(_key(cell)) for cell in next(csv.reader([lines[0]], delimiter=delimiter))]
    if "name" in header and len(header) > 1:
        return _columns(header, list(csv.reader(lines[1:], delimiter=delimiter)))
    if len(header) == 1 and header[0] == "name" and len(lines) > 1:
        lines = lines[1:]  # a header of one column
    matches = max(
        ([form.fullmatch(line) for line in lines] for form in _FORMS), key=lambda found: sum(map(bool, found))
    )
    known = sum(map(bool, matches))
    if 2 * known < len(lines):
        return [_Row(name=line.strip(" \"',;")) for line in lines]
    rows = []
    for line, match in zip(lines, matches, strict=True):
        if match is None:
            raise ValueError(f"the line {line[:60]!r} isn't like the others")
        fields = match.groupdict()
        index, color = fields.get("index"), [int(fields[band]) for band in ("red", "green", "blue") if band in fields]
        rows.append(
            _Row(
                name=fields["name"].strip(" \"'"),
                index=None if index is None else int(index),
                color=(color[0], color[1], color[2]) if color else None,
            )
        )
    return rows


def _columns(header: Sequence[str | None], lines: Sequence[Sequence[str]]) -> list[_Row]:
    rows = []
    for cells in lines:
        # a column that two names stand for counts once, the first
        values = {column: cell.strip() for column, cell in reversed(list(zip(header, cells, strict=False))) if column}
        rows.append(_row(values, f"the line {', '.join(cells)[:60]!r}"))
    return rows


def _row(values: Mapping[str, Any], place: str) -> _Row:
    name = values.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{place} has no name")
    color = values.get("color")
    if {"red", "green", "blue"} <= values.keys():
        color = [values["red"], values["green"], values["blue"]]
    index = values.get("index")
    return _Row(
        name=name.strip(),
        index=None if index is None else _whole(index, place),
        color=None if color is None else _color(color, place),
    )


def _color(value: object, place: str) -> RgbColor:
    if isinstance(value, str):
        text = value.strip().strip("()[]")
        if re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
            red, green, blue = bytes.fromhex(text.removeprefix("#"))
            return red, green, blue
        value = re.split(r"[\s,;]+", text)
    if not isinstance(value, list | tuple) or len(value) not in (3, 4):
        raise ValueError(f"{place} has no color of red, green and blue")
    red, green, blue = (_whole(one, place) for one in value[:3])
    return red, green, blue


def _whole(value: object, place: str) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,9}(\.0)?", text):
        raise ValueError(f"{place} has {text[:40]!r} where a whole number is expected")
    return int(float(text))


def _key(name: str) -> str:
    return re.sub("colou?r", "color", name.strip().strip("\"'").lower().replace(" ", "_").replace("-", "_"))


# ---- JSON

_LISTS = ("classes", "labels", "categories", "names", "id2label")


def _json_rows(content: Any) -> list[_Row]:
    if isinstance(content, dict) and (inner := [key for key in _LISTS if isinstance(content.get(key), dict | list)]):
        content = content[inner[0]]
    if isinstance(content, list):
        return [_json_row({}, entry, f"entry {number}") for number, entry in enumerate(content)]
    if not isinstance(content, dict):
        raise ValueError("it is neither a list nor an object")
    rows = []
    for key, value in content.items():
        if isinstance(value, str) and key.isdecimal():
            rows.append(_row({"name": value, "index": key}, repr(key[:60])))
        elif isinstance(value, int):
            rows.append(_row({"name": key, "index": value}, repr(key[:60])))
        elif isinstance(value, list):
            rows.append(_row({"name": key, "color": value}, repr(key[:60])))
        else:
            rows.append(_json_row({"index" if key.isdecimal() else "name": key}, value, repr(key[:60])))
    return rows


def _json_row(known: Mapping[str, Any], entry: object, place: str) -> _Row:
    if isinstance(entry, str) and not known:
        return _row({"name": entry}, place)
    if not isinstance(entry, dict):
        raise ValueError(f"{place} is neither a name nor an object")
    found = {_COLUMNS[_key(key)]: value for key, value in reversed(entry.items()) if _key(key) in _COLUMNS}
    return _row({**found, **known}, place)
