"""Which classes are worth refining in a picture: most of a thousand words are not in it.

A selection is a frozen value, called with the first costs of a picture; it gives the classes to go on with.
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
"""Logit of a class that was not kept, as released by CAT-Seg, PCA-Seg and ERR-Seg."""

Kept = Int[Tensor, "B K"]
"""The classes of each picture that go on, in ascending order."""


SelectedLogits = tuple[Float[Tensor, "B K h w"], Kept | None]
"""Logits of the classes that went on, and which they are; None: all."""

ClassSelection = Callable[[CostVolume], Kept | None]
"""From the first costs (B P T H W) of pictures to the classes of each that go on; None: all."""

KeepClasses = int | Literal["auto", "all"]
"""What a caller may ask for: so many classes, as many as the votes of each picture tell, or all."""


@dataclass(frozen=True)
class MostSimilar:
    """The `keep` classes whose best cell and prompt is the most similar: the bound of CAT-Seg's and PCA-Seg's code."""

    keep: int

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Choose; equal classes: the lower index."""
        return _highest(cost.detach().amax(dim=(1, 3, 4)), self.keep)


@dataclass(frozen=True)
class Votes:
    """The votes of a picture's cells for every class (class scoring Phi of ERR-Seg, Eqs. 2 to 4).

    Every cell gives its most similar class 1 vote, the next `decay` (lambda), the next `decay`^2: the `top` (k) in all.
    """

    top: int = 3
    decay: float = 0.1

    def __call__(self, cost: CostVolume) -> Float[Tensor, "B T"]:
        """Count them; of several prompts or maps a cell's most similar one counts."""
        cells = cost.detach().amax(dim=1).flatten(2)
        chosen = cells.topk(min(self.top, cells.shape[1]), dim=1).indices
        votes = self.decay ** torch.arange(chosen.shape[1], device=cost.device, dtype=torch.float64)
        votes = votes[:, None].expand_as(chosen[0]).expand_as(chosen)
        total = votes.new_zeros(cells.shape[:2])
        return total.scatter_add_(1, chosen.flatten(1), votes.flatten(1)).float()


PUBLISHED_VOTES = Votes()
"""As ERR-Seg counts them."""

OwnSelection = Callable[[int, Votes], ClassSelection | None]
"""From the number of words, and how votes are counted, to the selection of a network when nothing is asked for."""


@dataclass(frozen=True)
class Voted:
    """The `keep` classes with the most votes; of equally many (many classes have none) those of the lower index."""

    keep: int
    votes: Votes = PUBLISHED_VOTES

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Choose."""
        return _highest(self.votes(cost), self.keep)


@dataclass(frozen=True)
class VotedShare:
    """The classes with the most votes that together hold a `share` of a picture's votes, `least` at least.

    What most cells agree on needs few classes, a cluttered picture many. The views of one call keep equally many, each
    its own: as many as the one that needs most. So different pictures go through a network one at a time.
    """

    share: float = 0.995
    least: int = 16
    votes: Votes = PUBLISHED_VOTES

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Choose."""
        votes = self.votes(cost)
        held = votes.double().sort(dim=1, descending=True).values.cumsum(dim=1)
        needed = 1 + int((held < self.share * held[:, -1:]).sum(dim=1).max())
        return _highest(votes, max(self.least, needed))


@dataclass(frozen=True)
class WithParts:
    """Objects as a selection chooses among them alone, and with them their parts.

    Parts neither win nor cost an object its place. The parts of an object that is kept in any view of the call go on
    in all of them, so different pictures go through a network one at a time.

    objects: chooses among the first classes. owners: the objects (indices) of each class after them, whose part it is.
    """

    objects: ClassSelection
    number: int
    owners: tuple[tuple[int, ...], ...]

    def __call__(self, cost: CostVolume) -> Kept | None:
        """Choose."""
        kept = self.objects(cost[:, :, : self.number])
        if kept is None:
            return None
        anywhere = set(kept.unique().tolist())
        chosen = [self.number + at for at, owners in enumerate(self.owners) if not anywhere.isdisjoint(owners)]
        parts = torch.tensor(chosen, dtype=kept.dtype, device=kept.device)
        return torch.cat((kept, parts.expand(len(kept), -1)), dim=1)


def asked_selection(keep_classes: KeepClasses, votes: Votes = PUBLISHED_VOTES) -> ClassSelection | None:
    """The selection that a caller asks for: the votes of the first costs choose; None: all classes go on.

    Raises: UsageError: it is no number from 1, "auto" or "all".
    """
    if isinstance(keep_classes, Integral) and not isinstance(keep_classes, bool) and int(keep_classes) >= 1:
        return Voted(int(keep_classes), votes)
    if isinstance(keep_classes, str) and keep_classes in ("auto", "all"):
        return VotedShare(votes=votes) if keep_classes == "auto" else None
    raise UsageError(f"keep_classes={keep_classes!r} is no number of classes; give one from 1, 'auto' or 'all'")


def selected(
    cost: CostVolume,
    text: PromptEmbeddings,
    selection: ClassSelection | None,
    by: Float[Tensor, "B _ T H W"] | None = None,
) -> tuple[Float[Tensor, "B P K H W"], Float[Tensor, "B K N C"], Kept | None]:
    """Costs and prompts of the classes that go on, and which they are (None: all); chosen `by` other costs if given."""
    kept = None if selection is None else selection(cost if by is None else by)
    return (cost, text, None) if kept is None else (of_classes(cost, kept, 2), of_classes(text, kept, 1), kept)


def of_classes(values: Tensor, kept: Kept, axis: int) -> Tensor:
    """Of each picture (first axis) the classes that are kept, along the axis of the classes."""
    shape = [1] * values.ndim
    shape[0], shape[axis] = kept.shape
    return values.take_along_dim(kept.view(shape), dim=axis)


def among_all(logits: Float[Tensor, "B K h w"], kept: Kept | None, classes: int) -> Logits:
    """Logits of all classes: those that were not kept get `DROPPED`."""
    if kept is None:
        return logits
    everyone = logits.new_full((len(logits), classes, *logits.shape[2:]), DROPPED)
    return everyone.scatter(1, kept[:, :, None, None].expand_as(logits), logits)


def _highest(score: Float[Tensor, "B T"], keep: int) -> Kept | None:
    if keep >= score.shape[1]:
        return None
    return score.argsort(dim=1, descending=True, stable=True)[:, :keep].sort(dim=1).values
