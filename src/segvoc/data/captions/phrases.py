"""From captions to noun phrases: the noun chunks that spaCy finds, and which of them an image keeps."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

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


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """Which noun phrases an image keeps."""

    excluded_words: tuple[str, ...] = EXCLUDED
    """Words that exclude a phrase."""
    match: Match = "word"
    """How excluded words match.

    "word" drops phrases that contain an excluded word or its plural. "substring", the published rule, also drops
    phrases that contain it inside another word ("top" drops "laptop").
    """
    max_phrases: int = 8
    """Maximum phrases of an image. Phrases that more captions mention come first, then those that appear first."""
    determiners: bool = False
    """Whether phrases keep their determiners: "a red hat" instead of "red hat"."""

    def __post_init__(self) -> None:
        if self.match not in ("word", "substring"):
            raise UsageError(f"match={self.match!r} is unknown; use 'word' or 'substring'")

    def clean(self, captions: Iterable[Sequence[str]]) -> tuple[str, ...]:
        """The phrases that an image keeps, of those of its captions: in lower case, most mentioned first."""
        mentions: Counter[str] = Counter()
        for phrases in captions:
            bare = {phrase: without_determiners(phrase) for phrase in map(_lower, phrases)}
            plain = dict.fromkeys(phrase if self.determiners else noun for phrase, noun in bare.items() if noun)
            mentions.update([phrase for phrase in plain if not self.excludes(phrase)])
        # sorted() is stable: ties keep their order
        return tuple(sorted(mentions, key=lambda phrase: -mentions[phrase])[: self.max_phrases])

    def excludes(self, phrase: str) -> bool:
        """Whether a phrase (in lower case) contains an excluded word."""
        if self.match == "substring":
            return any(word in phrase for word in self.excluded_words)
        return self._words.search(phrase) is not None

    @cached_property
    def _words(self) -> re.Pattern[str]:
        words = "|".join(map(re.escape, sorted(self.excluded_words, key=len, reverse=True))) or "(?!)"
        return re.compile(rf"(?<!\w)({words})(?:s|es)?(?!\w)")


_DETERMINERS = frozenset(
    """
    a all an another any both dozen each eight eighteen eighty either eleven enough every few fifteen fifty five
    forty four fourteen half her his hundred its many million more most much my neither nine nineteen ninety no
    one our seven seventeen seventy several six sixteen sixty some such ten that the their these thirteen thirty
    this those thousand three twelve twenty two what whose your zero
    """.split()
)


def without_determiners(phrase: str) -> str:
    """A phrase in lower case and with plain apostrophes, without leading articles, possessives and numbers."""
    words = _lower(phrase).split()
    while words and (words[0] in _DETERMINERS or re.fullmatch(r"\d[\d.,]*", words[0], re.ASCII)):
        words.pop(0)
    return " ".join(words)


def _lower(phrase: str) -> str:
    # in a vocabulary, ", " separates synonyms
    return " ".join(phrase.lower().replace("’", "'").replace(", ", " ").split())


class PhraseExtractor(NamedTuple):
    """Finds the noun phrases of captions."""

    identity: str
    """Changes whenever the phrases may: name and version of the model."""
    phrases: Callable[[Iterable[str]], Iterator[list[str]]]
    """The noun phrases of each of many captions, as written and in order; parsers are faster in batches."""


def phrase_extractor(model: str = "en_core_web_sm") -> PhraseExtractor:
    """Load an installed model of spaCy, with tagger and parser; `UsageError` if it or spaCy is not installed.

    A phrase is a noun chunk with at least one token with the coarse tag NOUN: names and pronouns alone describe nothing
    visible.
    """
    fix = f"install both (pip install spacy; python -m spacy download {model})"
    try:
        import spacy  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UsageError(f"spaCy is not installed; {fix}") from None
    try:
        # noun chunks don't depend on entities and lemmas, which take time
        language = spacy.load(model, exclude=["ner", "lemmatizer"])
    except OSError:
        raise UsageError(f"spaCy's model {model!r} is not installed; {fix}") from None

    def phrases(captions: Iterable[str]) -> Iterator[list[str]]:
        for document in language.pipe(captions):
            yield [chunk.text for chunk in document.noun_chunks if any(token.pos_ == "NOUN" for token in chunk)]

    return PhraseExtractor("spacy {lang}_{name} {version}".format_map(language.meta), phrases)
