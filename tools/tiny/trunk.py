"""Trains the last stages of the trunk along with the projections, and keeps what they say of ImageNet's classes.

The lower stages are frozen, so training starts from their cached outputs. Depthwise kernels stay as they are: they are
few, and their gradients take longer on a CPU than all others together.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.efficientnet import UPPER, EfficientNetLite, InvertedResidual
from tools.tiny.features import CELLS, Features, TrainingData
from tools.tiny.optimization import Optimization
from tools.tiny.photos import DATA_SETS, MORE, SHARES
from tools.tiny.projections import Alternatives, Projections, cell_shares, rarity_of, smoothed

EVERY_SET = tuple((name, one.trunk) for name, one in SHARES.items())
"""The balance of all data sets."""

WITHOUT_MORE = tuple((name, share) for name, share in EVERY_SET if name not in MORE)
"""Without those sets that show few words in many photographs."""


@dataclass(frozen=True, kw_only=True)
class TrunkRecipe:
    """How the last stages are trained."""

    steps: int = 1500
    """Optimizer steps."""
    views: int = 8
    """Views of a step."""
    window: int = 16
    """Side of the random part of a view's cells that a step sees [cells]."""
    learning_rate: float = 1.5e-4
    """Of the trunk."""
    projection_rate: float = 3e-4
    """Learning rate of the projections."""
    none_rate: float = 1e-2
    """Learning rate of the logits for "none of the words"."""
    weight_penalty: float = 0.005
    """Of the projections' squared weights."""
    distilled: int = 3
    """Views whose ImageNet probabilities are compared with those of the trunk as it was."""
    distillation: float = 1.0
    """Weight of that comparison, a Kullback-Leibler divergence, in the loss."""
    rarity: float = 0.5
    """A cell weighs (frequency of its word) ** -rarity."""
    whole: float = 0.35
    """Share of whole images among the labeled views; the others are crops."""
    shares: tuple[tuple[str, float], ...] = EVERY_SET
    """How often a photograph of each data set is drawn, relative to the others."""
    seed: int = 0
    """Of all random choices."""


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution of stride 1 with a fixed kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.dilation = dilation
        return _depthwise(x, kernel, dilation)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (kernel,) = ctx.saved_tensors
        return _depthwise(grads[0], kernel.flip(2, 3), ctx.dilation), None, None


