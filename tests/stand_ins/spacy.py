"""Stands in for spaCy, whose language model isn't on the package index: noun chunks of simple sentences."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

_DETERMINERS = ("a", "an", "the")
_PRONOUNS = ("it", "she")
_OTHERS = ("and", "is", "on", "in", "of", "with", "beside", "near", "above", "below")


class Token(NamedTuple):
    text: str
    pos_: str


class Chunk(tuple[Token, ...]):
    @property
    def text(self) -> str:
        return " ".join(token.text for token in self)


class Document(NamedTuple):
    noun_chunks: list[Chunk]


class Language:
    meta: ClassVar[dict[str, Any]] = {"lang": "en", "name": "core_web_sm", "version": "3.8.0"}

    def pipe(self, captions: Iterable[str]) -> Iterator[Document]:
        return map(_parsed, captions)


def load(name: str, *, exclude: list[str]) -> Language:
    """The model that segvoc uses, if tagger and parser are in it."""
    if name != "en_core_web_sm":
        raise OSError(f"[E050] Can't find model {name!r}.")
    if {"tagger", "parser"} & set(exclude):
        raise ValueError("noun chunks need a tagger and a parser")
    return Language()


def _parsed(caption: str) -> Document:
    chunks: list[list[Token]] = [[]]
    for word in re.findall(r"\w+|[^\w\s]", caption):
        lower = word.lower()
        if lower in (*_DETERMINERS, *_OTHERS) or not word.isalnum():
            chunks.append([])
        if lower in _DETERMINERS:
            chunks[-1].append(Token(word, "DET"))
        elif lower not in _OTHERS and word.isalnum():
            chunks[-1].append(Token(word, "PRON" if lower in _PRONOUNS else "NOUN"))
    return Document([Chunk(chunk) for chunk in chunks if chunk])
