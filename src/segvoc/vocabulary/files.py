"""Files of classes: text, CSV, JSON and YAML."""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError, naming_extra, one_line
from segvoc.vocabulary.names import MAX_CLASSES, Pairs, as_word, folded, names_by_id, quoted

IGNORED_NAMES = frozenset(
    ("__ignore__", "don't care", "ignore", "ignored", "unlabeled", "unlabelled", "unknown", "void")
)
"""Class names of label maps that mean unlabeled, in lower case."""

_TABLES = (".xls", ".xlsx", ".ods", ".parquet")
"""Suffixes of tables that aren't text."""

_YAML, _TEXT_TABLES = (".yaml", ".yml"), (".csv", ".tsv")

_SETTINGS = (".toml", ".xml", ".ini", ".cfg")
"""Suffixes of settings, which are refused: their lines aren't words."""


def names_file(words: str | os.PathLike[str]) -> bool:
    """Whether words look like the name of a file, which isn't looked for: they may be those of a service's client."""
    return os.fspath(words)[:1] == "@" or Path(words).suffix.lower() in (
        ".txt",
        ".json",
        *_TEXT_TABLES,
        *_YAML,
        *_TABLES,
        *_SETTINGS,
    )


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """A class of a file."""

    name: str
    value: int | None = None
    """Its value in label maps; None if the file gives none, so that rows count from 0."""
    color: int | None = None
    """Its color in label maps, 0xRRGGBB."""

    @property
    def is_void(self) -> bool:
        """Whether its pixels are unlabeled."""
        return self.name.lower() in IGNORED_NAMES


def read_classes(path: str | os.PathLike[str]) -> list[ClassRow]:
    """Read a file of classes: UTF-8 text or CSV with a class per line, JSON, or YAML; sorted by value if it has some.

    A line is a name, and may have an index and a color (128,64,128 or #804080) before or after it, in the same places
    in all lines, separated by spaces or punctuation; VOC's `name:red,green,blue::` is such a line. A first line of
    titles (name, index, r, g, b, color) may name the columns, in any order. Lines that begin with # are comments, and
    quotes around a name are removed. JSON and YAML are a list of names, or of objects with `name`, `id` and `color`; an
    object that maps ids to names, or names to ids; or have one of these as `names` or `id2label`.

    Raises:
        UsageError: the file can't be read, isn't UTF-8, has no classes, or its lines differ or can be read in two ways.
    """
    name, suffix = os.fspath(path), Path(path).suffix.lower()
    if suffix in (*_TABLES, *_SETTINGS):
        kind = "a table" if suffix in _TABLES else "a file of settings"
        raise UsageError(f"the classes file {name!r} is {kind} ({suffix}); write one class per line, or a JSON list")
    content = read_json_pairs(path, "classes") if suffix == ".json" else _read_text(path, "classes")
    try:
        if isinstance(content, str) and suffix != ".json":
            if suffix not in _YAML:
                return _checked_rows(_text_rows(content, is_table=suffix in _TEXT_TABLES))
            content = parsed_yaml(content)
        return class_rows(content)
    except ValueError as error:
        raise UsageError(f"the classes file {name!r}: {error}") from None


