"""Fits tiny's two projections on cells of labeled photographs.

A model needs several fits, each without some photographs and some words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.efficientnet import EfficientNetLite, smoothed
from segvoc.models.decisions import SURROUNDINGS
from tools.tiny.features import Features, TrainingData
from tools.tiny.optimization import Optimization
from tools.tiny.photos import DATA_SETS, MORE, SHARES

CENTERED = 0.9
"""Share of an average cell's ConSE that is taken from every class embedding: else a few words are close to all cells.

Probabilities add up to one, so this is a shift of all classes. It needs photographs, but no labels.
"""


@dataclass(frozen=True, kw_only=True)
class ProjectionRecipe:
    """How the projections are fitted."""

    steps: int = 400
    """Optimizer steps."""
    cells: int = 1024
    """Cells of a step."""
    kept: int = 260
    """Labeled cells of a photograph that are looked at."""
    kept_of_more: int = 64
    """The same of a photograph of `MORE`, which are many and alike: all cells take 8 GB."""
    learning_rate: float = 1e-3
    """Of the projections; the logits for "none of the words" learn fifty times as fast."""
    weight_penalty: float = 0.005
    """Of the squared weights."""
    rarity: float = 0.5
    """A cell weighs (frequency of its word) ** -rarity."""
    shares: tuple[tuple[str, float], ...] = tuple((name, one.projections) for name, one in SHARES.items())
    """How often a cell of each data set is drawn, relative to the others."""
    seed: int = 0
    """Of all random choices."""


@dataclass(frozen=True, kw_only=True)
class Fits:
    """Which photographs and which words each of F fits learns from."""

    photos: Tensor
    """Photographs (F N)."""
    words: Tensor
    """Words (F T)."""


@dataclass(frozen=True, kw_only=True)
class Projections:
    """Weights of F fits."""

    head: Tensor
    """Of the head (F 1280 C)."""
    head_bias: Tensor
    """Its bias (F C)."""
    stages: Tensor
    """Of the stride-16 stage and the last one (F 472 C)."""
    stages_bias: Tensor
    """Its bias (F C)."""
    none: Tensor
    """Logit of "none of the words" for each data set (F D)."""
    std: Tensor
    """Standard deviation of the stages' channels (F 472)."""
    shift: Tensor
    """Shift of the class embeddings that centers ConSE's map (F C)."""

    def part(self, start: int, count: int) -> "Projections":
        """Some of them."""
        return Projections(**{f.name: getattr(self, f.name)[start : start + count] for f in fields(self)})

    def maps(self, fits: Tensor, tower: EfficientNetLite, middle: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The tower's four maps (B C h w) of the stride-16 stage (B 120 h w), each view by the fit of its number.

        Returns:
            The maps, and the stages that guide the aggregation (B 472 h w).
        """
        last = tower.last_stage(middle)
        head, stages = tower.trunk.head(last), torch.cat([middle, last], dim=1)

        def projected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            cells = torch.baddbmm(bias[fits][:, None], x.flatten(2).mT, weight[fits])
            return cells.mT.unflatten(2, x.shape[2:])

        logits = tower.class_logits(head)
        conse = tower.conse(logits) - self.shift[fits][:, :, None, None]
        first, second = projected(head, self.head, self.head_bias), projected(stages, self.stages, self.stages_bias)
        return (smoothed(first), second, smoothed(conse), smoothed(logits.movedim(-1, 1))), stages

    def write_to(self, tower: EfficientNetLite, fit: int) -> None:
        """Make one fit the tower's own; its class embeddings are those that were not centered yet."""
        with torch.no_grad():
            tower.project_head.weight.copy_(self.head[fit].T[:, :, None, None])
            tower.project_head.get_parameter("bias").copy_(self.head_bias[fit])
            tower.project_stages.weight.copy_(self.stages[fit].T[:, :, None, None])
            tower.project_stages.get_parameter("bias").copy_(self.stages_bias[fit])
            tower.class_embeddings.sub_(self.shift[fit])


def cell_shares(labels: Tensor, words: int) -> Tensor:
    """Share of each word, and of none of them, in each cell (B h*w T+1), of labels at stride 4 (B 4h 4w)."""
    cells = labels.unflatten(2, (-1, 4)).unflatten(1, (-1, 4)).transpose(2, 3).flatten(3).flatten(1, 2).long()
    shares = torch.zeros(*cells.shape[:2], words + 2, device=labels.device)
    return shares.scatter_add_(2, cells, torch.ones_like(cells, dtype=shares.dtype))[..., :-1] / cells.shape[2]


class Alternatives:
    """What a cell of each data set chooses from, and what "none of the words" may stand for.

    Where a data set says "none of our words", there is most often stuff. If its cells choose from all kinds of stuff as
    well, and any of them is right where none of the words is, things learn to give way to stuff, although no label says
    to which. If they choose from the data set's own words only, things learn to be unlikely where they aren't. Both
    count equally.

    Attributes:
        own: the words of each data set (data sets, words+1), and, as the last, none of the words.
        none: what "none of the words" may stand for, itself included (data sets, words+1).
    """

    def __init__(self, data: TrainingData, known: Tensor) -> None:
        """Take the data sets' words, as far as they are `known` (T)."""
        place = {word: number for number, word in enumerate(data.words)}
        own = torch.zeros(len(DATA_SETS), len(place), dtype=torch.bool, device=known.device)
        stuff, says_none = torch.zeros_like(own[0]), torch.zeros_like(own[:, :1])
        for photo in {photo.data_set: photo for photo in data.features.photos}.values():
            data_set = DATA_SETS.index(photo.data_set)
            own[data_set, [place[word] for word in photo.words if word is not None]] = True
            says_none[data_set] = None in photo.words
        stuff[[place[word] for word in SURROUNDINGS if word in place]] = True
        self.own = F.pad(own & known, (0, 1), value=True)
        self.none = F.pad(says_none & stuff & ~own & known, (0, 1), value=True)

    def entropy(self, logits: Tensor, shares: Tensor, data_set: Tensor) -> Tensor:
        """Cross-entropy (... L) of cells' logits (... L words+1) with their shares (... L words+1).

        It is the mean of two: among the data set's own words, and among these and all kinds of stuff.

        Args:
            logits: of all words and of none of them.
            shares: sums of one.
            data_set: of each group of cells (...), or of each cell.
        """
        shape = (*data_set.shape, *(1,) * (logits.dim() - 1 - data_set.dim()), -1)
        own, none = self.own[data_set].view(shape), self.none[data_set].view(shape)
        total, alone = (logits.masked_fill(~allowed, -1e4).logsumexp(dim=-1) for allowed in (own | none, own))
        either = logits.masked_fill(~none, -1e4).logsumexp(dim=-1)
        words = shares[..., :-1].sum(dim=-1) * (total + alone) / 2 - (shares * logits)[..., :-1].sum(dim=-1)
        return words + shares[..., -1] * ((total - either) + (alone - logits[..., -1])) / 2


def rarity_of(features: Features, photos: Tensor, words: int, shares: Mapping[str, float], exponent: float) -> Tensor:
    """How much a cell of each data set and word weighs (data sets, words+1), the last for none of them."""
    counts = torch.zeros(len(DATA_SETS), words + 2, device=features.device)
    for number, name in enumerate(DATA_SETS):
        own = (photos & (features.data_set == number)).nonzero()[:, 0]
        labels = features.labels[own].long().flatten()  # whole images are the first views
        counts[number] = torch.bincount(labels, minlength=words + 2) / 16 * shares.get(name, 0.0)
    frequency = counts[:, :-1] + 0.4
    return (frequency / frequency.sum(dim=1, keepdim=True)) ** -exponent


@torch.no_grad()
def fit_projections(data: TrainingData, fits: Fits, recipe: ProjectionRecipe) -> Projections:
    """Projections of all fits.

    Softmax cross-entropy of (c1 + c2) · text against the words of each cell, over the `Alternatives` of the cell's data
    set and one more logit for "none of them". Dot products, not cosines: the size of the weights is what is penalized.
    The other maps take no part: with them the projections learn to contradict them. All weights start at zero: whatever
    the photographs do not ask for stays zero. Random weights of usual size fit the training cells as well, and give 10
    points less accuracy on other photographs.

    Pixels of words that a fit doesn't learn from count as unlabeled, and these are no alternatives either.
    """
    cells = _Cells(data, recipe)
    parts = [_fit(cells, data, photos, known, recipe) for photos, known in zip(fits.photos, fits.words, strict=True)]
    return Projections(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Projections)})


