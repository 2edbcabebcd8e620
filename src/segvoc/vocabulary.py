"""Vocabularies: words (free text, one class each), parts of objects ("dog's head"), and the files they come from."""

import copy
import csv
import json
import os
import re
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError, naming_extra, one_line

MAX_CLASSES = 65_535
"""Maximum number of classes of a label map: 16 bits, minus the value for unlabeled."""

ANY = "*"
"""In a list of parts, stands for every object of the call."""

NO_WORDS = 'no words are given; give some: --words "cat, sofa, wall" or --words-file FILE'
"""The error of a command without words."""

_EXAMPLE = "dog: head, leg; cat: head"

_TABLES = (".xls", ".xlsx", ".ods", ".parquet")
"""Suffixes of tables that aren't text."""

IGNORED_NAMES = frozenset(
    ("__ignore__", "don't care", "ignore", "ignored", "unlabeled", "unlabelled", "unknown", "void")
)
"""Class names of label maps that mean unlabeled, in lower case."""

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of images, which are given in the place of words by mistake."""

_YAML, _TEXT_TABLES = (".yaml", ".yml"), (".csv", ".tsv")

_SETTINGS = (".toml", ".xml", ".ini", ".cfg")
"""Suffixes of settings, which are refused: their lines aren't words."""


def folded(name: str) -> str:
    """Normalize a name for comparison: case, the encoding of accents and how synonyms are written don't matter."""
    return _normalized(name).casefold()


def as_word(name: str) -> str:
    """A name as it stands in a vocabulary: stripped, in NFC, and "sofa = couch" is "sofa, couch"."""
    return _normalized(name.strip())


def _normalized(name: str) -> str:
    joined = ", ".join(synonym.strip() for synonym in name.split("=")) if "=" in name else name
    return unicodedata.normalize("NFC", joined)


@dataclass(frozen=True)
class Vocabulary:
    """The classes of a call, in the order given.

        Vocabulary("cat, sofa=couch") == Vocabulary(["cat", "sofa=couch"]) == Vocabulary({0: "cat", 1: "sofa=couch"})

    Commas and lines separate the words of a string; a list has one entry per class, and a dictionary is names by id. An
    equals sign separates synonyms, as does `", "` inside an entry of a list; models read only the first one.

    Raises:
        UsageError: there are no words; they have no order, as in a set; a string has brackets around it or names a
            file; or a word is empty, not a string, or given twice (ignoring case).
    """

    words: tuple[str, ...]
    """One name per class, stripped, in NFC, with `", "` between synonyms."""

    is_line: bool = field(default=False, compare=False, repr=False)
    """Whether the words were given as a line, in which commas separate them."""

    def __init__(self, words: str | Iterable[str] | Mapping[Any, Any]) -> None:
        if isinstance(words, str | os.PathLike) and _names_file(words):
            fix = "read it: --words-file FILE, or segvoc.Vocabulary.read(FILE)"
            raise UsageError(f"the words {_shortened(words)} name a file; {fix}")
        if isinstance(words, str | os.PathLike) and Path(words).suffix.lower() in _IMAGES:
            raise UsageError(f"the words {_shortened(words)} name an image; give the image first, and then the words")
        object.__setattr__(self, "is_line", isinstance(words, str))
        if isinstance(words, str):
            if words.strip()[:1] + words.strip()[-1:] in ("[]", "{}"):
                raise UsageError(
                    f"the words {_shortened(words)} are in brackets; separate words with commas: cat, sofa, wall"
                )
            lines = re.split(r"[\r\n]+", words.strip())
            words = [word for line in lines for word in line.split(",")] if words.strip() else ()
        if isinstance(words, bytes) or not isinstance(words, Iterable):
            raise UsageError(f"the words must be a list, not {words!r}; give a list with one string per class")
        refuse_sets(words, "words")
        if isinstance(words, Mapping):
            words = [name for _, name in names_by_id(words.items())]
        object.__setattr__(self, "words", tuple(_checked(words)))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read words from a file of classes; see `read_classes`. Words with ids are sorted by them.

        Raises:
            UsageError: see `read_classes` and `Vocabulary`.
        """
        return cls(row.name for row in read_classes(path))

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __getitem__(self, index: int) -> str:
        return self.words[index]

    def __len__(self) -> int:
        """Number of classes."""
        return len(self.words)

    def without(self, name: str) -> "Vocabulary":
        """Return the vocabulary without `name`, which must be in it.

        Raises:
            UsageError: no word is left.
        """
        return Vocabulary([word for word in self.words if word != name])

    def with_words(self, *names: str) -> "Vocabulary":
        """Return the vocabulary with more words at its end."""
        return Vocabulary((*self.words, *names)) if names else self

    def prompts(self, templates: Sequence[str]) -> list[tuple[str, ...]]:
        """The prompts of each class, one per template, with its first synonym, as in the released networks."""
        return [tuple(template.format(name) for template in templates) for name in self.first_names]

    @property
    def first_names(self) -> list[str]:
        """Each class's first synonym."""
        return [word.split(", ")[0].strip() for word in self.words]


