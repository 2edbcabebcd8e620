"""From captions to noun phrases: their extraction, by rules or by spaCy, and which of them an image keeps.

A phrase is a noun chunk as in spaCy: determiners and modifiers, ending with their noun ("a
man in a red hat" has two). The rules know closed word classes, endings and common verbs; a word that no rule covers
counts as a noun. docs/how_to/captions.md measures how good they are.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from segvoc.errors import UsageError
from segvoc.storage.files import read_json

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

    excluded: tuple[str, ...] = EXCLUDED
    match: Match = "word"
    """How excluded words match.

    "word" drops phrases that contain an excluded word or its plural. "substring", the published rule, also drops
    phrases that contain it inside another word ("top" drops "laptop").
    """
    most: int = 8
    """Maximum phrases of an image. Phrases that more captions mention come first, then those that appear first."""
    determiners: bool = False
    """Whether phrases keep their determiners: "a red hat" instead of "red hat"."""

    def __post_init__(self) -> None:
        if self.match not in ("word", "substring"):
            raise UsageError(f"match={self.match!r} is unknown; use 'word' or 'substring'")
        if self.most < 1:
            raise UsageError(f"most={self.most} is not a number of phrases; it must be at least 1")

    def clean(self, captions: Iterable[Sequence[str]]) -> tuple[str, ...]:
        """The phrases that an image keeps, of those of its captions: in lower case, most mentioned first."""
        mentions: Counter[str] = Counter()
        for phrases in captions:
            bare = {phrase: without_determiners(phrase) for phrase in map(_lower, phrases)}
            plain = dict.fromkeys(phrase if self.determiners else noun for phrase, noun in bare.items() if noun)
            mentions.update([phrase for phrase in plain if not self.excludes(phrase)])
        # sorted() is stable: ties keep their order
        return tuple(sorted(mentions, key=lambda phrase: -mentions[phrase])[: self.most])

    def excludes(self, phrase: str) -> bool:
        """Whether a phrase (in lower case) contains an excluded word."""
        if self.match == "substring":
            return any(word in phrase for word in self.excluded)
        return self._words.search(phrase) is not None

    @cached_property
    def _words(self) -> re.Pattern[str]:
        words = "|".join(map(re.escape, sorted(self.excluded, key=len, reverse=True))) or "(?!)"
        return re.compile(rf"(?<!\w)({words})(?:s|es)?(?!\w)")


_LISTS = Path(__file__).with_name("english.json")
_WORDS = {name: frozenset(" ".join(lines).split()) for name, lines in read_json(_LISTS).items()}
_DETERMINERS = _WORDS["determiners"]


def without_determiners(phrase: str) -> str:
    """A phrase in lower case and with plain apostrophes, without leading articles, possessives and numbers."""
    words = _lower(phrase).split()
    while words and _is_determiner(words[0]):
        words.pop(0)
    return " ".join(words)


def _is_determiner(word: str) -> bool:
    return word in _DETERMINERS or (word[:1].isdigit() and not word.strip("0123456789.,"))


def _lower(phrase: str) -> str:
    # in a vocabulary, ", " separates synonyms
    return " ".join(phrase.lower().replace("’", "'").replace(", ", " ").split())


def _third_person(verb: str) -> str:
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}es" if verb.endswith(("s", "x", "z", "ch", "sh", "o")) else f"{verb}s"


LONGEST = 8
"""Maximum words of a phrase; the rules misparse longer runs of words."""

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*(?![^\W_])|[^\W_]+(?:[-'’][^\W_]+)*(?:(?<=s)['’](?=\s+\w))?|['’]s\b|[^\w\s]|\w+")
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+|[@#]\w+")
_PLACEHOLDER = re.compile(r"<(\w+)>")
"""CC12M replaces names by <PERSON>."""

_BREAKERS = frozenset().union(*(_WORDS[name] for name in ("pronouns", "prepositions", "conjunctions", "auxiliaries")))
_BREAKERS |= _WORDS["adverbs"]
"""Words that end a phrase."""

_SUBJECTS = _WORDS["pronouns"] | _WORDS["auxiliaries"]
_VERBS = frozenset(map(_third_person, _WORDS["strong_verbs"])) | _WORDS["pasts"]
_VERBS_OR_NOUNS = _WORDS["also_nouns"] | frozenset(map(_third_person, _WORDS["also_nouns"]))
"""Verbs that are as often nouns; they only count as verbs before a determiner or a preposition."""

_ADJECTIVE_ENDINGS = ("ful", "ous", "less", "able", "ible", "ish", "like", "-in", "-up", "-down", "-on")


def noun_chunks(caption: str) -> list[str]:
    """The noun phrases of one caption, as written and in order."""
    words = _TOKEN.findall(_PLACEHOLDER.sub(r"\1", _ADDRESS.sub(";", caption)))
    lower = [*(word.lower().replace("’", "'") for word in words), "", ""]
    found: list[list[str]] = []
    chunk: list[int] = []
    has_noun, before = False, ""
    for at, word in enumerate(lower[:-1]):
        kind = _kind(lower, at, chunk, has_noun, before)
        if kind == "end" or (kind == "determiner" and any(lower[own] not in _DETERMINERS for own in chunk)):
            while chunk and (_is_determiner(lower[chunk[-1]]) or _modifies(lower[chunk[-1]])):
                chunk.pop()
            if chunk and not (word == "of" and _is_quantity(lower[chunk[-1]], before)):
                found.append([words[own] for own in chunk])
            before = lower[chunk[-1]] if chunk and kind != "end" else word
            chunk, has_noun = [], False
        if kind not in ("end", "comma"):
            chunk.append(at)
            has_noun = (has_noun or kind == "noun") and word != "'s"
    texts = (" ".join(chunk) for chunk in found if len(chunk) <= LONGEST and not _is_name(chunk, words))
    return [text.replace(" 's", "'s").replace(" ’s", "’s") for text in texts]


def _kind(lower: Sequence[str], at: int, chunk: Sequence[int], has_noun: bool, before: str) -> str:
    """The role of a word in the phrase so far: "determiner", "modifier", "noun", a "comma" inside it, or its "end"."""
    word, following = lower[at], lower[at + 1]
    if word == "'s":
        return "modifier" if chunk else "end"
    if word == "," or word in _WORDS["joining"]:
        joins = chunk and _modifies(lower[chunk[-1]], colors=True) and _modifies(following, colors=True)
        return "end" if not (joins and _continues(lower[at + 2])) else "comma" if word == "," else "modifier"
    if _is_determiner(word):
        pronoun = word in _WORDS["pointers"] and (not _continues(following) or (word == "that" and has_noun))
        return "end" if pronoun else "determiner"
    if word == "can" and chunk and not has_noun:
        return "noun"
    adverb = word.endswith("ly") and len(word) > 4 and word not in _WORDS["not_adverbs"]
    if not _continues(word) or (adverb and (has_noun or not _continues(following))):
        return "end"
    if _is_participle(word):
        return _kind_of_participle(word, following, bool(chunk), has_noun, before)
    if _is_verb(lower, at, chunk, has_noun, before):
        return "end"
    if not _modifies(word, colors=True):
        return "noun"
    # "a dog asleep on the sofa"
    return "end" if has_noun and _modifies(word) and not _continues(following) else "modifier"


def _kind_of_participle(word: str, following: str, begun: bool, has_noun: bool, before: str) -> str:
    """Of a word in -ing or -ed: "a smiling boy", "diamond patterned walls", "the skating", or "a man riding"."""
    if _continues(following) and not (following.endswith("ing") and _is_participle(following)):
        late = not word.endswith("ing") and word not in _WORDS["pasts"]
        return "modifier" if (late if has_noun else begun or before not in _SUBJECTS) else "end"
    return "noun" if word.endswith("ing") and begun and not has_noun else "end"


def _is_verb(lower: Sequence[str], at: int, chunk: Sequence[int], has_noun: bool, before: str) -> bool:
    word, following = lower[at], lower[at + 1]
    if has_noun and following != "of":
        plural = lower[chunk[-1]].endswith("s") or lower[chunk[-1]] in _WORDS["irregular_plurals"]
        certain = word in _VERBS or (plural and word in _WORDS["strong_verbs"])
        return certain or (word in _VERBS_OR_NOUNS and (following in _DETERMINERS or following in _BREAKERS))
    verb = word in _VERBS or word in _WORDS["strong_verbs"]
    return verb and not chunk and before in _SUBJECTS | _WORDS["joining"] | {"to"}


def _continues(word: str) -> bool:
    """Whether a word may continue a noun phrase."""
    return bool(word) and word[0].isalnum() and word not in _BREAKERS and word not in _DETERMINERS


def _modifies(word: str, *, colors: bool = False) -> bool:
    """Whether a word is an adjective or a participle, or with `colors` a color, which may be a noun too."""
    adjective = word.endswith(_ADJECTIVE_ENDINGS) and word not in _WORDS["not_adjectives"]
    listed = word in _WORDS["adjectives"] or (colors and word in _WORDS["colors"])
    return adjective or listed or _is_participle(word)


def _is_participle(word: str) -> bool:
    if word.endswith("ing"):
        return len(word) > 4 and word not in _WORDS["nouns_in_ing"]
    return word in _WORDS["participles"] or (
        len(word) > 3 and word.endswith("ed") and word not in _WORDS["nouns_in_ed"]
    )


def _is_quantity(head: str, before: str) -> bool:
    """Whether a noun before "of" says how much, or where: "lots of taxis", "on top of a car"."""
    return head in _WORDS["quantities"] or (head in _WORDS["places"] and before in _WORDS["prepositions"])


def _is_name(chunk: Sequence[str], words: Sequence[str]) -> bool:
    """Whether a phrase is a name alone: capitalized in a caption whose other words mostly are not."""
    letters = [word for word in words if word[0].isalpha()]
    if 2 * sum(word[0].isupper() for word in letters) > len(letters):
        return False
    nouns = [word for word in chunk if word.lower() not in _DETERMINERS]
    return words[0] not in nouns and all(word.istitle() for word in nouns)


Extractor = Literal["rules", "spacy"]
"""Names of the extractors: `spacy` needs spaCy and its model en_core_web_sm, `rules` has no dependencies."""


class PhraseExtractor(NamedTuple):
    """Finds the noun phrases of captions."""

    identity: str
    """Changes whenever the phrases may: a digest of the rules and their word lists, or name and version of a model."""
    phrases: Callable[[Iterable[str]], Iterator[list[str]]]
    """The noun phrases of each of many captions, as written and in order; parsers are faster in batches."""


def phrase_extractor(name: str = "rules") -> PhraseExtractor:
    """Load an extractor; `UsageError` if the name is unknown, or what it needs is not installed."""
    if name not in get_args(Extractor):
        raise UsageError(f"the phrase extractor {name!r} is unknown; it is one of {', '.join(get_args(Extractor))}")
    if name == "spacy":
        return spacy_extractor()
    sources = (Path(file).read_bytes() for file in (__file__, _LISTS))
    return PhraseExtractor(f"rules {hashlib.sha256(b''.join(sources)).hexdigest()[:16]}", partial(map, noun_chunks))


def spacy_extractor(model: str = "en_core_web_sm") -> PhraseExtractor:
    """Load an installed model of spaCy, with tagger and parser; `UsageError` if it or spaCy is not installed.

    Its phrases have at least one token with the coarse tag NOUN: names and pronouns alone describe nothing visible.
    """
    fix = f"install both (pip install spacy; python -m spacy download {model}), or choose the extractor 'rules'"
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