def _depthwise(x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    padding = dilation * (kernel.shape[2] - 1) // 2
    return F.conv2d(x, kernel, padding=padding, dilation=dilation, groups=len(kernel))


class _Folded(nn.Module):
    """A convolution with its batch norm folded in; only a pointwise one learns its weight."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.convolution, self.norm = (convolution,), (norm,)  # in tuples: they aren't parts of this module
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        factor = norm.weight / (variance + norm.eps).sqrt()
        self.weight = nn.Parameter((convolution.weight * factor[:, None, None, None]).detach().clone())
        self.bias = nn.Parameter((norm.bias - mean * factor).detach().clone())
        self.dilation = convolution.dilation[0]
        self.depthwise = convolution.groups > 1
        self.weight.requires_grad_(not self.depthwise)

    def forward(self, x: Tensor) -> Tensor:
        if self.depthwise:
            return cast(Tensor, _Depthwise.apply(x, self.weight, self.dilation)) + self.bias[:, None, None]
        return F.conv2d(x, self.weight, self.bias)

    @torch.no_grad()
    def write_back(self) -> None:
        (convolution,), (norm,) = self.convolution, self.norm
        convolution.weight.copy_(self.weight)
        cast(Tensor, norm.running_mean).zero_()
        cast(Tensor, norm.running_var).fill_(1 - norm.eps)
        norm.weight.fill_(1)
        norm.bias.copy_(self.bias)


class UpperTrunk(nn.Module):
    """The last stages and the head of a tower's trunk in evaluation mode, as modules that train fast on a CPU."""

    def __init__(self, tower: EfficientNetLite) -> None:
        """Copy the weights of `tower`."""
        super().__init__()
        blocks = [b for stage in list(tower.trunk.blocks.children())[UPPER:] for b in stage.children()]
        layers: list[nn.Module] = []
        self.residual: list[bool] = []
        for block in cast(list[InvertedResidual], blocks):
            pairs = ((block.conv_pw, block.bn1), (block.conv_dw, block.bn2), (block.conv_pwl, block.bn3))
            layers += [_Folded(c, n) for c, n in pairs]
            self.residual.append(block.has_skip)
        self.layers = nn.ModuleList(layers)
        self.head = _Folded(tower.trunk.conv_head, tower.trunk.bn2)

    def forward(self, middle: Tensor) -> tuple[Tensor, Tensor]:
        """The last stage (B 352 h w) and the head (B 1280 h w) of the stride-16 stage (B 120 h w)."""
        x = middle
        for number, residual in enumerate(self.residual):
            expand, depthwise, project = self.layers[3 * number : 3 * number + 3]
            y = project(F.relu6(depthwise(F.relu6(expand(x)))))
            x = x + y if residual else y
        return x, F.relu6(self.head(x))

    def write_back(self) -> None:
        """Write the weights into the tower that they were copied from."""
        for module in self.modules():
            if isinstance(module, _Folded):
                module.write_back()


def tune(
    data: TrainingData, photos: Tensor, known: Tensor, start: Projections, recipe: TrunkRecipe, unfinished: Path
) -> Projections:
    """Train the last stages of the data's tower in place, together with one pair of projections, which are returned.

    The loss is that of `fit_projections` plus the Kullback-Leibler divergence between the ImageNet probabilities of
    before and now.

    Args:
        data: with an own copy of the tower.
        photos: which photographs (N) may be learned from.
        known: which words (T) may be learned.
        start: projections fitted on the trunk as it was, one fit.
        recipe: how.
        unfinished: see `Optimization`.
    """
    tower, features, words, text = data.tower, data.features, data.words, data.text
    device = features.device
    random = torch.Generator().manual_seed(recipe.seed)
    upper, before = UpperTrunk(tower).to(device), UpperTrunk(tower).to(device).requires_grad_(False)
    std = start.std[0]
    head, stages = start.head[0].clone(), start.stages[0] * std[:, None]
    bias, none = start.head_bias[0] + start.stages_bias[0], start.none[0].clone()
    learned = [nn.Parameter(x) for x in (head, stages, bias)]
    none = nn.Parameter(none)
    trunk = [p for p in upper.parameters() if p.requires_grad]
    rates = [recipe.learning_rate, recipe.projection_rate, recipe.none_rate]
    groups = [{"params": params, "lr": lr} for params, lr in zip((trunk, learned, [none]), rates, strict=True)]
    training = Optimization("trunk", groups, recipe.steps, random, unfinished=unfinished)
    draw = _Draw(features, photos, recipe, random)
    rarity = rarity_of(features, photos, len(words), dict(recipe.shares), recipe.rarity)
    alternatives = Alternatives(data, known)
    known_or_none = F.pad(known, (0, 1), value=True)
    for step in training.steps():
        middle, labels, sets = draw()
        last, top = upper(middle)
        place = torch.einsum("bchw,cd->bhwd", smoothed(top), learned[0])
        place = place + torch.einsum("bchw,cd->bhwd", torch.cat([middle, last], 1), learned[1] / std[:, None])
        logits = (place + learned[2]).flatten(1, 2) @ text.T
        share = cell_shares(labels, len(words)) * known_or_none
        total = share.sum(dim=2)
        share = share / total.clamp(min=1e-3)[..., None]
        weight = total * (total > 0.25) * (share * rarity[sets][:, None]).sum(dim=2)
        logits = torch.cat([logits, none[sets][:, None, None].expand(-1, logits.shape[1], 1)], dim=2)
        entropy = alternatives.entropy(logits, share, sets)
        loss = (entropy * weight).sum() / weight.sum().clamp(min=1e-3)
        some = torch.randperm(len(middle), generator=random)[: recipe.distilled].to(device)
        with torch.no_grad():
            teacher = tower.class_logits(before(middle[some])[1]).log_softmax(dim=-1)
        student = tower.class_logits(top[some]).log_softmax(dim=-1)
        loss = loss + recipe.distillation * (teacher.exp() * (teacher - student)).sum(dim=-1).mean()
        loss = loss + recipe.weight_penalty * (learned[0].square().sum() + learned[1].square().sum())
        training.step(step, loss)
    upper.write_back()
    with torch.no_grad():
        return replace(
            start,
            head=learned[0].detach()[None],
            head_bias=learned[2].detach()[None] / 2,
            stages=(learned[1] / std[:, None]).detach()[None],
            stages_bias=learned[2].detach()[None] / 2,
            none=none.detach()[None],
        )


class _Draw:
    """Draws the views of a step: random windows of cells, half of them mirrored."""

    def __init__(self, features: Features, photos: Tensor, recipe: TrunkRecipe, random: torch.Generator) -> None:
        self.features, self.recipe, self.random = features, recipe, random
        shares = dict(recipe.shares)
        chance = torch.tensor([shares.get(DATA_SETS[d], 0.0) for d in features.data_set.tolist()])
        self.chance = chance * photos.cpu()
        self.crops: dict[int, list[int]] = {}
        for view, photo in enumerate(features.photo.tolist()[len(features.photos) :], start=len(features.photos)):
            self.crops.setdefault(photo, []).append(view)

    def _below(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self.random))

    def __call__(self) -> tuple[Tensor, Tensor, Tensor]:
        """Stride-16 stage (B 120 w w), labels (B 4w 4w) and data set (B)."""
        recipe, features = self.recipe, self.features
        drawn = torch.multinomial(self.chance, recipe.views, replacement=True, generator=self.random).tolist()
        middle, labels = [], []
        for photo in drawn:
            crops = self.crops.get(photo, [])
            whole = not crops or float(torch.rand((), generator=self.random)) < recipe.whole
            view = photo if whole else crops[self._below(len(crops))]
            top, left = (self._below(CELLS - recipe.window + 1) for _ in range(2))
            x = features.middle[view, :, top : top + recipe.window, left : left + recipe.window]
            y = features.labels[view, 4 * top : 4 * (top + recipe.window), 4 * left : 4 * (left + recipe.window)]
            mirrored = bool(self._below(2))
            middle.append((x.flip(-1) if mirrored else x).float())
            labels.append((y.flip(-1) if mirrored else y).long())
        sets = features.data_set[torch.tensor(drawn, device=features.device)]
        return torch.stack(middle).contiguous(memory_format=torch.channels_last), torch.stack(labels), sets
