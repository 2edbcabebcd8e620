"""Noun phrases by rules: closed word classes, endings, and the agreement of nouns and verbs. Nothing is downloaded.

A phrase corresponds to a noun chunk of spaCy: determiners, modifiers, and the noun that they belong to, which ends it
("a man in a red hat" has two). A word that no rule covers counts as a noun. docs/how_to/captions.md measures how good
the rules are.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from segvoc.data.captions import english
from segvoc.data.captions.english import DETERMINERS
from segvoc.errors import UsageError

EXCLUDED = tuple(
    "background foreground front back side top bottom left right north south east west southwest pair number set view "
    "image photo picture illustration stock vector reflection shot scene day time way kind type part piece lot group "
    "style".split()
)
"""Words that don't name a visible thing.

The paper mentions reflection, southwest, background (v3), pair, front, directions and units (v2). Its list was not
published; the other words are our choice.
"""

Match = Literal["word", "substring"]
SameHead = Literal["keep", "drop"]


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """Which noun phrases an image keeps.

    Raises:
        UsageError: a rule is unknown, or `most` is below 1.
    """

    excluded: tuple[str, ...] = EXCLUDED
    """Words that exclude a phrase."""
    match: Match = "word"
    """How excluded words match.

    "word" drops phrases that contain an excluded word or its plural. "substring", the published rule, also drops
    phrases that contain it inside another word ("top" drops "laptop").
    """
    most: int = 8
    """Maximum phrases of an image. Phrases that more captions mention come first, then those that appear first."""
    same_head: SameHead = "keep"
    """What happens to phrases with the same last word ("cat", "small cat").

    "keep" keeps all of them, as in the paper; "drop" keeps only the first.
    """
    determiners: bool = False
    """Whether phrases keep their determiners: "a red hat" instead of "red hat"."""

    def __post_init__(self) -> None:
        if self.match not in ("word", "substring"):
            raise UsageError(f"match={self.match!r} is unknown; it is 'word' or 'substring'")
        if self.same_head not in ("keep", "drop"):
            raise UsageError(f"same_head={self.same_head!r} is unknown; it is 'keep' or 'drop'")
        if self.most < 1:
            raise UsageError(f"most={self.most} is not a number of phrases; give one from 1")

    def clean(self, captions: Iterable[Sequence[str]]) -> tuple[str, ...]:
        """Clean the phrases of one image and choose those to keep.

        Args:
            captions: the noun phrases of each of its captions.

        Returns:
            The phrases that are kept, in lower case, the most mentioned first.
        """
        mentions: Counter[str] = Counter()
        for phrases in captions:
            bare = {phrase: without_determiners(phrase) for phrase in map(_lower, phrases)}
            plain = dict.fromkeys(phrase if self.determiners else noun for phrase, noun in bare.items() if noun)
            mentions.update([phrase for phrase in plain if not self.excludes(phrase)])
        # sorted() is stable: among equals the first one stays first
        ranked = sorted(mentions, key=lambda phrase: -mentions[phrase])
        if self.same_head == "drop":
            heads: dict[str, str] = {}
            for phrase in ranked:
                heads.setdefault(phrase.split()[-1], phrase)
            ranked = list(heads.values())
        return tuple(ranked[: self.most])

    def excludes(self, phrase: str) -> bool:
        """Whether a phrase (in lower case) contains an excluded word."""
        if self.match == "substring":
            return any(word in phrase for word in self.excluded)
        return self._words.search(phrase) is not None

    @cached_property
    def _words(self) -> re.Pattern[str]:
        words = "|".join(map(re.escape, sorted(self.excluded, key=len, reverse=True))) or "(?!)"
        return re.compile(rf"(?<!\w)({words})(?:s|es)?(?!\w)")


def without_determiners(phrase: str) -> str:
    """A phrase in lower case and with plain apostrophes, without leading articles, possessives and numbers."""
    words = _lower(phrase).split()
    while words and (words[0] in DETERMINERS or not words[0].strip("0123456789.,")):
        words.pop(0)
    return " ".join(words)


def _lower(phrase: str) -> str:
    # in a vocabulary, ", " separates synonyms
    return " ".join(phrase.lower().replace("’", "'").replace(", ", " ").split())


LONGEST = 8
"""Maximum words of a phrase. A longer run of words is not a phrase but text that the rules don't understand."""

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*(?![^\W_])|[^\W_]+(?:[-'’][^\W_]+)*|['’]s\b|[^\w\s]|\w+")
_APOSTROPHE = "\N{MODIFIER LETTER APOSTROPHE}"
"""Stands for an apostrophe inside a word, since regular expressions count it as a letter."""

_POSSESSIVE = re.compile(r"(?<=s)['’](?=\s+[^\W_])")
_QUOTATION = re.compile(r"(?<!\w)['\u2018]\w")
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+|[@#]\w+")
_PLACEHOLDER = re.compile(r"<(\w+)>")

DETERMINER, MODIFIER, NOUN, VERB, JOIN, BREAK = range(6)


class RulePhrases:
    """Extracts the noun phrases of captions, as written; see the module docstring."""

    @property
    def identity(self) -> str:
        """A digest of the rules and their word lists."""
        sources = (Path(file).read_bytes() for file in (__file__, english.__file__, english.WORD_LISTS))
        return f"rules {hashlib.sha256(b''.join(sources)).hexdigest()[:16]}"

    def __call__(self, captions: Iterable[str]) -> Iterator[list[str]]:
        """See `PhraseExtractor`."""
        return (noun_chunks(caption) for caption in captions)


def noun_chunks(caption: str) -> list[str]:
    """The noun phrases of one caption, in order."""
    # CC12M replaces names by <PERSON>
    text = _PLACEHOLDER.sub(r"\1", _ADDRESS.sub(";", caption))
    if not _QUOTATION.search(text):
        text = _POSSESSIVE.sub(_APOSTROPHE, text)  # "a farmers' market"; in a quotation it would be the closing quote
    words = [word.replace(_APOSTROPHE, "'") for word in _TOKEN.findall(text)]
    return _Reading(words, [word.lower().replace("’", "'") for word in words]).chunks()


@dataclass
class _Reading:
    """A caption that is read from left to right."""

    words: list[str]
    """The words as written."""
    lower: list[str]
    """The words in lower case."""
    chunk: list[tuple[int, int]] = field(default_factory=list)
    """The current phrase: position and class of each of its words."""
    found: list[list[int]] = field(default_factory=list)
    """The finished phrases: positions of their words."""
    before: str = ""
    """The word before the current phrase, in lower case."""

    def chunks(self) -> list[str]:
        """Read the caption; returns its noun phrases as written."""
        position = 0
        while position < len(self.words):
            if self._compound_modifier(position):
                self.chunk += [(position, MODIFIER), (position + 1, MODIFIER)]
                position += 2
                continue
            word_class = self._class_at(position)
            if word_class in (DETERMINER, MODIFIER, NOUN):
                if word_class == DETERMINER and any(other != DETERMINER for _, other in self.chunk):
                    self._close(position)
                self.chunk.append((position, word_class))
            elif word_class != JOIN or not self._joins(position):
                self._close(position)
                self.before = self._word(position)
            position += 1
        self._close(position)
        texts = [self._text(chunk) for chunk in self.found if not self._proper(chunk)]
        return [text for text in texts if text]

    def _word(self, position: int) -> str:
        return self.lower[position] if position < len(self.lower) else ""

    def _class_at(self, position: int) -> int:
        word = self._word(position)
        if word == "," or word in english.JOINING:
            return JOIN
        if word in english.POINTERS:
            return self._class_of_pointer(position)
        if word in english.DETERMINERS or (word[0].isdigit() and not word.strip("0123456789.,")):
            return DETERMINER
        if word == "can" and self.chunk and not self._has_noun:
            return NOUN
        if not word[0].isalnum() or word in _PHRASE_BREAKERS or self._is_adverb(position):
            return BREAK
        if word in english.INTENSIFIERS:
            return MODIFIER if self._content(position + 1) else BREAK
        if english.GERUND_PAIRS.fullmatch(f"{word} {self._word(position + 1)}"):
            return MODIFIER
        rules = (self._class_of_participle, self._class_of_verb, self._class_of_adjective)
        return next((word_class for rule in rules if (word_class := rule(word, position)) is not None), NOUN)

    def _class_of_adjective(self, word: str, position: int) -> int | None:
        adjective = word in english.ADJECTIVES or (
            word.endswith(english.ADJECTIVE_ENDINGS) and word not in english.NOT_ADJECTIVES
        )
        if not adjective:
            return None
        # "a dog asleep on the sofa"
        return BREAK if self._has_noun and not self._content(position + 1) else MODIFIER

    def _class_of_pointer(self, position: int) -> int:
        """A word like "that" is a determiner, a pronoun, or the start of a relative clause."""
        following = self._word(position + 1)
        alone = following in _PHRASE_BREAKERS or following in english.THIRD_PERSONS or not following.isalpha()
        return BREAK if alone or (self._has_noun and self._word(position) == "that") else DETERMINER

    def _class_of_participle(self, word: str, position: int) -> int | None:
        followed = self._content(position + 1) and not _ing(self._word(position + 1))
        if _ing(word):
            if self._has_noun or not self.chunk:
                return VERB
            last = self._word(self.chunk[-1][0])
            alone = last in _PRONOMINAL or last[0].isdigit()
            return MODIFIER if followed else VERB if alone else NOUN
        if word.endswith("ing") and self._has_noun and self._word(position + 1) in english.ARTICLES:
            return VERB  # "a man painting a wall"
        if word in english.PARTICIPLES or (len(word) > 3 and word.endswith("ed") and word not in english.NOUNS_IN_ED):
            if followed:
                return MODIFIER
            joined = self._word(position + 1) in ("and", "or", ",") and self._content(position + 2)
            begun = self.chunk or self.before in english.PREPOSITIONS
            return MODIFIER if joined and begun and not self._has_noun else VERB
        return VERB if word in english.PASTS and (self._has_noun or not self.chunk) else None

    def _class_of_verb(self, word: str, position: int) -> int | None:
        verb = english.THIRD_PERSONS.get(word)
        if verb is None and word not in english.VERBS:
            return None
        following = self._word(position + 1)
        goes_on = following in _AFTER_VERBS or following.endswith("ly")
        if self.chunk and not self._has_noun:
            return None
        if verb is None:
            if self._has_noun:
                several = _plural(self._last_noun) or (self.before in english.JOINING and goes_on)
                return VERB if several and following != "of" else None
            return VERB if self.before in _BEFORE_BASE_FORMS else None
        if self._has_noun:
            if following == "of":
                return None
            subject = goes_on or _plural(self._last_noun) or self._last_noun in english.AGENTS
            return VERB if subject or verb not in english.ALSO_NOUNS else None
        if self.before in english.JOINING or self.before == ",":
            certain = verb not in english.ALSO_NOUNS
            return VERB if certain or following in english.DETERMINERS or following in _DIRECTIONS else None
        return VERB if self.before in _BEFORE_THIRD_PERSONS or self.before.endswith("ly") else None

    def _is_adverb(self, position: int) -> bool:
        word = self._word(position)
        if word in english.ADVERBS:
            return True
        if not word.endswith("ly") or len(word) < 5 or word in english.NOT_ADVERBS:
            return False
        # "a brightly colored skirt"
        return self._has_noun or not self._content(position + 1)

    def _content(self, position: int) -> bool:
        """Whether a word may continue a noun phrase."""
        word = self._word(position)
        return bool(word) and word[0].isalnum() and word not in _PHRASE_BREAKERS and word not in english.DETERMINERS

    def _compound_modifier(self, position: int) -> bool:
        pair = (self._word(position), self._word(position + 1))
        return pair in english.COMPOUND_MODIFIERS and self._content(position + 2) and not self._has_noun

    def _joins(self, position: int) -> bool:
        """Whether "and" or a comma joins two modifiers of one noun: "a red and white bus"."""
        if not self.chunk or not self._content(position + 1) or self.chunk[-1][1] == DETERMINER:
            return False
        modifiers = all(word_class != NOUN or self._word(own) in english.COLORS for own, word_class in self.chunk)
        following = self._word(position + 1)
        modifier = (
            following in english.ADJECTIVES
            or following in english.COLORS
            or following.endswith(("ed", *english.ADJECTIVE_ENDINGS))
        )
        if not (modifiers and modifier and self._content(position + 2)):
            return False
        if self._word(position) != ",":
            self.chunk.append((position, MODIFIER))
        return True

    @property
    def _has_noun(self) -> bool:
        return any(word_class == NOUN for _, word_class in self.chunk)

    @property
    def _last_noun(self) -> str:
        return next(self._word(position) for position, word_class in reversed(self.chunk) if word_class == NOUN)

    def _close(self, position: int) -> None:
        """End the current phrase before the word at a position."""
        chunk = list(self.chunk)
        while chunk and chunk[-1][1] != NOUN:
            chunk.pop()
        if chunk and not self._is_quantity_or_place(self._word(chunk[-1][0]), self._word(position)):
            self.found.append([own for own, _ in chunk])
        if self.chunk:
            self.before = self._word(self.chunk[-1][0])
        self.chunk = []

    def _is_quantity_or_place(self, head: str, following: str) -> bool:
        if following != "of":
            return False
        return head in english.QUANTITIES or (head in english.PLACES and self.before in english.PREPOSITIONS)

    def _proper(self, chunk: list[int]) -> bool:
        """Whether a phrase is only a proper name: capitalized in a caption whose other words mostly are not."""
        letters = [word for word in self.words if word[0].isalpha()]
        if sum(word[0].isupper() for word in letters) * 2 > len(letters):
            return False
        nouns = [position for position in chunk if self._word(position) not in english.DETERMINERS]
        return all(position > 0 and self.words[position].istitle() for position in nouns)

    def _text(self, chunk: list[int]) -> str:
        words = [self.words[position] for position in chunk]
        if len(words) > LONGEST:
            return ""
        return " ".join(words).replace(" 's", "'s").replace(" ’s", "’s")


_PHRASE_BREAKERS = (
    english.PRONOUNS | english.PREPOSITIONS | english.CONJUNCTIONS | english.AUXILIARIES | english.ADVERBS
)

_PRONOMINAL = english.NUMBERS | frozenset(("other", "others", "both", "all", "some", "many", "several", "few", "each"))

_AFTER_VERBS = english.DETERMINERS | english.PREPOSITIONS | english.PRONOUNS | english.ADVERBS | {""}

_DIRECTIONS = english.PREPOSITIONS - {"of", "on", "in", "with", "for", "next"}

_BEFORE_BASE_FORMS = english.PRONOUNS | english.AUXILIARIES | english.ADVERBS | {"to"}

_BEFORE_THIRD_PERSONS = english.PRONOUNS | english.ADVERBS | {"that", "this", '"', "”"}


def _ing(word: str) -> bool:
    return len(word) > 4 and word.endswith("ing") and word not in english.NOUNS_IN_ING


def _plural(noun: str) -> bool:
    return noun in english.IRREGULAR_PLURALS or (noun.endswith("s") and not noun.endswith(("ss", "us", "is", "'s")))