class _Cells:
    """Some labeled cells of whole images as rows, and moments of each photograph's stages and probabilities."""

    def __init__(self, data: TrainingData, recipe: ProjectionRecipe) -> None:
        tower, features, words = data.tower, data.features, len(data.words)
        device, random = features.device, torch.Generator().manual_seed(recipe.seed)
        count = len(features.photos)
        head, stages, targets, photo = [], [], [], []
        is_more = torch.tensor([photo.data_set in MORE for photo in features.photos], device=device)
        self.probabilities = torch.zeros(count, 1000, device=device)
        self.mean, self.square = (torch.zeros(count, tower.appearance_channels, device=device) for _ in range(2))
        for start in range(0, count, 4):  # glibc keeps no freed tensors of more than 32 MB
            views = torch.arange(start, min(start + 4, count), device=device)
            middle = features.middle[views].float().contiguous(memory_format=torch.channels_last)
            last = tower.last_stage(middle)
            top, both = tower.trunk.head(last), torch.cat([middle, last], dim=1)
            self.probabilities[views] = tower.class_logits(top).softmax(dim=-1).mean(dim=(1, 2))
            self.mean[views], self.square[views] = both.mean(dim=(2, 3)), both.square().mean(dim=(2, 3))
            target = (cell_shares(features.labels[views], words) * 255).to(torch.uint8)
            labeled = target.sum(dim=2, dtype=torch.int32) > 64
            draw = torch.rand(labeled.shape, generator=random).to(device).masked_fill(~labeled, 2.0)
            kept = torch.where(is_more[views], recipe.kept_of_more, recipe.kept)
            rows = (draw.argsort(dim=1).argsort(dim=1) < kept[:, None]) & labeled
            head.append(top.flatten(2).mT[rows].half())
            stages.append(both.flatten(2).mT[rows].half())
            targets.append(target[rows])
            photo.append(views[:, None].expand_as(rows)[rows])
        self.head, self.stages, self.targets = torch.cat(head), torch.cat(stages), torch.cat(targets)
        self.photo = torch.cat(photo)
        self.data_set = features.data_set[self.photo]


