"""Fits tiny's two projections on cells of labelled photographs; the trunk stays as it is.

A cross-validation needs hundreds of fits, each without some photographs and some words. They run side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from segvoc.encoders.efficientnet import EfficientNetLite
from tools.tiny.features import Features
from tools.tiny.photos import DATA_SETS, Photo

CENTRED = 0.9
"""Share of an average cell's ConSE that is taken from every class embedding: else a few words are close to all cells.

Probabilities add up to one, so this is a shift of all classes. It needs photographs, but no labels.
"""


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
    at_once: int = 96


@dataclass(frozen=True, kw_only=True)
class Fits:
    """Which photographs (F N) and which words (F T) each of F fits learns from."""

    photos: Tensor
    words: Tensor

    def part(self, start: int, count: int) -> "Fits":
        """Some of them."""
        return Fits(photos=self.photos[start : start + count], words=self.words[start : start + count])


@dataclass(frozen=True, kw_only=True)
class Projections:
    """Weights of F fits: head (F 1280 C), stages (F 472 C), their biases (F C), and the shift of ConSE's map (F C)."""

    head: Tensor
    head_bias: Tensor
    stages: Tensor
    stages_bias: Tensor
    shift: Tensor

    def part(self, start: int, count: int) -> "Projections":
        """Some of them."""
        return Projections(**{f.name: getattr(self, f.name)[start : start + count] for f in fields(self)})

    def maps(self, fits: Tensor, tower: EfficientNetLite, stages: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tower's three maps (B C h w) of the trunk's `stages` (B 472 h w), each view by the fit of its number."""
        head = tower.head(stages[:, 120:])

        def projected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            cells = torch.baddbmm(bias[fits][:, None], x.flatten(2).mT, weight[fits])
            return cells.mT.unflatten(2, x.shape[2:])

        conse = tower.conse(head) - self.shift[fits][:, :, None, None]
        first, second = projected(head, self.head, self.head_bias), projected(stages, self.stages, self.stages_bias)
        return smoothed(first), second, smoothed(conse)

    def write_to(self, tower: EfficientNetLite, fit: int) -> None:
        """Make one fit the tower's own; its class embeddings are those that were not centred yet."""
        with torch.no_grad():
            tower.project_head.weight.copy_(self.head[fit].T[:, :, None, None])
            tower.project_head.get_parameter("bias").copy_(self.head_bias[fit])
            tower.project_stages.weight.copy_(self.stages[fit].T[:, :, None, None])
            tower.project_stages.get_parameter("bias").copy_(self.stages_bias[fit])
            tower.class_embeddings.sub_(self.shift[fit])


def smoothed(maps: Tensor) -> Tensor:
    """Means of 3x3 cells, as the tower takes them."""
    return F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)


def vocabularies(photos: Sequence[Photo], words: Sequence[str], device: torch.device) -> Tensor:
    """Words that a cell of each data set chooses from (data sets, words)."""
    allowed = torch.zeros(len(DATA_SETS), len(words), dtype=torch.bool)
    for photo in {photo.data_set: photo for photo in photos}.values():
        chosen = [words.index(word) for word in photo.words if word is not None]
        allowed[DATA_SETS.index(photo.data_set), chosen] = True
    return allowed.to(device)


def fit_projections(
    tower: EfficientNetLite,
    features: Features,
    words: Sequence[str],
    text: Tensor,
    fits: Fits,
    recipe: Recipe | None = None,
) -> Projections:
    """Projections of all fits.

    Softmax cross-entropy of (c1 + c2) · text against the words of each cell, over the vocabulary of the cell's data set
    and one more logit for "none of them". Dot products, not cosines: the size of the weights is what is penalised. The
    third map takes no part: with it the projections learn to contradict it. All weights start at zero: whatever the
    photographs do not ask for stays zero. Random weights of usual size fit the training cells as well, and give 10
    points less accuracy on other photographs.

    Args:
        tower: its trunk made `features`, its class embeddings are not centred.
        features: of all photographs.
        words: names of the target columns.
        text: their embeddings (T C).
        fits: what each learns from: pixels of other words count as unlabelled, and these are no alternatives either.
        recipe: None for the shipped one.
    """
    recipe = recipe or Recipe()
    with torch.no_grad():
        stages = features.stages[: features.whole]
        head = torch.cat([tower.head(part[:, 120:].float()).half() for part in stages.split(32)])
        cells = _Cells(features, head, stages, vocabularies(features.photos, words, features.device))
    parts = [
        _fit(cells, fits.part(start, recipe.at_once), text, tower.class_embeddings, recipe)
        for start in range(0, len(fits.photos), recipe.at_once)
    ]
    return Projections(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Projections)})


