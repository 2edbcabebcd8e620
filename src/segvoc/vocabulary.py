"""Vocabularies: words (free text, one class each), and parts of objects ("dog's head")."""

import copy
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError

MAX_CLASSES = 65_535
"""Maximum number of classes of a label map: 16 bits, minus the value for unlabeled."""

ANY = "*"
"""In a list of parts, stands for every object of the call."""

NO_WORDS = 'no words are given; give some: --words "cat, sofa, wall" or --words-file FILE'
"""The error of a command without words."""

_EXAMPLE = "dog: head, leg; cat: head"

_TABLES = (".csv", ".tsv", ".xls", ".xlsx", ".ods", ".parquet")
"""Suffixes of tables, which are refused: the column of the words is unknown."""

IGNORED_NAMES = frozenset(
    ("__ignore__", "don't care", "ignore", "ignored", "unlabeled", "unlabelled", "unknown", "void")
)
"""Class names of label maps that mean unlabeled, in lower case."""

LEADING_INDEX = re.compile(r"(?P<index>\d{1,5})[\s,;:=]+(?P<name>(?!\d+[\s,;:]).*\D.*)")
"""A class after its index. A name can't begin with a number, since the line may lack a name."""

_TRAILING_INDEX = re.compile(r"(?P<name>.*\D.*?)[\s,;:=]+(?P<index>\d{1,5})")

