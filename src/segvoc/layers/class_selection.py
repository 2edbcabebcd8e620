"""Class selection: drops classes that are probably absent from the image before refinement."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from segvoc.layers.selection_rules import (
    DROPPED,
    Listed,
    MostSimilar,
    SelectionRule,
    Voted,
    VotedShare,
    Votes,
    WithParts,
)
from segvoc.layers.shapes import CostVolume, Logits, PromptEmbeddings

Kept = Int[Tensor, "B K"]
"""Indices of the selected classes of each image, ascending."""

SelectedLogits = tuple[Float[Tensor, "B K h w"], Kept | None]
"""Logits of the selected classes, and their indices (None: all)."""

ClassSelection = SelectionRule | Callable[[CostVolume], Kept | None]
"""A rule, or a function from the first cost volume (B P T H W) to the classes to keep of each image (None: all)."""


def kept_classes(selection: ClassSelection | None, cost: CostVolume) -> Kept | None:
    """Select the classes to keep for each image by the first cost volume; None if all are kept."""
    match selection:
        case None:
            return None
        case MostSimilar(keep):
            return _highest(cost.detach().amax(dim=(1, 3, 4)), keep)
        case Voted(keep, votes):
            return _highest(count_votes(cost, votes), keep)
        case VotedShare(share, least, votes):
            counted = count_votes(cost, votes)
            held = counted.to(_exact(counted.device)).sort(dim=1, descending=True).values.cumsum(dim=1)
            needed = 1 + int((held < share * held[:, -1:]).sum(dim=1).max())
            return _highest(counted, max(least, needed))
        case WithParts(objects, number, owners):
            if (kept := kept_classes(objects, cost[:, :, :number])) is None:
                return None
            anywhere = set(kept.unique().tolist())
            chosen = [number + part for part, owned_by in enumerate(owners) if not anywhere.isdisjoint(owned_by)]
            parts = torch.tensor(chosen, dtype=kept.dtype, device=kept.device)
            return torch.cat((kept, parts.expand(kept.shape[0], -1)), dim=1)
        case Listed(classes):
            return torch.tensor(classes, device=cost.device).repeat(cost.shape[0], 1)
    return selection(cost)


def count_votes(cost: CostVolume, votes: Votes) -> Float[Tensor, "B T"]:
    """Count the votes for each class; with several prompts or maps, the most similar one at a cell counts."""
    cells = cost.detach().amax(dim=1).flatten(2)
    chosen = cells.topk(min(votes.top, cells.shape[1]), dim=1).indices
    values = votes.decay ** torch.arange(chosen.shape[1], device=cost.device, dtype=_exact(cost.device))
    values = values[:, None].expand_as(chosen)
    total = values.new_zeros(cells.shape[:2])
    return total.scatter_add_(1, chosen.flatten(1), values.flatten(1)).float()


def _exact(device: torch.device) -> torch.dtype:
    """The dtype for summing votes: Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def select_classes(
    cost: CostVolume,
    text: PromptEmbeddings,
    selection: ClassSelection | None,
    by: Float[Tensor, "B _ T H W"] | None = None,
) -> tuple[Float[Tensor, "B P K H W"], Float[Tensor, "B K N C"], Kept | None]:
    """Select classes by the cost volume `by` (None: `cost`): their costs, prompt embeddings and indices (None: all)."""
    kept = kept_classes(selection, cost if by is None else by)
    return (cost, text, None) if kept is None else (gather_classes(cost, kept, 2), gather_classes(text, kept, 1), kept)


def gather_classes(values: Tensor, kept: Kept, axis: int) -> Tensor:
    """Gather the selected classes of each image (first axis) along `axis`."""
    index = kept.view(kept.shape[0], *[1] * (axis - 1), kept.shape[1], *[1] * (values.ndim - axis - 1))
    return values.gather(axis, index.expand(*values.shape[:axis], -1, *values.shape[axis + 1 :]))


def scatter_to_all(logits: Float[Tensor, "B K h w"], kept: Kept | None, classes: int) -> Logits:
    """Logits of all classes; dropped classes get `DROPPED`."""
    if kept is None:
        return logits
    everything = logits.new_full((logits.shape[0], classes, *logits.shape[2:]), DROPPED)
    return everything.scatter_(1, kept[:, :, None, None].expand_as(logits), logits)


def _highest(score: Float[Tensor, "B T"], keep: int) -> Kept | None:
    if keep >= score.shape[1]:
        return None
    return score.argsort(dim=1, descending=True, stable=True)[:, :keep].sort(dim=1).values