@dataclass(frozen=True)
class Part:
    """A part of an object, or of any object."""

    object: str | None
    """Name of the object; None for any object of the call."""
    part: str
    """Name of the part."""

    @property
    def name(self) -> str:
        """The part's name in results: "dog's head", or "head" for a part of any object."""
        return self.part if self.object is None else f"{self.object}'s {self.part}"

    def word(self, owner: str) -> str:
        """The network's prompt word; combines synonyms of the owner and of the part: "sofa's leg, ..."."""
        names, parts = ([synonym.strip() for synonym in word.split(", ")] for word in (owner, self.part))
        return ", ".join(f"{name}'s {part}" for name, part in product(names, parts))


@dataclass(frozen=True)
class PartVocabulary:
    """Objects and their parts, in the order given.

        PartVocabulary("dog: head, leg; cat: head") == PartVocabulary({"dog": ["head", "leg"], "cat": ["head"]})

    In a line, semicolons separate objects, a colon separates an object from its parts, and commas separate parts. Each
    object needs a colon and at least one part; names that contain separators, and objects without parts, need a
    dictionary or a file. Names are stripped, compared as whole strings, and may have synonyms (`=`), like words.

    Raises:
        UsageError: there are no parts; a name is empty or not a string; an object, a part of an object or the full name
            of a part is given twice; or there are more parts than a label map can hold.
    """

    objects: tuple[str, ...]
    """Names of the objects, with or without parts; "*" isn't one of them."""
    parts: tuple[Part, ...]
    """All parts, object by object; a part's index is its label."""

    def __init__(self, parts: "str | Mapping[str, Iterable[str]] | _Pairs") -> None:
        if isinstance(parts, str):
            parts = _Pairs(_clauses(parts) if parts.strip() else ())
        if not isinstance(parts, Mapping | _Pairs):
            raise UsageError(f"the parts must be a dictionary, not {parts!r}; give a list of parts for each object")
        objects: dict[str, None] = {}
        by_name: dict[str, Part] = {}
        for name, listed in parts.items() if isinstance(parts, Mapping) else parts:
            owner = _checked_name(name, "object")
            if owner in objects:
                raise UsageError(f"the object {_shortened(owner)} is given twice; name it once, with all of its parts")
            objects[owner] = None
            for part in _checked_parts(owner, listed):
                if (first := by_name.get(part.name)) is not None:
                    places = [f"{_shortened(same.part)} of {_shortened(same.object or ANY)}" for same in (first, part)]
                    raise UsageError(f"{' and '.join(places)} are both called {_shortened(part.name)}; rename one")
                if len(by_name) == MAX_CLASSES:
                    raise UsageError(f"{_shortened(part.name)} is one part too many; a label map holds {MAX_CLASSES}")
                by_name[part.name] = part
        if not by_name:
            raise UsageError(f"there are no parts; give at least one, for example {_EXAMPLE!r}")
        object.__setattr__(self, "objects", tuple(name for name in objects if name != ANY))
        object.__setattr__(self, "parts", tuple(by_name.values()))

    def spelled_as(self, words: Iterable[str]) -> "PartVocabulary":
        """The same parts; objects that are these words but for case or the encoding of accents are spelled as they."""
        spelling = {folded(word): word for word in words}
        names = {name: spelling.get(folded(name), name) for name in self.objects}
        parts = [part if part.object is None else replace(part, object=names[part.object]) for part in self.parts]
        same = copy.copy(self)
        object.__setattr__(same, "objects", tuple(names.values()))
        object.__setattr__(same, "parts", tuple(parts))
        return same

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "PartVocabulary":
        """Read parts from a UTF-8 JSON file with an object of lists: {"dog": ["head", "leg"], "cat": []}.

        Raises:
            UsageError: the file can't be read, or has another structure; see also `PartVocabulary`.
        """
        name, content = os.fspath(path), _read_json(path, "parts")
        if not isinstance(content, _Pairs):
            raise UsageError(
                f"the parts file {name!r} has {_shortened(content)}, not an object of lists; "
                'write for example {"dog": ["head", "leg"]}'
            )
        try:
            return cls(content)
        except UsageError as error:
            raise UsageError(f"{name!r}: {error}") from None
        except RecursionError:
            raise UsageError(f"the parts file {name!r} is nested too deeply; write an object of lists") from None

    def __len__(self) -> int:
        """Number of parts."""
        return len(self.parts)


