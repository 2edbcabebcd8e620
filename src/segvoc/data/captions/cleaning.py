"""Clean the noun phrases of an image's captions and choose those used in training (SynSeg, appendix A2)."""

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
            The phrases that are kept, in lower case and without determiners, the most mentioned first.
        """
        mentions: Counter[str] = Counter()
        for phrases in captions:
            plain = dict.fromkeys(filter(None, map(without_determiners, phrases)))
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
    # in a vocabulary, ", " separates synonyms
    words = phrase.lower().replace("’", "'").replace(", ", " ").split()
    while words and (words[0] in DETERMINERS or not words[0].strip("0123456789.,")):
        words.pop(0)
    return " ".join(words)
