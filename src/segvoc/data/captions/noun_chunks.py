"""Noun phrases by rules: closed word classes, endings, and the agreement of nouns and verbs. Nothing is downloaded.

A phrase is what spaCy calls a noun chunk: determiners, modifiers and the noun they belong to, where it ends ("a man in
a red hat" has two). A word that no rule knows counts as a noun. docs/how_to/captions.md has the quality of the rules.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from segvoc.data.captions import english

LONGEST = 8
"""Words of a phrase; what is longer is no phrase but a row of words that the rules don't understand."""

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*(?![^\W_])|[^\W_]+(?:[-'’][^\W_]+)*|['’]s\b|[^\w\s]|\w+")
_APOSTROPHE = "\N{MODIFIER LETTER APOSTROPHE}"
"""One that is a letter."""

_POSSESSIVE = re.compile(r"(?<=s)['’](?=\s+[^\W_])")
_QUOTATION = re.compile(r"(?<!\w)['\u2018]\w")
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+|[@#]\w+")
_PLACEHOLDER = re.compile(r"<(\w+)>")

DETERMINER, MODIFIER, NOUN, VERB, JOIN, BREAK = range(6)


class RulePhrases:
    """The noun phrases of captions, as they are written; see the head of this file."""

    @property
    def identity(self) -> str:
        """A digest of the rules and of the words that they know."""
        sources = (Path(file).read_bytes() for file in (__file__, english.__file__))
        return f"rules {hashlib.sha256(b''.join(sources)).hexdigest()[:16]}"

    def __call__(self, captions: Iterable[str]) -> Iterator[list[str]]:
        """See `PhraseExtractor`."""
        return (noun_chunks(caption) for caption in captions)


def noun_chunks(caption: str) -> list[str]:
    """The noun phrases of one caption, in their order."""
    # CC12M has <PERSON> in the place of names
    text = _PLACEHOLDER.sub(r"\1", _ADDRESS.sub(";", caption))
    if not _QUOTATION.search(text):
        text = _POSSESSIVE.sub(_APOSTROPHE, text)  # "a farmers' market"; elsewhere such a sign ends what it began
    words = [word.replace(_APOSTROPHE, "'") for word in _TOKEN.findall(text)]
    return _Reading(words, [word.lower().replace("’", "'") for word in words]).chunks()


@dataclass
class _Reading:
    """A caption, read from left to right.

    words: as they are written. lower: in lower case. chunk: places of the words of the phrase that is being read, and
    what each is. before: what the word before that phrase was.
    """

    words: list[str]
    lower: list[str]
    chunk: list[tuple[int, int]] = field(default_factory=list)
    found: list[list[int]] = field(default_factory=list)
    before: str = ""

    def chunks(self) -> list[str]:
        place = 0
        while place < len(self.words):
            if self._compound_modifier(place):
                self.chunk += [(place, MODIFIER), (place + 1, MODIFIER)]
                place += 2
                continue
            kind = self._kind(place)
            if kind in (DETERMINER, MODIFIER, NOUN):
                if kind == DETERMINER and any(other != DETERMINER for _, other in self.chunk):
                    self._close(place)
                self.chunk.append((place, kind))
            elif kind != JOIN or not self._joins(place):
                self._close(place)
                self.before = self._word(place)
            place += 1
        self._close(place)
        told = [self._text(chunk) for chunk in self.found if not self._proper(chunk)]
        return [text for text in told if text]

    def _word(self, place: int) -> str:
        return self.lower[place] if place < len(self.lower) else ""

    def _kind(self, place: int) -> int:
        word = self._word(place)
        if word == "," or word in english.JOINING:
            return JOIN
        if word in english.POINTERS:
            return self._kind_of_pointer(place)
        if word in english.DETERMINERS or (word[0].isdigit() and not word.strip("0123456789.,")):
            return DETERMINER
        if word == "can" and self.chunk and not self._has_noun:
            return NOUN
        if not word[0].isalnum() or word in _BREAKING or self._is_adverb(place):
            return BREAK
        if word in english.INTENSIFIERS:
            return MODIFIER if self._content(place + 1) else BREAK
        if english.GERUND_PAIRS.fullmatch(f"{word} {self._word(place + 1)}"):
            return MODIFIER
        rules = (self._kind_of_participle, self._kind_of_verb, self._kind_of_adjective)
        return next((kind for rule in rules if (kind := rule(word, place)) is not None), NOUN)

    def _kind_of_adjective(self, word: str, place: int) -> int | None:
        adjective = word in english.ADJECTIVES or (
            word.endswith(english.ADJECTIVE_ENDINGS) and word not in english.NOT_ADJECTIVES
        )
        if not adjective:
            return None
        # "a dog asleep on the sofa"
        return BREAK if self._has_noun and not self._content(place + 1) else MODIFIER

    def _kind_of_pointer(self, place: int) -> int:
        """A word like "that" is a determiner, or stands alone, or says more of the noun before it."""
        following = self._word(place + 1)
        alone = following in _BREAKING or following in english.THIRD_PERSONS or not following.isalpha()
        return BREAK if alone or (self._has_noun and self._word(place) == "that") else DETERMINER

    def _kind_of_participle(self, word: str, place: int) -> int | None:
        followed = self._content(place + 1) and not _ing(self._word(place + 1))
        if _ing(word):
            if self._has_noun or not self.chunk:
                return VERB
            last = self._word(self.chunk[-1][0])
            alone = last in _STANDING_ALONE or last[0].isdigit()
            return MODIFIER if followed else VERB if alone else NOUN
        if word.endswith("ing") and self._has_noun and self._word(place + 1) in english.ARTICLES:
            return VERB  # "a man painting a wall"
        if word in english.PARTICIPLES or (len(word) > 3 and word.endswith("ed") and word not in english.NOUNS_IN_ED):
            if followed:
                return MODIFIER
            joined = self._word(place + 1) in ("and", "or", ",") and self._content(place + 2)
            begun = self.chunk or self.before in english.PREPOSITIONS
            return MODIFIER if joined and begun and not self._has_noun else VERB
        return VERB if word in english.PASTS and (self._has_noun or not self.chunk) else None

    def _kind_of_verb(self, word: str, place: int) -> int | None:
        verb = english.THIRD_PERSONS.get(word)
        if verb is None and word not in english.VERBS:
            return None
        following = self._word(place + 1)
        goes_on = following in _AFTER_VERBS or following.endswith("ly")
        if self.chunk and not self._has_noun:
            return None
        if verb is None:
            if self._has_noun:
                several = _plural(self._last_noun) or (self.before in english.JOINING and goes_on)
                return VERB if several and following != "of" else None
            return VERB if self.before in _BEFORE_BASES else None
        if self._has_noun:
            if following == "of":
                return None
            subject = goes_on or _plural(self._last_noun) or self._last_noun in english.AGENTS
            return VERB if subject or verb not in english.ALSO_NOUNS else None
        if self.before in english.JOINING or self.before == ",":
            certain = verb not in english.ALSO_NOUNS
            return VERB if certain or following in english.DETERMINERS or following in _TOWARDS else None
        return VERB if self.before in _BEFORE_THIRD_PERSONS or self.before.endswith("ly") else None

    def _is_adverb(self, place: int) -> bool:
        word = self._word(place)
        if word in english.ADVERBS:
            return True
        if not word.endswith("ly") or len(word) < 5 or word in english.NOT_ADVERBS:
            return False
        # "a brightly coloured skirt"
        return self._has_noun or not self._content(place + 1)

    def _content(self, place: int) -> bool:
        """Whether a word may belong to a noun phrase that has begun."""
        word = self._word(place)
        return bool(word) and word[0].isalnum() and word not in _BREAKING and word not in english.DETERMINERS

    def _compound_modifier(self, place: int) -> bool:
        pair = (self._word(place), self._word(place + 1))
        return pair in english.COMPOUND_MODIFIERS and self._content(place + 2) and not self._has_noun

    def _joins(self, place: int) -> bool:
        """Whether "and" or a comma stands between two modifiers of one noun: "a red and white bus"."""
        if not self.chunk or not self._content(place + 1) or self.chunk[-1][1] == DETERMINER:
            return False
        modifiers = all(kind != NOUN or self._word(own) in english.COLOURS for own, kind in self.chunk)
        following = self._word(place + 1)
        modifier = (
            following in english.ADJECTIVES
            or following in english.COLOURS
            or following.endswith(("ed", *english.ADJECTIVE_ENDINGS))
        )
        if not (modifiers and modifier and self._content(place + 2)):
            return False
        if self._word(place) != ",":
            self.chunk.append((place, MODIFIER))
        return True

    @property
    def _has_noun(self) -> bool:
        return any(kind == NOUN for _, kind in self.chunk)

    @property
    def _last_noun(self) -> str:
        return next(self._word(place) for place, kind in reversed(self.chunk) if kind == NOUN)

    def _close(self, place: int) -> None:
        """End the phrase before a word."""
        chunk = list(self.chunk)
        while chunk and chunk[-1][1] != NOUN:
            chunk.pop()
        if chunk and not self._only_tells_how_many_or_where(self._word(chunk[-1][0]), self._word(place)):
            self.found.append([own for own, _ in chunk])
        if self.chunk:
            self.before = self._word(self.chunk[-1][0])
        self.chunk = []

    def _only_tells_how_many_or_where(self, head: str, following: str) -> bool:
        if following != "of":
            return False
        return head in english.QUANTITIES or (head in english.PLACES and self.before in english.PREPOSITIONS)

    def _proper(self, chunk: list[int]) -> bool:
        """Whether a phrase is a name alone: written with capitals where the caption's other words aren't."""
        letters = [word for word in self.words if word[0].isalpha()]
        if sum(word[0].isupper() for word in letters) * 2 > len(letters):
            return False
        nouns = [place for place in chunk if self._word(place) not in english.DETERMINERS]
        return all(place > 0 and self.words[place].istitle() for place in nouns)

    def _text(self, chunk: list[int]) -> str:
        words = [self.words[place] for place in chunk]
        if len(words) > LONGEST:
            return ""
        return " ".join(words).replace(" 's", "'s").replace(" ’s", "’s")


_BREAKING = english.PRONOUNS | english.PREPOSITIONS | english.CONJUNCTIONS | english.AUXILIARIES | english.ADVERBS

_STANDING_ALONE = english.NUMBERS | frozenset(
    ("other", "others", "both", "all", "some", "many", "several", "few", "each")
)

_AFTER_VERBS = english.DETERMINERS | english.PREPOSITIONS | english.PRONOUNS | english.ADVERBS | {""}

_TOWARDS = english.PREPOSITIONS - {"of", "on", "in", "with", "for", "next"}

_BEFORE_BASES = english.PRONOUNS | english.AUXILIARIES | english.ADVERBS | {"to"}

_BEFORE_THIRD_PERSONS = english.PRONOUNS | english.ADVERBS | {"that", "this", '"', "”"}


def _ing(word: str) -> bool:
    return len(word) > 4 and word.endswith("ing") and word not in english.NOUNS_IN_ING


def _plural(noun: str) -> bool:
    return noun in english.IRREGULAR_PLURALS or (noun.endswith("s") and not noun.endswith(("ss", "us", "is", "'s")))