def refuse_sets(names: object, what: str) -> None:
    """Raise a `UsageError` for a set of names, whose order differs from run to run."""
    if isinstance(names, Set) and not isinstance(names, KeysView):
        raise UsageError(f"the {what} are a set, which has no order; give a list")


def names_by_id(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[int, Any]]:
    """Ids and names, sorted by id, of names by id ({0: "cat"} or {"0": "cat"}), or of ids by name ({"cat": 0}).

    Raises:
        UsageError: these are neither, or an id is given twice.
    """
    names: dict[int, Any] = {}
    for key, value in pairs:
        is_id = isinstance(value, int) and not isinstance(value, bool)
        number, name = (value, key) if is_id and isinstance(key, str) else (key, value)
        if isinstance(number, bool) or not re.fullmatch("[0-9]+", str(number)):
            raise UsageError(f"{_shortened(number)} is not an id; give names by id, {{0: 'cat', 1: 'sofa'}}, or a list")
        if int(number) in names:
            raise UsageError(f"the id {number} is given twice; give each class an id")
        names[int(number)] = name
    return sorted(names.items())


def parts_by_object(objects: Iterable[str], parts: Sequence[Part]) -> Iterator[list[tuple[int, Part]]]:
    """For each object, its parts and the parts of any object (*) that it lacks, with their indices."""
    indices: dict[str | None, dict[str, int]] = {}
    for index, part in enumerate(parts):
        indices.setdefault(part.object, {})[part.part] = index
    of_any = indices.get(None, {})
    for name in objects:
        yield [(index, parts[index]) for index in sorted({**of_any, **indices.get(name, {})}.values())]


def _checked(words: Iterable[str]) -> Iterable[str]:
    seen: dict[str, str] = {}
    for word in words:
        name = _checked_name(word, "word")
        if (first := seen.get(key := folded(name))) is not None:
            also = "" if first == name else f" (also as {_shortened(first)}, which is the same word)"
            raise UsageError(f"the word {_shortened(name)} is given twice{also}; name it once")
        if len(seen) == MAX_CLASSES:
            raise UsageError(f"{_shortened(name)} is one word too many; a label map holds {MAX_CLASSES} classes")
        seen[key] = name
        yield name
    if not seen:
        raise UsageError("there are no words; give at least one, for example 'cat, sofa, wall'")


def _checked_parts(owner: str, listed: object) -> Iterator[Part]:
    refuse_sets(listed, f"parts of {_shortened(owner)}")
    listed = listed.split(",") if isinstance(listed, str) else listed
    if isinstance(listed, Mapping | _Pairs) or not isinstance(listed, Iterable):
        raise UsageError(
            f"the parts of {_shortened(owner)} must be a list, not {_shortened(listed)}; give a list of strings"
        )
    seen: set[str] = set()
    for part in listed:
        name = _checked_name(part, "part", f" of {_shortened(owner)}")
        if name in seen:
            raise UsageError(f"the part {_shortened(name)} of {_shortened(owner)} is given twice; name it once")
        seen.add(name)
        yield Part(None if owner == ANY else owner, name)


