"""The words of a call: one class for each, free text, chosen at run time."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from segvoc.errors import UsageError

MAX_CLASSES = 65_535
"""A label map has 16 bits, and one value means unlabelled."""


@dataclass(frozen=True)
class Vocabulary:
    """The classes of a call, in the order given.

    words: one name for each class, white space around it dropped. `", "` inside a name separates synonyms.
    synonyms: "first" uses the first synonym alone, as the released networks do; "average" the mean of all embeddings.

    Raises: UsageError: no word, an empty one, one that is no string, or the same one twice.
    """

    words: tuple[str, ...]
    synonyms: Literal["first", "average"] = "first"

    def __init__(self, words: Iterable[str], *, synonyms: Literal["first", "average"] = "first") -> None:
        if isinstance(words, str) or not isinstance(words, Iterable):
            raise UsageError(f"the words are no list but {words!r}; give a list with one string for each class")
        if synonyms not in ("first", "average"):
            raise UsageError(f"synonyms={synonyms!r} is unknown; it is 'first' or 'average'")
        object.__setattr__(self, "words", tuple(_checked(words)))
        object.__setattr__(self, "synonyms", synonyms)

    @classmethod
    def parse(cls, text: str) -> "Vocabulary":
        """The words of one line, separated by commas.

        Raises: UsageError: see `Vocabulary`.
        """
        return cls(text.split(",") if text.strip() else ())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """The words of a UTF-8 text file, one class a line; empty lines at the end don't count.

        Raises: UsageError: the file can't be read or is no UTF-8; see also `Vocabulary`.
        """
        name = os.fspath(path)
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
        except UnicodeDecodeError:
            raise UsageError(f"the words of {name!r} are no UTF-8 text; save the file as UTF-8") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"the words' file {name!r} can't be read: {reason}; check the path") from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                raise UsageError(f"line {number} of {name!r} is empty (''); write one class a line")
        return cls(lines)

    def __len__(self) -> int:
        """How many classes."""
        return len(self.words)

    def without(self, name: str) -> "Vocabulary":
        """The same words but `name`, which must be among them.

        Raises: UsageError: no other word is left.
        """
        return Vocabulary([word for word in self.words if word != name], synonyms=self.synonyms)

    def prompts(self, templates: Sequence[str]) -> list[list[list[str]]]:
        """For each class and template, the prompts whose embeddings are averaged (one, or one for each synonym)."""
        return [
            [[template.format(name) for name in self._names(word)] for template in templates] for word in self.words
        ]

    def _names(self, word: str) -> list[str]:
        names = [name.strip() for name in word.split(", ")]
        return names[:1] if self.synonyms == "first" else names


def _checked(words: Iterable[str]) -> Iterable[str]:
    seen: set[str] = set()
    for word in words:
        name = checked_name(word, "word")
        if name in seen:
            raise UsageError(f"the word {name!r} is given twice; name it once")
        if len(seen) == MAX_CLASSES:
            raise UsageError(f"{name!r} is one word too many; a label map holds {MAX_CLASSES} classes")
        seen.add(name)
        yield name
    if not seen:
        raise UsageError("there are no words; give at least one, for example 'cat, sofa, wall'")


def checked_name(given: object, kind: str, place: str = "") -> str:
    """A name without the white space around it.

    Args:
        given: what stands where a name should.
        kind: what it names, for the error: "word".
        place: where it stands, for the error: " of 'dog'".

    Raises: UsageError: it is no string, empty (one of its synonyms too), or no Unicode text.
    """
    if not isinstance(given, str):
        raise UsageError(f"the {kind} {given!r}{place} is no string; write {kind}s as text")
    name = given.strip()
    if not all(synonym.strip() for synonym in name.split(", ")):
        raise UsageError(f"the {kind} {given!r}{place} is empty; take it out, or write what it stands for")
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise UsageError(f"the {kind} {name!r}{place} is no Unicode text; write it in UTF-8")
    return name
