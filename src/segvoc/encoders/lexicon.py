"""What words mean: what a word is a kind of, what it is part of, and whether it names a surface.

A text encoder relates "skier" to skis rather than to people, and knows nothing of wholes and parts. A `Lexicon` is one
table of such facts and one question, `Lexicon.of`; labels, objects, dataset formats and scores all ask it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache

from segvoc.storage.files import SHIPPED, read_json
from segvoc.vocabulary.names import folded

_AFTER_NOUN = re.compile(r"\s(?:with|in|on|at|for|from|by|behind|near|under|made of)\s")
"""What begins the rest of a phrase, after the noun that says what it is: "man in a red coat"."""

_OF = re.compile(r"\sof\s(?:an?\s|the\s)?")

_POSSESSIVE = re.compile(r"['\u2019]s?\s")
"""In "dog's head" the owner comes first."""

_PLURALS = (("", ""), ("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe"))
"""Endings of plurals, and those of their singulars."""

_QUALIFIERS = ("merged", "other", "stuff")
"""What COCO's class names end in: "wall-other-merged"."""

COLORS = ("black", "gray", "white", "red", "orange", "brown", "yellow", "green", "blue", "purple", "pink")
"""The basic color terms of English (Berlin and Kay, 1969)."""

_OTHER_COLORS = {"grey": "gray", "silver": "gray"}

CACHED_ANSWERS = 20_000
"""Size of the cache of answers [words]."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A thing, and words for what belongs to it, in lower case and singular."""

    name: str
    parts: tuple[str, ...]
    worn: tuple[str, ...] = ()
    """Words for what it wears."""
    other_names: tuple[str, ...] = ()
    """Words that leave no part of it without a word, as "skin" does beside clothes."""


@dataclass(frozen=True, kw_only=True)
class WordFacts:
    """What a lexicon knows of a word."""

    is_trained: bool = False
    """Whether the network was trained on this word."""
    kind: str | None = None
    """The trained word that it is a kind of; None if there is none, or it is this word itself."""
    whole: str | None = None
    """The name of the `Whole` that it is a part of, or worn by."""
    is_surface: bool = False
    """Whether it names a surface or surroundings (sky, wall, grass), which fill an image and can't be counted."""
    color: str | None = None
    """The one of `COLORS` that a phrase says of its `kind`; None for people, whose pixels have other colors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lexicon:
    """A table of words, all in lower case and singular."""

    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """The words that a network was trained on, and for each other words for things of this kind."""
    wholes: tuple[Whole, ...] = ()
    surfaces: tuple[str, ...] = ()
    """Words for surfaces and surroundings; what is of their kind is one, too."""
    compounds: tuple[str, ...] = ()
    """Phrases that aren't what their last noun says, such as "cable car"."""
    portions: tuple[str, ...] = ()
    """Nouns that leave it to the next noun what something is, as in "slice of pizza"."""
    has_trained_words: bool = True
    """Whether a network was trained on `kinds`; False: no word has a kind."""

    @lru_cache(maxsize=CACHED_ANSWERS)  # noqa: B019 lexicons last as long as the process
    def of(self, word: str) -> WordFacts:
        """What a word, or a phrase, means.

        The head noun decides, unless the whole phrase or its last words are in the table: "red sports car" and "car in
        the rain" are cars, "cable car" is none, and "leg of a table" is a leg, but not a person's.
        """
        name = folded(word)
        if name in self._compounds:
            return WordFacts()
        head, owner = self._head(name)
        known = self._longest(head, self._kinds)
        kind = known[1] if known else None
        surface = self._longest(_plain(head), self._surfaces)
        # the longer match says what it is: "street sign" is no street
        is_surface = bool(surface) and (not known or len(surface[0]) >= len(known[0]))
        return WordFacts(
            is_trained=self.has_trained_words and name in self.kinds,
            kind=kind if self.has_trained_words and kind != name else None,
            whole=self._whole(head, owner, kind),
            is_surface=is_surface or kind in self.surfaces,
            color=self._color(head, *known) if known and self.has_trained_words else None,
        )

    def kind_of(self, word: str) -> str:
        """The trained word that a word is a kind of, or the folded word itself."""
        return self.of(word).kind or folded(word)

    @cached_property
    def _kinds(self) -> dict[str, str]:
        names = {name: kind for kind, names in self.kinds.items() for name in names}
        return {kind: kind for kind in self.kinds} | names

    @cached_property
    def _surfaces(self) -> dict[str, str]:
        return dict.fromkeys(self.surfaces, "")

    @cached_property
    def _parts(self) -> dict[str, str]:
        return {name: whole.name for whole in self.wholes for name in whole.parts}

    @cached_property
    def _worn(self) -> dict[str, str]:
        return {name: whole.name for whole in self.wholes for name in whole.worn}

    @cached_property
    def _compounds(self) -> frozenset[str]:
        return frozenset(self.compounds)

    def _color(self, head: str, noun: str, kind: str) -> str | None:
        """The color that a phrase says of its noun; none if there are two, as in "black and white cat"."""
        colors = {*map(_color_named, head.split()[: -len(noun.split())])} - {None}
        return colors.pop() if len(colors) == 1 and kind != "person" else None

    def _head(self, name: str) -> tuple[str, str]:
        """The phrase that ends with the head noun, and what owns it, or ""."""
        nouns = _OF.split(_AFTER_NOUN.split(name)[0])
        while len(nouns) > 1 and self._longest(nouns[0], dict.fromkeys(self.portions, "")):
            nouns = nouns[1:]
        *owners, head = _POSSESSIVE.split(nouns[0])
        return head, owners[-1] if owners else nouns[1] if len(nouns) > 1 else ""

    def _whole(self, head: str, owner: str, kind: str | None) -> str | None:
        """What a thing belongs to; parts of another thing that the lexicon knows belong to that."""
        names = {whole.name for whole in self.wholes}
        if kind in names:
            return None
        worn, part = self._longest(head, self._worn), self._longest(head, self._parts)
        found = worn if worn and (not part or len(worn[0]) > len(part[0])) else part
        if found is None:
            return None
        before = owner or ("" if found is worn else head.removesuffix(found[0]).strip())
        others = self._longest(before, self._kinds) if before else None
        return None if others and others[1] != found[1] else found[1]

    def _longest(self, phrase: str, table: Mapping[str, str]) -> tuple[str, str] | None:
        """The longest end of a phrase that is in a table, in singular or plural, with its entry; None for compounds."""
        parts = phrase.split()
        for start in range(len(parts)):
            end = " ".join(parts[start:])
            for name in _singulars(end):
                if name in table:
                    return end, table[name]
            if any(name in self._compounds for name in _singulars(end)):
                return None
        return None


