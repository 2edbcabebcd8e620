"""Class selection rules: which classes to refine, since most of a thousand words aren't in the image.

A rule is plain data, so that every engine can apply it. `segvoc.layers.class_selection` applies it to the cost volume
of a PyTorch network.
"""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from segvoc.errors import UsageError
from segvoc.vocabulary import MAX_CLASSES

DROPPED = -100.0
"""Logit of a dropped class, as in the released code of CAT-Seg, PCA-Seg and ERR-Seg."""

KeepClasses = int | Literal["auto", "all"]
"""What a caller may request: a number of classes, "auto" (by each image's votes), or "all"."""


@dataclass(frozen=True)
class MostSimilar:
    """Keeps the classes with the highest similarity at any cell and prompt, as CAT-Seg's and PCA-Seg's code does."""

    keep: int
    """Classes to keep; on ties those with lower indices."""
    kind: Literal["most-similar"] = "most-similar"
    """Tells the rules apart, here and in the others."""


@dataclass(frozen=True)
class Votes:
    """How the cells of an image vote for classes (class scoring Phi of ERR-Seg, Eqs. 4 and 5).

    Each cell gives its most similar class 1 vote, the next `decay`, the next `decay`^2, and so on.
    """

    top: int = 3
    """Classes that each cell votes for (k)."""
    decay: float = 0.1
    """Factor from one vote to the next (lambda), in [0, 1]."""


PUBLISHED_VOTES = Votes()
"""ERR-Seg's settings."""


@dataclass(frozen=True)
class Voted:
    """Keeps the classes with the most votes."""

    keep: int
    """Classes to keep; on ties (many classes have no votes) those with lower indices."""
    votes: Votes = PUBLISHED_VOTES
    kind: Literal["voted"] = "voted"


@dataclass(frozen=True)
class VotedShare:
    """Keeps the fewest classes that together hold a given share of an image's votes.

    A simple image needs few classes, a cluttered image many. Each view in a call keeps its own classes, but all keep
    the same number: that of the view that needs the most. Hence different images must not share a batch.
    """

    share: float = 0.995
    """Share of all votes that the kept classes hold, in [0, 1]."""
    least: int = 16
    """Lower bound on the number of kept classes."""
    votes: Votes = PUBLISHED_VOTES
    kind: Literal["voted-share"] = "voted-share"


@dataclass(frozen=True)
class WithParts:
    """Selects among objects, and keeps the parts of the selected ones.

    Parts don't compete with objects. If any view in a call keeps an object, all views keep its parts. Hence different
    images must not share a batch.
    """

    objects: "SelectionRule"
    """Selects among the objects, which are the first classes."""
    number: int
    """Number of objects; the classes after them are parts."""
    owners: tuple[tuple[int, ...], ...]
    """Indices of the objects that each part belongs to."""
    kind: Literal["with-parts"] = "with-parts"


@dataclass(frozen=True)
class Listed:
    """Keeps given classes in every view, for example those selected for a whole image, in each of its tiles."""

    classes: tuple[int, ...]
    """Indices of the classes, ascending; at least one."""
    kind: Literal["listed"] = "listed"


SelectionRule = MostSimilar | Voted | VotedShare | WithParts | Listed
"""Selects the classes to refine from the first cost volume."""


@dataclass(frozen=True, kw_only=True)
class OwnShare:
    """A network's default selection: see `VotedShare`."""

    kind: Literal["share"] = "share"
    share: float
    least: int

    def rule(self, words: int, votes: Votes) -> SelectionRule:
        """The rule for a number of words."""
        return VotedShare(share=self.share, least=self.least, votes=votes)


@dataclass(frozen=True, kw_only=True)
class OwnQuarter:
    """A network's default selection: a quarter of the classes, within bounds."""

    kind: Literal["quarter"] = "quarter"
    least: int
    most: int

    def keep(self, words: int) -> int:
        """Number of classes to keep."""
        return min(words, max(self.least, math.ceil(words / 4)), self.most)

    def rule(self, words: int, votes: Votes) -> SelectionRule:
        """The rule for a number of words."""
        return Voted(self.keep(words), votes)


def may_drop(rule: SelectionRule | None, classes: int) -> bool:
    """Whether a rule may drop any of `classes` classes."""
    match rule:
        case None:
            return False
        case MostSimilar(keep) | Voted(keep):
            return keep < classes
        case VotedShare():
            return rule.least < classes
        case WithParts():
            return may_drop(rule.objects, rule.number)
        case Listed(listed):
            return len(listed) < classes


OwnSelection = OwnShare | OwnQuarter


def requested_selection(keep_classes: KeepClasses, votes: Votes = PUBLISHED_VOTES) -> SelectionRule | None:
    """The selection by votes that a caller requests: a positive number, "auto" or "all" (None); else `UsageError`."""
    if isinstance(keep_classes, Integral) and not isinstance(keep_classes, bool) and int(keep_classes) >= 1:
        return Voted(min(int(keep_classes), MAX_CLASSES), votes)
    if isinstance(keep_classes, str) and keep_classes in ("auto", "all"):
        return VotedShare(votes=votes) if keep_classes == "auto" else None
    raise UsageError(f"keep_classes={keep_classes!r} is invalid; give a number of classes from 1, 'auto' or 'all'")
