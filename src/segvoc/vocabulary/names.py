"""Names of classes: how they are compared, shown in errors, and numbered."""

import re
import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any

from segvoc.errors import UsageError

MAX_CLASSES = 65_535
"""Maximum number of classes of a label map: 16 bits, minus the value for unlabeled."""


def folded(name: str) -> str:
    """Normalize a name for comparison: case, the encoding of accents and how synonyms are written don't matter."""
    return _normalized(name).casefold()


def as_word(name: str) -> str:
    """A name as it stands in a vocabulary: stripped, in NFC, and "sofa = couch" is "sofa, couch"."""
    return _normalized(name.strip())


def _normalized(name: str) -> str:
    joined = ", ".join(synonym.strip() for synonym in name.split("=")) if "=" in name else name
    return unicodedata.normalize("NFC", joined)


class Pairs(list[tuple[str, object]]):
    """A JSON object, or parts of objects, as pairs: unlike dictionaries, they keep duplicate names."""


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
            raise UsageError(f"{quoted(number)} is not an id; give names by id, {{0: 'cat', 1: 'sofa'}}, or a list")
        if int(number) in names:
            raise UsageError(f"the id {number} is given twice; give each class an id")
        names[int(number)] = name
    return sorted(names.items())


def quoted(value: object) -> str:
    """A value as errors show it, in at most 60 characters."""
    value = dict(value) if isinstance(value, Pairs) else value
    # the whole text of a container with references to itself may never end
    text = repr(value) if isinstance(value, str) else reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