def without_color(phrase: str) -> str:
    """A phrase without its words for colors."""
    return " ".join(word for word in phrase.split() if _color_named(folded(word)) is None)


def _color_named(word: str) -> str | None:
    color = _OTHER_COLORS.get(word, word)
    return color if color in COLORS else None


def _plain(name: str) -> str:
    """A name without hyphens and without what ends names of COCO's classes."""
    parts = name.replace("-", " ").replace("_", " ").split()
    while len(parts) > 1 and parts[-1] in _QUALIFIERS:
        parts.pop()
    return " ".join(parts)


def _singulars(name: str) -> Iterator[str]:
    return (name.removesuffix(plural) + ending for plural, ending in _PLURALS if name.endswith(plural))


LEXICON_FILE = SHIPPED / "lexicon.json"


@cache
def trained_lexicon() -> Lexicon:
    """The lexicon with the words that the shipped network was trained on."""
    content = read_json(LEXICON_FILE)
    return Lexicon(
        kinds={kind: tuple(names) for kind, names in content["kinds"].items()},
        wholes=tuple(
            Whole(name=whole["name"], **{key: tuple(whole[key]) for key in ("parts", "worn", "other_names")})
            for whole in content["wholes"]
        ),
        surfaces=tuple(content["surfaces"]),
        compounds=tuple(content["compounds"]),
        portions=tuple(content["portions"]),
    )


@cache
def plain_lexicon() -> Lexicon:
    """The lexicon of networks that relate words to images by their embeddings alone."""
    return replace(trained_lexicon(), has_trained_words=False)


def surfaces_among(words: Sequence[str], background: str | None) -> frozenset[int]:
    """The indices of the words that name a surface by their first synonym, and of the background."""
    lexicon, first_names = plain_lexicon(), [word.split(",")[0].strip() for word in words]
    return frozenset(
        at for at, name in enumerate(first_names) if words[at] == background or lexicon.of(name).is_surface
    )