def _checked_name(value: object, kind: str, place: str = "") -> str:
    """Strip a name and convert it to NFC; `kind` ("word") and `place` (" of 'dog'") are for the error."""
    if not isinstance(value, str):
        several = "; all images of a call have the same words" if isinstance(value, list | tuple) else ""
        raise UsageError(f"the {kind} {_shortened(value)}{place} isn't a string; write {kind}s as text{several}")
    name = as_word(value)
    if not name:
        raise UsageError(f"the {kind} {_shortened(value)}{place} is empty; remove it, or write a name")
    if not all(synonym.strip() for synonym in name.split(", ")):
        fix = "write a name before and after each '=' or ', '"
        raise UsageError(f"a synonym of the {kind} {_shortened(value)}{place} is empty; {fix}")
    if separator := re.search(r"[\t\r\n]", name):
        what = "a tab" if separator[0] == "\t" else "a line break"
        raise UsageError(f"the {kind} {_shortened(name)}{place} has {what} in it; give {kind}s one by one")
    if "\0" in name:  # UTF-16 without a byte order mark
        raise UsageError(f"the {kind} {_shortened(name)}{place} has a null character; save its file as UTF-8")
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise UsageError(f"the {kind} {_shortened(name)}{place} isn't valid Unicode; write it in UTF-8")
    return name


class _Pairs(list[tuple[str, object]]):
    """A JSON object, or parts of objects, as pairs: unlike dictionaries, they keep duplicate names."""


def _clauses(text: str) -> Iterator[tuple[str, object]]:
    clauses = text.split(";")
    for number, clause in enumerate(clauses, 1):
        if not clause.strip():
            raise UsageError(f"list {number} of {_shortened(text)} is empty ({clause!r}); remove a semicolon")
        owner, colon, parts = clause.partition(":")
        if not colon:
            raise UsageError(
                f"{_shortened(clause.strip())} has no colon; write an object, a colon and its parts: {_EXAMPLE!r} "
                "(objects without parts belong to the words)"
            )
        if not owner.strip():
            raise UsageError(
                f"the object before the colon of {_shortened(clause.strip())} is empty; write whose parts these are"
            )
        listed = parts.split(",")
        if stray := next((part.strip() for part in listed if ":" in part), None):
            raise UsageError(
                f"{_shortened(stray)} among the parts of {_shortened(owner.strip())} has a colon too; "
                "put a semicolon between objects, or give a name with a colon in a parts file"
            )
        yield owner, listed


def _names_file(words: str | os.PathLike[str]) -> bool:
    """Whether words look like the name of a file, which isn't looked for: they may be those of a service's client."""
    return os.fspath(words)[:1] == "@" or Path(words).suffix.lower() in (
        ".txt",
        ".json",
        *_TEXT_TABLES,
        *_YAML,
        *_TABLES,
        *_SETTINGS,
    )


def _shortened(value: object) -> str:
    value = dict(value) if isinstance(value, _Pairs) else value
    # the whole text of a container with references to itself may never end
    text = repr(value) if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


# ---- files of classes: text, CSV, JSON and YAML


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
    content = _read_json(path, "classes") if suffix == ".json" else _read_text(path, "classes")
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
                raise ValueError(f"the key {_shortened(twice)} is given twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is not YAML ({one_line(error)})") from None


_LARGEST_YAML = 10_000_000


def class_rows(content: object) -> list[ClassRow]:
    """The classes in the content of a JSON or YAML file (see `read_classes`); `ValueError` if it has none."""
    if isinstance(content, Mapping | _Pairs):
        by_key = dict(content.items() if isinstance(content, Mapping) else content)
        if isinstance(inner := next(filter(None, map(by_key.get, _INNER)), None), list | Mapping):
            return class_rows(inner)
        pairs = content.items() if isinstance(content, Mapping) else content
        content = [
            {**dict(name), "id": number} if isinstance(name, Mapping | _Pairs) else {"id": number, "name": name}
            for number, name in names_by_id(pairs)
        ]
    if not isinstance(content, list):
        raise ValueError('it has no names; write a list, ["cat", "sofa"], or an id for each name')
    for number, entry in enumerate(content):
        if not isinstance(entry, str | Mapping | _Pairs):
            raise ValueError(f"entry {number} ({_shortened(entry)}) is neither a name nor an object")
    entries = [{"name": entry} if isinstance(entry, str) else dict(entry) for entry in content]
    return _checked_rows([_row(entry.items(), f"entry {number}") for number, entry in enumerate(entries)])


