"""Vocabularies: words (free text, one class each), and parts of objects ("dog's head")."""

import copy
import os
import re
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError
from segvoc.vocabulary.files import names_file, read_classes, read_json_pairs
from segvoc.vocabulary.names import MAX_CLASSES, Pairs, as_word, folded, names_by_id, quoted

ANY = "*"
"""In a list of parts, stands for every object of the call."""

NO_WORDS = 'no words are given; give some: --words "cat, sofa, wall" or --words-file FILE'
"""The error of a command without words."""

_EXAMPLE = "dog: head, leg; cat: head"

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of images, which are given in the place of words by mistake."""


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
        if isinstance(words, str | os.PathLike) and names_file(words):
            fix = "read it: --words-file FILE, or segvoc.Vocabulary.read(FILE)"
            raise UsageError(f"the words {quoted(words)} name a file; {fix}")
        if isinstance(words, str | os.PathLike) and Path(words).suffix.lower() in _IMAGES:
            raise UsageError(f"the words {quoted(words)} name an image; give the image first, and then the words")
        object.__setattr__(self, "is_line", isinstance(words, str))
        if isinstance(words, str):
            if words.strip()[:1] + words.strip()[-1:] in ("[]", "{}"):
                raise UsageError(
                    f"the words {quoted(words)} are in brackets; separate words with commas: cat, sofa, wall"
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

    def __init__(self, parts: "str | Mapping[str, Iterable[str]] | Pairs") -> None:
        if isinstance(parts, str):
            parts = Pairs(_clauses(parts) if parts.strip() else ())
        if not isinstance(parts, Mapping | Pairs):
            raise UsageError(f"the parts must be a dictionary, not {parts!r}; give a list of parts for each object")
        objects: dict[str, None] = {}
        by_name: dict[str, Part] = {}
        for name, listed in parts.items() if isinstance(parts, Mapping) else parts:
            owner = _checked_name(name, "object")
            if owner in objects:
                raise UsageError(f"the object {quoted(owner)} is given twice; name it once, with all of its parts")
            objects[owner] = None
            for part in _checked_parts(owner, listed):
                if (first := by_name.get(part.name)) is not None:
                    places = [f"{quoted(same.part)} of {quoted(same.object or ANY)}" for same in (first, part)]
                    raise UsageError(f"{' and '.join(places)} are both called {quoted(part.name)}; rename one")
                if len(by_name) == MAX_CLASSES:
                    raise UsageError(f"{quoted(part.name)} is one part too many; a label map holds {MAX_CLASSES}")
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
        name, content = os.fspath(path), read_json_pairs(path, "parts")
        if not isinstance(content, Pairs):
            raise UsageError(
                f"the parts file {name!r} has {quoted(content)}, not an object of lists; "
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
            also = "" if first == name else f" (also as {quoted(first)}, which is the same word)"
            raise UsageError(f"the word {quoted(name)} is given twice{also}; name it once")
        if len(seen) == MAX_CLASSES:
            raise UsageError(f"{quoted(name)} is one word too many; a label map holds {MAX_CLASSES} classes")
        seen[key] = name
        yield name
    if not seen:
        raise UsageError("there are no words; give at least one, for example 'cat, sofa, wall'")


def _checked_parts(owner: str, listed: object) -> Iterator[Part]:
    refuse_sets(listed, f"parts of {quoted(owner)}")
    listed = listed.split(",") if isinstance(listed, str) else listed
    if isinstance(listed, Mapping | Pairs) or not isinstance(listed, Iterable):
        raise UsageError(f"the parts of {quoted(owner)} must be a list, not {quoted(listed)}; give a list of strings")
    seen: set[str] = set()
    for part in listed:
        name = _checked_name(part, "part", f" of {quoted(owner)}")
        if name in seen:
            raise UsageError(f"the part {quoted(name)} of {quoted(owner)} is given twice; name it once")
        seen.add(name)
        yield Part(None if owner == ANY else owner, name)


def _checked_name(value: object, kind: str, place: str = "") -> str:
    """Strip a name and convert it to NFC; `kind` ("word") and `place` (" of 'dog'") are for the error."""
    if not isinstance(value, str):
        several = "; all images of a call have the same words" if isinstance(value, list | tuple) else ""
        raise UsageError(f"the {kind} {quoted(value)}{place} isn't a string; write {kind}s as text{several}")
    name = as_word(value)
    if not name:
        raise UsageError(f"the {kind} {quoted(value)}{place} is empty; remove it, or write a name")
    if not all(synonym.strip() for synonym in name.split(", ")):
        fix = "write a name before and after each '=' or ', '"
        raise UsageError(f"a synonym of the {kind} {quoted(value)}{place} is empty; {fix}")
    if separator := re.search(r"[\t\r\n]", name):
        what = "a tab" if separator[0] == "\t" else "a line break"
        raise UsageError(f"the {kind} {quoted(name)}{place} has {what} in it; give {kind}s one by one")
    if "\0" in name:  # UTF-16 without a byte order mark
        raise UsageError(f"the {kind} {quoted(name)}{place} has a null character; save its file as UTF-8")
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise UsageError(f"the {kind} {quoted(name)}{place} isn't valid Unicode; write it in UTF-8")
    return name


def _clauses(text: str) -> Iterator[tuple[str, object]]:
    clauses = text.split(";")
    for number, clause in enumerate(clauses, 1):
        if not clause.strip():
            raise UsageError(f"list {number} of {quoted(text)} is empty ({clause!r}); remove a semicolon")
        owner, colon, parts = clause.partition(":")
        if not colon:
            raise UsageError(
                f"{quoted(clause.strip())} has no colon; write an object, a colon and its parts: {_EXAMPLE!r} "
                "(objects without parts belong to the words)"
            )
        if not owner.strip():
            raise UsageError(
                f"the object before the colon of {quoted(clause.strip())} is empty; write whose parts these are"
            )
        listed = parts.split(",")
        if stray := next((part.strip() for part in listed if ":" in part), None):
            raise UsageError(
                f"{quoted(stray)} among the parts of {quoted(owner.strip())} has a colon too; "
                "put a semicolon between objects, or give a name with a colon in a parts file"
            )
        yield owner, listed