COLOR_LINES = (
    re.compile(r"(?P<r>\d{1,3})[\s,;]+(?P<g>\d{1,3})[\s,;]+(?P<b>\d{1,3})[\s,;:]+(?P<name>.*\D.*)"),
    re.compile(r"(?P<name>[^:]*[^:\s][^:]*?)\s*:\s*(?P<r>\d{1,3}),\s*(?P<g>\d{1,3}),\s*(?P<b>\d{1,3})\s*(:.*)?"),
    re.compile(r"(?P<name>.*[^\d\s,;:].*?)[\s,;:]+(?P<r>\d{1,3})[\s,;]+(?P<g>\d{1,3})[\s,;]+(?P<b>\d{1,3})"),
)
"""Lines of a class and its color: before the name, as in VOC's labelmap.txt, and after it."""

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of images, which are given in the place of words by mistake."""

_SETTINGS = (".yaml", ".yml", ".toml", ".xml", ".ini", ".cfg")
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

    Commas separate the words of a string; a list has one entry per class, and a dictionary is names by id. An equals
    sign separates synonyms, as does `", "` inside an entry of a list; models read only the first one.

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
            words = words.split(",") if words.strip() else ()
        if isinstance(words, bytes) or not isinstance(words, Iterable):
            raise UsageError(f"the words must be a list, not {words!r}; give a list with one string per class")
        refuse_sets(words, "words")
        if isinstance(words, Mapping):
            words = [name for _, name in names_by_id(words.items())]
        object.__setattr__(self, "words", tuple(_checked(words)))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read words from a UTF-8 file: text with one class per line, or JSON (`classes.json`).

        Empty lines at the end are ignored. Lines may have an id before or after the name ("1 sofa", "sofa;1"). JSON is
        a list of names, or an object that maps ids to names ({"0": "cat", "1": "sofa"}) or names to ids. Words with ids
        are sorted by them.

        Raises:
            UsageError: the file can't be read, isn't UTF-8, or is a table or a file of settings (YAML); lines begin
                with numbers that aren't ids from 0 or 1 on; see also `Vocabulary`.
        """
        names = _read_names(path, "words")
        ids, counted = [number for number, _ in names], range(len(names) + 1)
        if Path(path).suffix.lower() != ".json" and ids not in (list(counted[:-1]), list(counted[1:])):
            raise UsageError(
                f"the lines of {os.fspath(path)!r} begin with numbers that aren't ids (0, 1, 2, ...); "
                "write names alone, or a JSON list of words that begin with numbers"
            )
        return cls(name for _, name in names)

    @classmethod
    def read_classes(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read the class names of label maps like `read`; ids, which are the values in the maps, have no gaps.

        Raises:
            UsageError: see `read`; or the ids aren't 0, 1, 2, ...
        """
        names = _read_names(path, "classes")
        for place, (number, name) in enumerate(names):
            if number != place:
                raise UsageError(
                    f"the classes file {os.fspath(path)!r} has no class {place}, and {_shortened(name)} is {number}; "
                    "label maps have the values 0, 1, 2, ...: add the missing classes, or list the names"
                )
        return cls(name for _, name in names)

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
    if not all(synonym.strip() for synonym in name.split(", ")):
        raise UsageError(f"the {kind} {_shortened(value)}{place} is empty; remove it, or write a name")
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


def _read_names(path: str | os.PathLike[str], what: str) -> list[tuple[int, Any]]:
    """Read the ids and names of a file of classes; the ids of lines and lists are 0, 1, 2, ..."""
    name, suffix = os.fspath(path), Path(path).suffix.lower()
    if suffix in (*_TABLES, *_SETTINGS):
        kind = "a table" if suffix in _TABLES else "a file of settings"
        raise UsageError(f"the {what} file {name!r} is {kind} ({suffix}); write one class per line, or a JSON list")
    if suffix == ".json":
        content = _read_json(path, what)
        if isinstance(content, _Pairs):
            try:
                return names_by_id(content)
            except UsageError as error:
                raise UsageError(f"the {what} file {name!r} has no names: {error}") from None
        if isinstance(content, list):
            return list(enumerate(content))
        fix = 'write a list, ["cat", "sofa"], or an id for each name'
        raise UsageError(f"the {what} file {name!r} has no names; {fix}")
    return _text_names(path, what)


def _text_names(path: str | os.PathLike[str], what: str) -> list[tuple[int, str]]:
    name = os.fspath(path)
    # not `splitlines`, which also splits at characters that names may contain
    text = _read_text(path, what).rstrip()
    content: object = None
    with suppress(ValueError, RecursionError):
        content = json.loads(text)
    if isinstance(content, list | dict):
        raise UsageError(f"the {what} file {name!r} is JSON; end its name with .json")
    lines = list(enumerate(text.split("\n"), 1))
    if what == "classes":  # as in a dataset's table
        lines = [(number, line) for number, line in lines if not line.startswith("#")]
    rows = [line.strip() for _, line in lines if line.strip() and not line.startswith("#")]
    if len(rows) > 1 and any(all(map(form.fullmatch, rows)) for form in COLOR_LINES):
        fix = "a folder of images, color masks and this file is a dataset (--dataset)"
        raise UsageError(
            f"the {what} file {name!r} has colors ({_shortened(rows[0])}); write one class per line; {fix}"
        )
    if (indexed := indexed_names(rows)) is not None and (len(rows) > 1 or what == "classes"):
        return sorted(indexed)
    first: dict[str, int] = {}
    for number, line in lines:
        if not line.strip() and len(lines) > 1:
            raise UsageError(f"line {number} of {name!r} is empty (''); write one class per line")
        if (earlier := first.setdefault(folded(line.strip()), number)) != number:
            where = f"in lines {earlier} and {number} of {name!r}"
            raise UsageError(f"the word {_shortened(as_word(line))} is given twice, {where}; name it once")
    return [(index, line) for index, (_, line) in enumerate(lines) if line]


def indexed_names(lines: Sequence[str]) -> list[tuple[int, str]] | None:
    """The ids and names of lines that all begin with an id, or all end with one from 0 or 1 on; None: of others."""
    matches = [LEADING_INDEX.fullmatch(line) for line in lines]
    if not all(matches):
        matches = [_TRAILING_INDEX.fullmatch(line) for line in lines]
        numbers = sorted(int(match["index"]) for match in matches if match)
        if len(lines) < 2 or not all(matches) or numbers != list(range(numbers[0], numbers[0] + len(lines))):
            return None
        names = {folded(match["name"]) for match in matches if match}
        if numbers[0] > 1 or len(names) < len(lines):  # "room 1", "room 2" are names
            return None
    return [(int(match["index"]), match["name"].strip()) for match in matches if match]


def _names_file(words: str | os.PathLike[str]) -> bool:
    """Whether words look like the name of a file, which isn't looked for: they may be those of a service's client."""
    return os.fspath(words)[:1] == "@" or Path(words).suffix.lower() in (".txt", ".json", *_TABLES, *_SETTINGS)


def _shortened(value: object) -> str:
    text = repr(dict(value) if isinstance(value, _Pairs) else value)
    return text if len(text) <= 60 else f"{text[:59]}…"
