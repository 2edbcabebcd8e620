"""Fits tiny's two projections on cells of labelled photographs; the trunk stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segvoc.encoders.efficientnet import EfficientNetLite
from tools.tiny.features import PhotoFeatures
from tools.tiny.photos import DATA_SETS


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the projections are fitted; the shares say which part of a data set's cells each pass takes."""

    steps: int = 400
    cells: int = 1024
    learning_rate: float = 1e-3
    weight_penalty: float = 0.005
    rarity: float = 0.5  # a cell weighs (frequency of its word) ** -rarity
    shares: tuple[tuple[str, float], ...] = (("coco-panoptic", 0.35), ("coco-things", 0.2), ("clothing", 0.03))
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A random choice of cells of many photographs."""

    head: Tensor
    stages: Tensor
    targets: Tensor
    data_set: Tensor

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.data_set)

    def take(self, index: Tensor) -> "Cells":
        """The cells at `index`, in fp32."""
        return Cells(
            head=self.head[index].float(),
            stages=self.stages[index].float(),
            targets=self.targets[index].float(),
            data_set=self.data_set[index],
        )


def _draw(features: Sequence[PhotoFeatures], recipe: Recipe, generator: torch.Generator) -> Cells:
    shares = dict(recipe.shares)
    chosen: list[tuple[PhotoFeatures, Tensor]] = []
    for photo in features:
        order = torch.randperm(len(photo.targets), generator=generator)
        index = order[: max(1, int(len(order) * shares[photo.photo.data_set]))]
        mostly_labelled = photo.targets[index].sum(dim=1, dtype=torch.int32) > 64
        chosen.append((photo, index[mostly_labelled]))
    order = torch.randperm(sum(len(index) for _, index in chosen), generator=generator)
    return Cells(
        head=torch.cat([photo.head[index] for photo, index in chosen])[order],
        stages=torch.cat([photo.stages[index] for photo, index in chosen])[order],
        targets=torch.cat([photo.targets[index] for photo, index in chosen])[order],
        data_set=torch.cat(
            [torch.full((len(index),), DATA_SETS.index(photo.photo.data_set)) for photo, index in chosen]
        )[order],
    )


def _vocabularies(features: Sequence[PhotoFeatures], words: Sequence[str], unseen: Sequence[str]) -> Tensor:
    """Words that a cell of each data set chooses from (data sets, words)."""
    index = {word: i for i, word in enumerate(words) if word not in unseen}
    allowed = torch.zeros(len(DATA_SETS), len(words), dtype=torch.bool)
    for photo in features:
        chosen = [index[word] for word in photo.photo.words if word in index]
        allowed[DATA_SETS.index(photo.photo.data_set), chosen] = True
    return allowed


class _Projections(nn.Module):
    """Both projections on standardised stages, from zero: whatever the photographs do not ask for stays zero.

    Random weights of usual size fit the training cells as well, and give 10 points less accuracy on other photographs.
    """

    def __init__(self, features: Sequence[PhotoFeatures], channels: int) -> None:
        super().__init__()
        sample = torch.cat([photo.stages[::7] for photo in features]).float()
        self.mean, self.std = sample.mean(dim=0), sample.std(dim=0)
        self.head = nn.Linear(1280, channels)
        self.stages = nn.Linear(len(self.mean), channels)
        self.none = nn.Parameter(torch.zeros(len(DATA_SETS)))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, cells: Cells) -> Tensor:
        """Where each cell lies among the words (L C)."""
        return self.head(cells.head) + self.stages((cells.stages - self.mean) / self.std)

    def penalty(self) -> Tensor:
        return self.head.weight.square().sum() + self.stages.weight.square().sum()

    @torch.no_grad()
    def write_to(self, tower: EfficientNetLite) -> None:
        scaled = self.stages.weight / self.std
        head = {"weight": self.head.weight[:, :, None, None], "bias": self.head.bias}
        tower.project_head.load_state_dict(head)
        stages = {"weight": scaled[:, :, None, None], "bias": self.stages.bias - scaled @ self.mean}
        tower.project_stages.load_state_dict(stages)


def fit_projections(
    tower: EfficientNetLite,
    features: Sequence[PhotoFeatures],
    words: Sequence[str],
    text: Tensor,
    unseen: Sequence[str] = (),
    recipe: Recipe | None = None,
) -> None:
    """Train `project_head` and `project_stages` of `tower`, in place.

    Softmax cross-entropy of (c1 + c2) · text against the words of each cell, over the vocabulary of the cell's data set
    and one more logit for "none of them". Dot products, not cosines: the size of the weights is what is penalised. The
    third map takes no part: with it the projections learn to contradict it.

    Args:
        tower: its trunk made `features`.
        features: cells to learn from.
        words: names of the target columns.
        text: their embeddings (T C).
        unseen: words whose pixels count as unlabelled and that are no alternatives either.
        recipe: None for the shipped one.
    """
    recipe = recipe or Recipe()
    generator = torch.Generator().manual_seed(recipe.seed)
    projections = _Projections(features, tower.channels)
    parameters = [*projections.head.parameters(), *projections.stages.parameters()]
    groups = [{"params": parameters}, {"params": [projections.none], "lr": 50 * recipe.learning_rate}]
    optimiser = torch.optim.Adam(groups, lr=recipe.learning_rate)
    peaks = [recipe.learning_rate, 50 * recipe.learning_rate]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=recipe.steps, pct_start=0.1)
    allowed = _vocabularies(features, words, unseen)
    known = torch.tensor([word not in unseen for word in words] + [True])
    cells = _draw(features, recipe, generator)
    frequency = torch.stack([cells.targets[cells.data_set == d].float().sum(dim=0) for d in range(len(DATA_SETS))])
    frequency = frequency + 256 * 20
    rarity = (frequency / frequency.sum(dim=1, keepdim=True)) ** -recipe.rarity
    start = 0
    for _ in range(recipe.steps):
        if start + recipe.cells > len(cells):
            cells, start = _draw(features, recipe, generator), 0
        batch = cells.take(torch.arange(start, start + recipe.cells))
        start += recipe.cells
        targets = batch.targets * known
        share = targets / targets.sum(dim=1, keepdim=True).clamp(min=1)
        weight = targets.sum(dim=1) * (share * rarity[batch.data_set]).sum(dim=1)
        logits = (projections(batch) @ text.T).masked_fill(~allowed[batch.data_set], -1e4)
        none = projections.none[batch.data_set][:, None]
        entropy = -(share * torch.cat([logits, none], dim=1).log_softmax(dim=1)).sum(dim=1)
        loss = (entropy * weight).sum() / weight.sum() + recipe.weight_penalty * projections.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    projections.write_to(tower)
