"""Class selection as plain data: which classes to refine, since most of a thousand words aren't in the image.

Every engine can apply it; `segvoc.layers.class_selection` applies it to the cost volume of a PyTorch network.
"""

import math
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal

from segvoc.errors import UsageError
from segvoc.storage.records import check_range
from segvoc.vocabulary.names import MAX_CLASSES

DROPPED = -100.0
"""Logit of a dropped class, as in the released code of CAT-Seg, PCA-Seg and ERR-Seg."""

KeepClasses = int | Literal["auto", "all"]
"""What a caller may request: a number of classes, "auto" (by each image's votes), or "all"."""


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


@dataclass(frozen=True, kw_only=True)
class ClassSelection:
    """Selects the classes of each image to refine: the best ones by votes or by similarity, or given ones.

    The number of selected classes is `keep`, a `fraction` of the classes (from `least` to `keep`), or the smallest
    number that holds a `share` of the votes (at least `least`). Of equal classes those with lower indices are selected.

    Raises:
        UsageError: a number is out of range, or `share` is combined with `keep` or `fraction`.
    """

    keep: int | None = None
    """Number of classes to keep, at most; None: no limit."""
    fraction: float | None = None
    """Fraction of the classes to keep, in [0, 1], rounded up."""
    share: float | None = None
    """Share of an image's votes that the kept classes hold, in [0, 1]: a simple image needs few classes, a cluttered
    one many. Each view in a call keeps its own classes, but all keep the same number: that of the view that needs the
    most."""
    least: int = 1
    """Lower bound on the number of kept classes, for `fraction` and `share`."""
    by: Literal["votes", "similarity"] = "votes"
    """Which classes are the best: those with the most votes (ERR-Seg), or with the highest similarity at any cell and
    prompt (the released code of CAT-Seg and PCA-Seg)."""
    votes: Votes = PUBLISHED_VOTES
    """How the cells of an image vote."""
    owners: tuple[tuple[int, ...], ...] = ()
    """For each class that is a part (the last ones), the indices of the objects that it belongs to. Parts don't compete
    with objects: if any view in a call keeps an object, all views keep its parts."""
    classes: tuple[int, ...] | None = None
    """Indices of given classes to keep in every view, ascending, at least one; for example those selected for a whole
    image, in each of its tiles."""

    def __post_init__(self) -> None:
        check_range(self, {"keep": (1, MAX_CLASSES), "least": (0, MAX_CLASSES), "fraction": (0, 1), "share": (0, 1)})
        if self.share is not None and (self.keep is not None or self.fraction is not None):
            raise UsageError("a share of the votes decides how many classes are kept; give no keep or fraction with it")

    @property
    def couples_views(self) -> bool:
        """Whether the views of a call decide together what is kept. Then different images must not share a batch."""
        return self.share is not None or bool(self.owners)

    def number(self, objects: int) -> int:
        """Number of objects (classes that aren't parts) to keep out of `objects`; with a `share` the least number."""
        if self.classes is not None:
            return len(self.classes)
        if self.share is not None:
            return min(objects, self.least)
        wanted = objects if self.fraction is None else max(self.least, math.ceil(self.fraction * objects))
        return min(objects, wanted, objects if self.keep is None else self.keep)

    def may_drop(self, classes: int) -> bool:
        """Whether any of `classes` classes, the parts included, may be dropped."""
        objects = classes - len(self.owners)
        return self.number(objects) < objects


AUTO_SELECTION = ClassSelection(share=0.995, least=16)
"""The selection of keep_classes="auto"."""


def requested_selection(
    keep_classes: KeepClasses | None, default: ClassSelection | None = None
) -> ClassSelection | None:
    """The selection that a caller requests: a number from 1, or "auto", by votes; "all" (None); or None: the default.

    In the network's own selection in the window, `default`, the cells vote the same way as for any request.
    """
    if keep_classes is None:
        return default
    votes = PUBLISHED_VOTES if default is None else default.votes
    if isinstance(keep_classes, Integral) and not isinstance(keep_classes, bool) and int(keep_classes) >= 1:
        return ClassSelection(keep=min(int(keep_classes), MAX_CLASSES), votes=votes)
    if isinstance(keep_classes, str) and keep_classes in ("auto", "all"):
        return replace(AUTO_SELECTION, votes=votes) if keep_classes == "auto" else None
    raise UsageError(f"keep_classes={keep_classes!r} is invalid; give a number of classes from 1, 'auto' or 'all'")