def parsed_yaml(text: str) -> object:
    """The content of YAML, in which all values are literal text, including no, off, 010 and 12:30; or `ValueError`."""
    with naming_extra("PyYAML", "data"):
        import yaml
    if len(text) > _LARGEST_YAML:
        raise ValueError("it is too large for a list of classes")

    class Loader(yaml.BaseLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = Counter(key.value for key, _ in node.value if isinstance(key.value, str))
            if twice := next((key for key, count in keys.items() if count > 1), None):
                raise ValueError(f"the key {quoted(twice)} is given twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is not YAML ({one_line(error)})") from None


_LARGEST_YAML = 10_000_000


def class_rows(content: object) -> list[ClassRow]:
    """The classes in the content of a JSON or YAML file (see `read_classes`); `ValueError` if it has none."""
    if isinstance(content, Mapping | Pairs):
        by_key = dict(content.items() if isinstance(content, Mapping) else content)
        if isinstance(inner := next(filter(None, map(by_key.get, _INNER)), None), list | Mapping):
            return class_rows(inner)
        pairs = content.items() if isinstance(content, Mapping) else content
        content = [
            {**dict(name), "id": number} if isinstance(name, Mapping | Pairs) else {"id": number, "name": name}
            for number, name in names_by_id(pairs)
        ]
    if not isinstance(content, list):
        raise ValueError('it has no names; write a list, ["cat", "sofa"], or an id for each name')
    for number, entry in enumerate(content):
        if not isinstance(entry, str | Mapping | Pairs):
            raise ValueError(f"entry {number} ({quoted(entry)}) is neither a name nor an object")
    entries = [{"name": entry} if isinstance(entry, str) else dict(entry) for entry in content]
    return _checked_rows([_row(entry.items(), f"entry {number}") for number, entry in enumerate(entries)])


_INNER = ("names", "id2label", "classes")
"""Keys of what YOLO's, the hub's and our own files have beside their classes."""


def _checked_rows(rows: Sequence[ClassRow]) -> list[ClassRow]:
    if all(row.is_void for row in rows):
        raise ValueError("it has no class: there are no words in it")
    for what, values in (("index", [row.value for row in rows]), ("color", [row.color for row in rows])):
        if len(missing := [row.name for row, value in zip(rows, values, strict=True) if value is None]) % len(rows):
            raise ValueError(f"{quoted(missing[0])} has no {what}, others have one")
        if twice := [value for value, count in Counter(values).items() if value is not None and count > 1]:
            shown = f"{twice[0]}" if what == "index" else shown_color(twice[0])
            raise ValueError(f"two classes have the {what} {shown}")
    if (largest := max((row.value or 0 for row in rows), default=0)) > MAX_CLASSES:
        raise ValueError(f"the index {largest} is not from 0 to {MAX_CLASSES}")
    return sorted(rows, key=lambda row: row.value or 0)


def shown_color(color: int) -> str:
    """A color as it is written in tables of classes: 128, 64, 0 (#804000)."""
    return f"{', '.join(map(str, color.to_bytes(3)))} (#{color:06x})"


_COLUMNS = {
    **dict.fromkeys(("name", "names", "class", "classes", "class name", "label", "category"), "name"),
    **dict.fromkeys(("index", "idx", "id", "class id", "value", "pixel value"), "index"),
    **dict.fromkeys(("color", "class color", "color rgb", "rgb", "hex"), "color"),
    **{"r": "r", "red": "r", "g": "g", "green": "g", "b": "b", "blue": "b"},
}
"""Meaning of titles of columns and of keys."""


def _column(title: str) -> str:
    return _COLUMNS.get(title.strip().strip("\"'").lower().replace("_", " "), "")


def _row(cells: Iterable[tuple[str, Any]], place: str) -> ClassRow:
    values = {_column(str(title)): value for title, value in cells}
    name, index, color = values.get("name"), values.get("index"), values.get("color")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{place} has no name")
    if {"r", "g", "b"} <= values.keys():
        color = [values["r"], values["g"], values["b"]]
    elif isinstance(color, str):
        color = _numbers(color) or []
    if color is not None and not (isinstance(color, list) and len(color) == 3):
        raise ValueError(f"{place} has no color of red, green and blue")
    red_green_blue = [_whole(value, place) for value in color or ()]
    if any(value > 255 for value in red_green_blue):
        raise ValueError(f"the color {', '.join(map(str, red_green_blue))} has a value above 255")
    return ClassRow(
        name=name.strip(),
        value=None if index is None else _whole(index, place),
        color=int.from_bytes(bytes(red_green_blue)) if red_green_blue else None,
    )


def _numbers(color: str) -> list[Any] | None:
    if re.fullmatch("#[0-9a-fA-F]{6}", color.strip()):
        return list(bytes.fromhex(color.strip()[1:]))
    return re.findall(r"\d+", color) if re.fullmatch(r"[\d\s,;()\[\]]+", color) else None


def _whole(value: object, place: str) -> int:
    text = str(value).strip()
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError(f"{place} has {quoted(text)} where a whole number is expected")
    return int(text)


_COLOR = r"(?P<color>\d{1,3}[\s,;]+\d{1,3}[\s,;]+\d{1,3}|#[0-9a-fA-F]{6})"
_INDEX, _NAME, _BETWEEN = r"(?P<index>\d{1,5})", r"(?P<name>(?!\d+[\s,;:]).*[^\d\s,;:=].*?)", r"[\s,;:=]+"
_QUOTED = re.compile(r""""((?:[^"]|"")*)"|'([^']*)'""")
_HEX_LINE = re.compile(rf"#[0-9a-fA-F]{{6}}{_BETWEEN}\S.*")


def _form(*parts: str) -> re.Pattern[str]:
    return re.compile(_BETWEEN.join(parts))


_VOC_LINE = re.compile(rf"(?P<name>[^:]*[^:\s][^:]*?)\s*:(?:\s*{_COLOR}\s*:[^:]*:?[^:]*|::)")
"""A line of VOC's labelmap.txt, name:red,green,blue:parts:actions, in which names are literal."""

_FORMS = (
    (_form(_INDEX, _COLOR, _NAME), _form(_COLOR, _INDEX, _NAME), _form(_INDEX, _NAME, _COLOR)),
    (_form(_NAME, _INDEX, _COLOR), _form(_NAME, _COLOR, _INDEX), _form(_COLOR, _NAME, _INDEX)),
    (_form(_COLOR, _NAME), _form(_NAME, _COLOR)),
    (re.compile(rf"{_INDEX}(?:[.)]\s+|{_BETWEEN}){_NAME}"),),
    (_form(_NAME, _INDEX),),
)
"""Lines of a class with its index and color; those with more columns count before others."""


def _text_rows(text: str, *, is_table: bool) -> list[ClassRow]:
    content: object = None
    with suppress(ValueError, RecursionError):
        content = json.loads(text)
    if isinstance(content, list | dict):
        raise ValueError("it is JSON; end its name with .json")
    # not `splitlines`, which also splits at characters that names may contain
    lines = [(number, line.strip()) for number, line in enumerate(text.rstrip().split("\n"), 1)]
    lines = [(number, line) for number, line in lines if not line.startswith("#") or _HEX_LINE.fullmatch(line)]
    filled = [line for _, line in lines if line]
    if not filled:
        return []
    if longest := next((line for line in filled if len(line) > _LONGEST_LINE), None):
        raise ValueError(f"the line {quoted(longest)} has {len(longest)} characters; write a class per line")
    if open_quote := next((line for line in filled if line[0] == '"' and line.count('"') % 2), None):
        raise ValueError(f"the line {quoted(open_quote)} has a quote that isn't closed; write a class on one line")
    if (rows := _below_titles(filled, is_table)) is not None:
        return rows
    if all(map(_VOC_LINE.fullmatch, filled)):
        matches = [_VOC_LINE.fullmatch(line) for line in filled]
        return [_row(match.groupdict().items(), f"the line {quoted(match[0])}") for match in matches if match]
    for forms in _FORMS:
        readings = [rows for form in forms if (rows := _reading(form, filled)) is not None]
        counted = [rows for rows in readings if _is_counted(rows)]
        readings = counted if len(counted) == 1 else readings
        if len(readings) > 1:
            both = " or ".join(repr(_shown_row(rows[0])) for rows in readings[:2])
            raise ValueError(f"the line {quoted(filled[0])} may be {both}; write titles above: index,name,r,g,b")
        if readings:
            return readings[0]
    return _names(lines)


def _below_titles(lines: Sequence[str], is_table: bool) -> list[ClassRow] | None:
    """The rows below a line of titles; None without one."""
    delimiter = max("\t;,", key=lines[0].count)
    if delimiter not in lines[0]:
        delimiter = " "
    titles = next(csv.reader(lines[:1], delimiter=delimiter, skipinitialspace=True))
    kinds = [_column(title) for title in titles]
    has_more = {"index", "color"} & set(kinds) or {"r", "g", "b"} <= set(kinds)
    if "name" not in kinds or not (is_table or has_more) or (delimiter == " " and "" in kinds):
        if _column(lines[0]) == "name" and len(lines) > 1:
            raise ValueError(
                f"its first line {lines[0]!r} may be a title or the first class; remove it, or put the class in quotes"
            )
        return None
    place, rows = kinds.index("name"), []
    for line in lines[1:]:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        if delimiter == " " and len(cells) > len(titles):  # names have spaces
            after = len(titles) - place - 1
            cells = [*cells[:place], " ".join(cells[place : len(cells) - after]), *cells[len(cells) - after :]]
        if len(cells) > len(titles):
            raise ValueError(f"the line {quoted(line)} has more columns than titles; put its name in quotes")
        cells = [_unquoted(cell) if at == place else cell for at, cell in enumerate(cells)]
        rows.append(_row(zip(titles, cells, strict=False), f"the line {', '.join(cells)[:60]!r}"))
    return rows


_LONGEST_LINE = 2_000


def _has_numbers(line: str, *, is_leading: bool) -> bool:
    """Whether a line may have an index or a color at this end."""
    return line[0] in "0123456789#" if is_leading else line[-1] in "0123456789" or line[-7:-6] == "#"


def _reading(form: re.Pattern[str], lines: Sequence[str]) -> list[ClassRow] | None:
    """The classes of lines that all have this form; None if they don't, or these are no indices or colors."""
    if not all(_has_numbers(line, is_leading=form.groupindex["name"] > 1) for line in lines):
        return None  # most lines are names, for which the search for numbers takes long
    matches = [match for line in lines if (match := form.fullmatch(line))]
    if len(matches) < len(lines):
        return None
    rows = [
        _row([*match.groupdict().items(), ("name", _unquoted(match["name"]))], f"the line {quoted(match[0])}")
        for match in matches
    ]
    if "index" in form.groupindex:
        values = [row.value or 0 for row in rows]
        if "color" in form.groupindex and len(set(values)) < len(rows):
            return None
        if form.groupindex["index"] > form.groupindex["name"]:  # "boeing 747", or "room 1" and "room 2", are names
            if not _is_counted(rows) or len(rows) < 2 or len({folded(row.name) for row in rows}) < len(rows):
                return None
        elif "color" not in form.groupindex and not {0, 1} & set(values) and len(set(values)) == len(rows):
            if max(values) <= MAX_CLASSES and all(re.match(r"\d+\s+\w", line) for line in lines):
                fix = f"write '{values[0]},{rows[0].name}', or put the name in quotes"
                both = f"the class {quoted(rows[0].name)} with the index {values[0]}, or a name"
                raise ValueError(f"its lines begin with numbers: {quoted(lines[0])} may be {both}; {fix}")
    for match, row in zip(matches, rows, strict=True):
        _refuse_two_readings(match["name"], row.name)
    return rows


def _is_counted(rows: Sequence[ClassRow]) -> bool:
    """Whether the indices count from 0 or from 1."""
    values = sorted(-1 if row.value is None else row.value for row in rows)
    return values[0] in (0, 1) and values == list(range(values[0], values[0] + len(rows)))


def _shown_row(row: ClassRow) -> str:
    red_green_blue = "" if row.color is None else f" of the color {', '.join(map(str, row.color.to_bytes(3)))}"
    return f"{row.name}{red_green_blue} with the index {row.value}"


def _names(lines: Sequence[tuple[int, str]]) -> list[ClassRow]:
    """The classes of lines that are names alone; a class is known by its line."""
    filled = [line for _, line in lines if line]
    for form in (form for forms in _FORMS[:-1] for form in forms):
        if form.groupindex["name"] == 1:
            continue
        fits = [_has_numbers(line, is_leading=True) and bool(form.fullmatch(line)) for line in filled]
        if len(fits) > 2 and not fits[0] and all(fits[1:]):
            fix = "write its columns as titles (index,name,r,g,b), or remove it"
            raise ValueError(f"its first line {quoted(filled[0])} isn't like the others; {fix}")
        if fits[0] and not all(fits):
            fix = "put names that begin with numbers in quotes"
            raise ValueError(f"the line {quoted(filled[fits.index(False)])} isn't like the first one; {fix}")
    bullets = all(re.match(r"[-*•]\s+\S", line) for line in filled)
    first, rows = dict[str, int](), list[ClassRow]()
    for number, line in lines:
        if not line:
            raise ValueError(f"line {number} is empty, and a class is known by its line; write one class per line")
        name = _unquoted(line := line[1:].strip() if bullets else line)
        _refuse_two_readings(line, name)
        if (earlier := first.setdefault(folded(name), number)) != number:
            word = quoted(as_word(name))
            raise ValueError(f"the word {word} is given twice, in lines {earlier} and {number}; name it once")
        rows.append(ClassRow(name=name))
    return rows


def _unquoted(name: str) -> str:
    quoted = _QUOTED.fullmatch(name)
    if quoted is None:
        return "background" if re.fullmatch("_+background_+", name) else name
    return quoted[1].replace('""', '"') if quoted[1] is not None else quoted[2]


def _refuse_two_readings(written: str, name: str) -> None:
    if _QUOTED.fullmatch(written):
        return
    if re.search(r":\s*\d+\s*,", written):
        raise ValueError(f"the line {quoted(written)} isn't a name and its color, name:red,green,blue::")
    if re.search(r"[^\d\s],\S|\S,[^\d\s]", written):
        also = f"{len(written.split(','))} classes"
    elif re.search(r"\s#\s", written):
        also = f"{written.partition('#')[0].strip()!r} with a comment"
    else:
        return
    raise ValueError(f"{quoted(name)} may be one name or {also}; write a class per line, or put the name in quotes")


def _read_text(path: str | os.PathLike[str], what: str) -> str:
    name = os.fspath(path)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"the {what} file {name!r} isn't UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"the {what} file {name!r} can't be read: {reason}; check the path") from None


def read_json_pairs(path: str | os.PathLike[str], what: str) -> object:
    """Read a JSON file, whose objects are `Pairs`; `what` ("parts") is for errors, which are `UsageError`."""
    text, name = _read_text(path, what), os.fspath(path)
    try:
        return json.loads(text, object_pairs_hook=Pairs)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} in line {error.lineno}, column {error.colno}"
        raise UsageError(f"the {what} file {name!r} isn't valid JSON: {problem}; correct it") from None
    except RecursionError:
        raise UsageError(f"the {what} file {name!r} is nested too deeply; write names alone") from None
