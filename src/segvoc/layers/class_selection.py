"""Selecting the classes of an image that are worth refining: most of a thousand words aren't in it.

A selection is an immutable callable. It takes the first cost volume of an image and returns the classes to keep.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from segvoc.errors import UsageError
from segvoc.shapes import CostVolume, Logits, PromptEmbeddings

DROPPED = -100.0
"""Logit of a class that wasn't kept, as in the released code of CAT-Seg, PCA-Seg and ERR-Seg."""

Kept = Int[Tensor, "B K"]
"""Indices of the classes kept for each image, in ascending order."""

SelectedLogits = tuple[Float[Tensor, "B K h w"], Kept | None]
"""Logits of the classes that were kept, and their indices; None if all were."""

ClassSelection = Callable[[CostVolume], Kept | None]
"""From the first cost volume (B P T H W) of images to the classes to keep for each; None keeps all."""

KeepClasses = int | Literal["auto", "all"]
"""What a caller may request: a number of classes, as many as the votes of each image suggest, or all."""


@dataclass(frozen=True)
class MostSimilar:
    """Keeps the classes with the highest similarity at any cell and prompt, as CAT-Seg's and PCA-Seg's code does."""

    keep: int
    """Classes to keep; on ties those with lower indices."""

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Select classes."""
        return _highest(cost.detach().amax(dim=(1, 3, 4)), self.keep)


@dataclass(frozen=True)
class Votes:
    """How the cells of an image vote for classes (class scoring Phi of ERR-Seg, Eqs. 2 to 4).

    Each cell gives its most similar class 1 vote, the next `decay`, the next `decay`^2, and so on.
    """

    top: int = 3
    """Classes that each cell votes for (k)."""
    decay: float = 0.1
    """Factor from one vote to the next (lambda), in [0, 1]."""

    def __call__(self, cost: CostVolume) -> Float[Tensor, "B T"]:
        """Count the votes; with several prompts or maps, the most similar one at a cell counts."""
        cells = cost.detach().amax(dim=1).flatten(2)
        chosen = cells.topk(min(self.top, cells.shape[1]), dim=1).indices
        votes = self.decay ** torch.arange(chosen.shape[1], device=cost.device, dtype=torch.float64)
        votes = votes[:, None].expand_as(chosen[0]).expand_as(chosen)
        total = votes.new_zeros(cells.shape[:2])
        return total.scatter_add_(1, chosen.flatten(1), votes.flatten(1)).float()


PUBLISHED_VOTES = Votes()
"""ERR-Seg's settings."""

OwnSelection = Callable[[int, Votes], ClassSelection | None]
"""From the number of words and the votes to a network's default selection."""


@dataclass(frozen=True)
class Voted:
    """Keeps the classes with the most votes."""

    keep: int
    """Classes to keep; on ties (many classes have no votes) those with lower indices."""
    votes: Votes = PUBLISHED_VOTES
    """How cells vote."""

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Select classes."""
        return _highest(self.votes(cost), self.keep)


@dataclass(frozen=True)
class VotedShare:
    """Keeps the fewest classes that together hold a given share of an image's votes.

    A simple image needs few classes, a cluttered one many. All views in a call keep equally many classes, each its own:
    as many as the view that needs the most. Therefore different images must go through a network one at a time.
    """

    share: float = 0.995
    """Share of all votes that the kept classes hold, in [0, 1]."""
    least: int = 16
    """Lower bound on the number of kept classes."""
    votes: Votes = PUBLISHED_VOTES
    """How cells vote."""

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Select classes."""
        votes = self.votes(cost)
        held = votes.double().sort(dim=1, descending=True).values.cumsum(dim=1)
        needed = 1 + int((held < self.share * held[:, -1:]).sum(dim=1).max())
        return _highest(votes, max(self.least, needed))


@dataclass(frozen=True)
class WithParts:
    """Selects among objects, and keeps the parts of the selected ones.

    Parts don't compete with objects. The parts of an object that any view in a call keeps are kept in all views.
    Therefore different images must go through a network one at a time.
    """

    objects: ClassSelection
    """Selects among the objects, which are the first classes."""
    number: int
    """Number of objects; the classes after them are parts."""
    owners: tuple[tuple[int, ...], ...]
    """Indices of the objects that each part belongs to."""

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Select classes."""
        kept = self.objects(cost[:, :, : self.number])
        if kept is None:
            return None
        anywhere = set(kept.unique().tolist())
        chosen = [self.number + at for at, owners in enumerate(self.owners) if not anywhere.isdisjoint(owners)]
        parts = torch.tensor(chosen, dtype=kept.dtype, device=kept.device)
        return torch.cat((kept, parts.expand(len(kept), -1)), dim=1)


def requested_selection(keep_classes: KeepClasses, votes: Votes = PUBLISHED_VOTES) -> ClassSelection | None:
    """The selection by votes that a caller requests; None keeps all classes.

    Raises:
        UsageError: `keep_classes` is neither a positive number nor "auto" or "all".
    """
    if isinstance(keep_classes, Integral) and not isinstance(keep_classes, bool) and int(keep_classes) >= 1:
        return Voted(int(keep_classes), votes)
    if isinstance(keep_classes, str) and keep_classes in ("auto", "all"):
        return VotedShare(votes=votes) if keep_classes == "auto" else None
    raise UsageError(f"keep_classes={keep_classes!r} is invalid; give a number of classes from 1, 'auto' or 'all'")


def select_classes(
    cost: CostVolume,
    text: PromptEmbeddings,
    selection: ClassSelection | None,
    by: Float[Tensor, "B _ T H W"] | None = None,
) -> tuple[Float[Tensor, "B P K H W"], Float[Tensor, "B K N C"], Kept | None]:
    """Drop the classes that a selection doesn't keep.

    Args:
        cost: cost volume (B P T H W).
        text: prompt embeddings (B T N C).
        selection: selects the classes; None keeps all.
        by: costs to select by, if not `cost`.

    Returns:
        Costs, prompt embeddings and indices of the kept classes; None as indices if all are kept.
    """
    kept = None if selection is None else selection(cost if by is None else by)
    return (cost, text, None) if kept is None else (gather_classes(cost, kept, 2), gather_classes(text, kept, 1), kept)


def gather_classes(values: Tensor, kept: Kept, axis: int) -> Tensor:
    """Gather the kept classes of each image (first axis) along `axis`."""
    shape = [1] * values.ndim
    shape[0], shape[axis] = kept.shape
    return values.take_along_dim(kept.view(shape), dim=axis)


def scatter_to_all(logits: Float[Tensor, "B K h w"], kept: Kept | None, classes: int) -> Logits:
    """Logits of all classes; classes that weren't kept get `DROPPED`."""
    if kept is None:
        return logits
    everything = logits.new_full((len(logits), classes, *logits.shape[2:]), DROPPED)
    return everything.scatter(1, kept[:, :, None, None].expand_as(logits), logits)


def _highest(score: Float[Tensor, "B T"], keep: int) -> Kept | None:
    if keep >= score.shape[1]:
        return None
    return score.argsort(dim=1, descending=True, stable=True)[:, :keep].sort(dim=1).values