class _Cells:
    """Cells of whole pictures as rows, and moments of each photograph's stages."""

    def __init__(self, features: Features, head: Tensor, stages: Tensor, allowed: Tensor) -> None:
        self.head, self.stages = head.flatten(2).mT.flatten(0, 1), stages.flatten(2).mT.flatten(0, 1)
        self.targets, self.allowed = features.targets.flatten(0, 1), allowed
        self.photo = features.photo[: features.whole].repeat_interleave(features.targets.shape[1])
        self.data_set = features.data_set[self.photo]
        self.labelled = self.targets.sum(dim=1, dtype=torch.int32) > 64
        self.probabilities = features.probabilities
        sample = stages.flatten(2)[:, :, ::7].float().unflatten(0, (-1, 2))
        self.mean, self.square = sample.mean(dim=(1, 3)), sample.square().mean(dim=(1, 3))

    def drawn(self, photos: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
        """A random pass: some cells of each photograph, in random order."""
        shares = torch.tensor([dict(recipe.shares)[name] for name in DATA_SETS], device=self.photo.device)
        chance = shares[self.data_set] * self.labelled * photos[self.photo]
        chosen = (torch.rand(len(chance), device=chance.device, generator=generator) < chance).nonzero()[:, 0]
        return chosen[torch.randperm(len(chosen), device=chance.device, generator=generator)]

    def rarity(self, chosen: Tensor, exponent: float) -> Tensor:
        """How much a cell of each data set and word weighs (data sets, words+1)."""
        frequency = torch.full((len(DATA_SETS), self.targets.shape[1]), 256.0 * 20, device=self.photo.device)
        frequency.index_add_(0, self.data_set[chosen], self.targets[chosen].float())
        return (frequency / frequency.sum(dim=1, keepdim=True)) ** -exponent

    def plan(self, photos: Tensor, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The cells of each step (steps cells), and the rarity of words among them."""
        passes = [self.drawn(photos, recipe, generator)]
        rarity, wanted = self.rarity(passes[0], recipe.rarity), recipe.steps * recipe.cells
        while sum(map(len, passes)) < wanted:
            passes.append(self.drawn(photos, recipe, generator))
        return torch.cat(passes)[:wanted].view(recipe.steps, recipe.cells).int(), rarity


def _fit(cells: _Cells, fits: Fits, text: Tensor, class_embeddings: Tensor, recipe: Recipe) -> Projections:
    device, count = cells.photo.device, len(fits.photos)
    generator = torch.Generator(device).manual_seed(recipe.seed)
    plans = [cells.plan(photos, recipe, generator) for photos in fits.photos]
    steps, rarity = torch.stack([plan for plan, _ in plans], dim=1), torch.stack([rare for _, rare in plans])
    weight = fits.photos / fits.photos.sum(dim=1, keepdim=True)
    mean = weight @ cells.mean
    std = (weight @ cells.square - mean.square()).sqrt()
    rows, columns, channels = cells.head.shape[1], cells.stages.shape[1], text.shape[1]
    shapes = ((count, rows, channels), (count, columns, channels), (count, 1, channels), (count, len(DATA_SETS)))
    head, stages, bias, none = (torch.zeros(shape, device=device, requires_grad=True) for shape in shapes)
    peaks = [recipe.learning_rate, 50 * recipe.learning_rate]
    groups = [{"params": [head, stages, bias]}, {"params": [none], "lr": peaks[1]}]
    optimiser = torch.optim.Adam(groups, lr=peaks[0])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=recipe.steps, pct_start=0.1)
    allowed = cells.allowed & fits.words[:, None]
    known = F.pad(fits.words, (0, 1), value=True)[:, None]
    fit = torch.arange(count, device=device)[:, None]
    for step in steps:
        index = step.long()
        data_set = cells.data_set[index]
        targets = cells.targets[index] * known
        share = targets / targets.sum(dim=2, keepdim=True).clamp(min=1)
        weight = targets.sum(dim=2) * (share * rarity[fit, data_set]).sum(dim=2)
        # both maps have a bias, and in the sum of both each learns the same
        first = torch.baddbmm(2 * bias, cells.head[index].float(), head)
        place = first + (cells.stages[index].float() - mean[:, None]) / std[:, None] @ stages
        logits = (place @ text.T).masked_fill(~allowed[fit, data_set], -1e4)
        logits = torch.cat([logits, none[fit, data_set][..., None]], dim=2)
        entropy = -(share * logits.log_softmax(dim=2)).sum(dim=2)
        loss = ((entropy * weight).sum(dim=1) / weight.sum(dim=1)).sum()
        loss = loss + recipe.weight_penalty * (head.square().sum() + stages.square().sum())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        scaled = stages / std[:, :, None]
        of_an_average_cell = fits.photos / fits.photos.sum(dim=1, keepdim=True) @ cells.probabilities
        return Projections(
            head=head.detach(),
            head_bias=bias.detach()[:, 0],
            stages=scaled,
            stages_bias=(bias - mean[:, None] @ scaled)[:, 0],
            shift=CENTRED * (of_an_average_cell @ class_embeddings),
        )