_INNER = ("names", "id2label", "classes")
"""Keys of what YOLO's, the hub's and our own files have beside their classes."""


def _checked_rows(rows: Sequence[ClassRow]) -> list[ClassRow]:
    if all(row.is_void for row in rows):
        raise ValueError("it has no class: there are no words in it")
    for what, values in (("index", [row.value for row in rows]), ("color", [row.color for row in rows])):
        if len(missing := [row.name for row, value in zip(rows, values, strict=True) if value is None]) % len(rows):
            raise ValueError(f"{_shortened(missing[0])} has no {what}, others have one")
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
        raise ValueError(f"{place} has {_shortened(text)} where a whole number is expected")
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
        raise ValueError(f"the line {_shortened(longest)} has {len(longest)} characters; write a class per line")
    if open_quote := next((line for line in filled if line[0] == '"' and line.count('"') % 2), None):
        raise ValueError(f"the line {_shortened(open_quote)} has a quote that isn't closed; write a class on one line")
    if (rows := _below_titles(filled, is_table)) is not None:
        return rows
    if all(map(_VOC_LINE.fullmatch, filled)):
        matches = [_VOC_LINE.fullmatch(line) for line in filled]
        return [_row(match.groupdict().items(), f"the line {_shortened(match[0])}") for match in matches if match]
    for forms in _FORMS:
        readings = [rows for form in forms if (rows := _reading(form, filled)) is not None]
        counted = [rows for rows in readings if _is_counted(rows)]
        readings = counted if len(counted) == 1 else readings
        if len(readings) > 1:
            both = " or ".join(repr(_shown_row(rows[0])) for rows in readings[:2])
            raise ValueError(f"the line {_shortened(filled[0])} may be {both}; write titles above: index,name,r,g,b")
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
            raise ValueError(f"the line {_shortened(line)} has more columns than titles; put its name in quotes")
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
        _row([*match.groupdict().items(), ("name", _unquoted(match["name"]))], f"the line {_shortened(match[0])}")
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
                both = f"the class {_shortened(rows[0].name)} with the index {values[0]}, or a name"
                raise ValueError(f"its lines begin with numbers: {_shortened(lines[0])} may be {both}; {fix}")
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
            raise ValueError(f"its first line {_shortened(filled[0])} isn't like the others; {fix}")
        if fits[0] and not all(fits):
            fix = "put names that begin with numbers in quotes"
            raise ValueError(f"the line {_shortened(filled[fits.index(False)])} isn't like the first one; {fix}")
    bullets = all(re.match(r"[-*•]\s+\S", line) for line in filled)
    first, rows = dict[str, int](), list[ClassRow]()
    for number, line in lines:
        if not line:
            raise ValueError(f"line {number} is empty, and a class is known by its line; write one class per line")
        name = _unquoted(line := line[1:].strip() if bullets else line)
        _refuse_two_readings(line, name)
        if (earlier := first.setdefault(folded(name), number)) != number:
            word = _shortened(as_word(name))
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
        raise ValueError(f"the line {_shortened(written)} isn't a name and its color, name:red,green,blue::")
    if re.search(r"[^\d\s],\S|\S,[^\d\s]", written):
        also = f"{len(written.split(','))} classes"
    elif re.search(r"\s#\s", written):
        also = f"{written.partition('#')[0].strip()!r} with a comment"
    else:
        return
    raise ValueError(f"{_shortened(name)} may be one name or {also}; write a class per line, or put the name in quotes")


def _read_text(path: str | os.PathLike[str], what: str) -> str:
    name = os.fspath(path)
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"the {what} file {name!r} isn't UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"the {what} file {name!r} can't be read: {reason}; check the path") from None


def _read_json(path: str | os.PathLike[str], what: str) -> object:
    text, name = _read_text(path, what), os.fspath(path)
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} in line {error.lineno}, column {error.colno}"
        raise UsageError(f"the {what} file {name!r} isn't valid JSON: {problem}; correct it") from None
    except RecursionError:
        raise UsageError(f"the {what} file {name!r} is nested too deeply; write names alone") from None