@torch.enable_grad()
def _fit(cells: _Cells, data: TrainingData, photos: Tensor, known: Tensor, recipe: ProjectionRecipe) -> Projections:
    text, device = data.text, cells.photo.device
    random = torch.Generator().manual_seed(recipe.seed)
    weight = photos.float()
    weight = weight / weight.sum()
    mean = weight @ cells.mean
    std = (weight @ cells.square - mean.square()).sqrt()
    known_or_none = F.pad(known, (0, 1), value=True)
    shares = torch.tensor([dict(recipe.shares).get(name, 0.0) for name in DATA_SETS], device=device)
    pool = photos[cells.photo] * shares[cells.data_set] * ((cells.targets * known_or_none).sum(dim=1) > 64)
    rows = pool.nonzero()[:, 0]
    bounds = pool[rows].double().cpu().cumsum(dim=0)
    rarity = rarity_of(data.features, photos, len(known), dict(recipe.shares), recipe.rarity)
    channels = text.shape[1]
    shapes = ((cells.head.shape[1], channels), (cells.stages.shape[1], channels), (channels,), (len(DATA_SETS),))
    head, stages, bias, none = (nn.Parameter(torch.zeros(shape, device=device)) for shape in shapes)
    groups = [
        {"params": [head, stages, bias], "lr": recipe.learning_rate},
        {"params": [none], "lr": 50 * recipe.learning_rate},
    ]
    training = Optimization("", groups, recipe.steps, random)
    alternatives = Alternatives(data, known)
    for step in training.steps():
        place = torch.rand(recipe.cells, generator=random, dtype=torch.double) * bounds[-1]
        index = rows[torch.searchsorted(bounds, place).to(device)]
        data_set = cells.data_set[index]
        targets = cells.targets[index].float() * known_or_none
        share = targets / targets.sum(dim=1, keepdim=True).clamp(min=1)
        size = targets.sum(dim=1) * (share * rarity[data_set]).sum(dim=1)
        # both maps have a bias, and in the sum of both each learns the same
        joint = cells.head[index].float() @ head + 2 * bias + (cells.stages[index].float() - mean) / std @ stages
        logits = torch.cat([joint @ text.T, none[data_set][:, None]], dim=1)
        entropy = alternatives.entropy(logits, share, data_set)
        loss = (entropy * size).sum() / size.sum()
        loss = loss + recipe.weight_penalty * (head.square().sum() + stages.square().sum())
        training.step(step, loss)
    with torch.no_grad():
        scaled = stages / std[:, None]
        return Projections(
            head=head.detach()[None],
            head_bias=bias.detach()[None],
            stages=scaled[None],
            stages_bias=(bias - mean @ scaled)[None],
            none=none.detach()[None],
            std=std[None],
            shift=(CENTERED * (weight @ cells.probabilities @ data.tower.class_embeddings))[None],
        )
