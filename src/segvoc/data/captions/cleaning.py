"""From the noun phrases of a picture's captions to the few that it is trained with (SynSeg, appendix A2)."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from segvoc.data.captions.english import DETERMINERS
from segvoc.errors import UsageError

EXCLUDED = tuple(
    "background foreground front back side top bottom left right north south east west southwest pair number set view "
    "image photo picture illustration stock vector reflection shot scene day time way kind type part piece lot group "
    "style".split()
)
"""Words that name nothing that can be pointed at. The paper names reflection, southwest, background (v3), pair, front,
directions and units (v2); its list was not published, the others are ours."""


Match = Literal["word", "substring"]
SameHead = Literal["keep", "drop"]


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What is left of a picture's phrases, and why each of the others is not among them."""

    phrases: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """Which noun phrases a picture keeps.

    excluded: words that drop a phrase. match: "word" drops a phrase that has such a word, also in its plural;
    "substring", the published rule, every phrase that has its letters anywhere ("top" drops "laptop"). most: phrases of
    a picture; those that most of its captions name come first, then those that come first. same_head: "keep" or "drop"
    of several phrases with one last word ("cat", "small cat") all but the one that comes first; the paper keeps them.

    Raises: UsageError: a rule is unknown, or `most` below 1.
    """

    excluded: tuple[str, ...] = EXCLUDED
    match: Match = "word"
    most: int = 8
    same_head: SameHead = "keep"

    def __post_init__(self) -> None:
        if self.match not in ("word", "substring"):
            raise UsageError(f"match={self.match!r} is unknown; excluded words match by 'word' or by 'substring'")
        if self.same_head not in ("keep", "drop"):
            raise UsageError(f"same_head={self.same_head!r} is unknown; it is 'keep' or 'drop'")
        if self.most < 1:
            raise UsageError(f"most={self.most} is no number of phrases; give one from 1")

    def clean(self, captions: Iterable[Sequence[str]]) -> Cleaned:
        """The phrases of one picture, given those of each of its captions: without determiners, in lower case."""
        dropped: dict[str, str] = {}
        named: Counter[str] = Counter()
        for phrases in captions:
            plain = dict.fromkeys(filter(None, map(without_determiners, phrases)))
            named.update([phrase for phrase in plain if not self._noted(phrase, dropped)])
        # sorted() keeps the order of those that are named equally often
        ranked = sorted(named, key=lambda phrase: -named[phrase])
        if self.same_head == "drop":
            heads: dict[str, str] = {}
            for phrase in ranked:
                if (first := heads.setdefault(phrase.split()[-1], phrase)) != phrase:
                    dropped[phrase] = f"same noun as {first}"
            ranked = list(heads.values())
        dropped |= dict.fromkeys(ranked[self.most :], f"more than {self.most}")
        return Cleaned(phrases=tuple(ranked[: self.most]), dropped=tuple(dropped.items()))

    def exclusion(self, phrase: str) -> str | None:
        """The excluded word that a phrase in lower case has; None if it has none."""
        if self.match == "substring":
            return next((word for word in self.excluded if word in phrase), None)
        found = self._words.search(phrase)
        return None if found is None else found.group(1)

    def _noted(self, phrase: str, dropped: dict[str, str]) -> bool:
        word = self.exclusion(phrase)
        if word is not None:
            dropped[phrase] = f"excluded: {word}"
        return word is not None

    @cached_property
    def _words(self) -> re.Pattern[str]:
        words = "|".join(map(re.escape, sorted(self.excluded, key=len, reverse=True))) or "(?!)"
        return re.compile(rf"(?<!\w)({words})(?:s|es)?(?!\w)")


def without_determiners(phrase: str) -> str:
    """A phrase in lower case, without articles, possessives and numbers at its start; signs are made plain."""
    # where words are listed, ", " separates synonyms
    words = phrase.lower().replace("’", "'").replace(", ", " ").split()
    while words and (words[0] in DETERMINERS or not words[0].strip("0123456789.,")):
        words.pop(0)
    return " ".join(words)
