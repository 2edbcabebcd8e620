"""Class selection: drops classes that are probably absent from the image before refinement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from segvoc.layers.selection import DROPPED, ClassSelection, Votes
from segvoc.layers.shapes import CostVolume, Logits, PromptEmbeddings

Kept = Int[Tensor, "B K"]
"""Indices of the selected classes of each image, ascending."""

SelectedLogits = tuple[Float[Tensor, "B K h w"], Kept | None]
"""Logits of the selected classes, and their indices (None: all)."""


@dataclass(frozen=True, eq=False)
class GroundTruthFirst:
    """In ERR-Seg's training, the classes of an image's labels are selected before all others.

    If more of them exist than are kept, those with the lowest indices are.
    """

    labels: Int[Tensor, "B H W"]
    """The class of every pixel; other values are of no class."""
    fill: Literal["strongest", "released"] = "strongest"
    """How other classes are added: by most votes, or as in the released code, which drops the classes with the highest
    indices instead of the fewest votes."""

    def raised(self, score: Float[Tensor, "B T"], keep: int) -> Float[Tensor, "B T"]:
        """The scores by which `keep` classes are selected, infinite for the classes of the labels."""
        classes = score.shape[1]
        if self.fill == "released":
            score = torch.zeros_like(score).scatter(1, _highest(score, keep), 1)
        seen = self.labels.clamp(max=classes).flatten(1).to(score.device)
        # a mask of fixed size: counting the labels would wait for the device
        labeled = torch.zeros(len(score), classes + 1, device=score.device).scatter(1, seen, 1)[:, :-1].bool()
        return score.masked_fill(labeled, torch.inf)


def kept_classes(
    selection: ClassSelection | None, cost: CostVolume, first: GroundTruthFirst | None = None
) -> Kept | None:
    """Select the classes to keep for each image by the first cost volume; None if all are kept."""
    if selection is None:
        return None
    if selection.classes is not None:
        return torch.tensor(selection.classes, device=cost.device).repeat(cost.shape[0], 1)
    objects = cost.shape[2] - len(selection.owners)
    cost, keep, votes = cost[:, :, :objects], selection.number(objects), None
    if selection.share is not None:
        votes = count_votes(cost, selection.votes)
        held = votes.to(_exact(votes.device)).sort(dim=1, descending=True).values.cumsum(dim=1)
        keep = max(keep, 1 + int((held < selection.share * held[:, -1:]).sum(dim=1).max()))
    if keep >= objects:
        return None
    if selection.by == "similarity":
        score = cost.detach().amax(dim=(1, 3, 4))
    else:
        score = count_votes(cost, selection.votes) if votes is None else votes
    kept = _highest(score if first is None else first.raised(score, keep), keep)
    return _with_parts(kept, objects, selection.owners) if selection.owners else kept


def _highest(score: Float[Tensor, "B T"], keep: int) -> Kept:
    return score.argsort(dim=1, descending=True, stable=True)[:, :keep].sort(dim=1).values


def _with_parts(kept: Kept, objects: int, owners: Sequence[Sequence[int]]) -> Int[Tensor, "B M"]:
    anywhere = set(kept.unique().tolist())
    chosen = [objects + part for part, owned_by in enumerate(owners) if not anywhere.isdisjoint(owned_by)]
    parts = torch.tensor(chosen, dtype=kept.dtype, device=kept.device)
    return torch.cat((kept, parts.expand(kept.shape[0], -1)), dim=1)


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
    cost: CostVolume, text: PromptEmbeddings, kept: Kept | None
) -> tuple[Float[Tensor, "B P K H W"], Float[Tensor, "B K N C"]]:
    """Costs and prompt embeddings of the selected classes (None: all)."""
    return (cost, text) if kept is None else (gather_classes(cost, kept, 2), gather_classes(text, kept, 1))


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
