"""Trains tiny's aggregation on costs as they are of words and photographs that the projections have not seen.

Projections fit what they were trained on far better than anything else, so what is missing from their costs can't be
learnt there. Cross-fitting: the photographs are dealt into groups, and the costs of a group come from projections that
were fitted on the others; and these know only some of the words, so that the aggregation learns what costs of new words
look like. It never learns a word by its name: the guidance by text is off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import Votes
from segvoc.networks.base import CostAggregation
from segvoc.networks.choices import layers_of
from segvoc.networks.tiny import TinyAggregationConfig
from tools.tiny.features import Features
from tools.tiny.photos import DATA_SETS
from tools.tiny.training import Fits, Projections, vocabularies

COST_WEIGHTS = (0.8, 1.2, 0.5)
NOVELTY_WEIGHTS = (0.0, 0.0, 1.0)
"""What a wholly new word adds to the weights: only ImageNet's classes say something of it."""

RESIDUAL = 0.5
"""Share of what the aggregation adds that is kept: all of it costs unseen words what it gives to seen ones."""

MASKED = -1e4


@dataclass(frozen=True, kw_only=True)
class RefinementRecipe:
    """How the aggregation is trained.

    groups: that the photographs are dealt into. hidden: share of words that projections don't know; each view is seen
    with each of them equally often. classes: words of a view, those with the most votes; of half the views from its
    data set's whole vocabulary, of the others from a random part. shares: of the data sets among the views.
    """

    steps: int = 300
    views: int = 8
    classes: int = 20
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    rarity: float = 0.5
    groups: int = 5
    hidden: tuple[float, ...] = (0.0, 0.25, 0.5)
    whole_vocabulary: float = 0.5
    shares: tuple[float, ...] = (0.6, 0.25, 0.15)
    seed: int = 0


RECIPE = RefinementRecipe()


@dataclass(frozen=True, kw_only=True)
class CrossFit:
    """The fits of one model: the first is the model's own, then one for each share of hidden words and each group.

    fits: of all. group (N): of each photograph.
    """

    fits: Fits
    group: Tensor

    @classmethod
    def deal(cls, photos: Tensor, words: Tensor, seed: int, recipe: RefinementRecipe = RECIPE) -> "CrossFit":
        """Deal at random: a model that may learn from `photos` (N) and `words` (T)."""
        chance = torch.Generator().manual_seed(seed)
        group = torch.randint(recipe.groups, photos.shape, generator=chance).to(photos.device)
        of_fits, words_of_fits = [photos], [words]
        for hidden in recipe.hidden:
            for number in range(recipe.groups):
                of_fits.append(photos & (group != number))
                known = torch.rand(words.shape, generator=chance).to(words.device) >= hidden
                words_of_fits.append(words & known)
        return cls(fits=Fits(photos=torch.stack(of_fits), words=torch.stack(words_of_fits)), group=group)


def cost_weights(text: Tensor, known: Tensor) -> Tensor:
    """Weights of the three costs (F T 3) of each word, where fits know different words (F T)."""
    alike = (text @ text.T)[None].masked_fill(~known[:, None], -1.0)
    novelty = 1 - alike.amax(dim=2, keepdim=True)
    return torch.tensor(COST_WEIGHTS, device=text.device) + novelty * torch.tensor(NOVELTY_WEIGHTS, device=text.device)


def new_aggregation(features: Features, familiar: Tensor, seed: int) -> CostAggregation:
    """The aggregation before training: it adds nothing to the sum. Its convolutions see maps of like size."""
    torch.manual_seed(seed)
    config = TinyAggregationConfig(familiar_words=len(familiar))
    channels, taps = familiar.shape[1], EfficientNetLite.tap_channels
    aggregation = CostAggregation(config, layers_of(config), channels, taps).to(familiar.device)
    values = {"weight": torch.tensor(COST_WEIGHTS), "novelty_weight": torch.tensor(NOVELTY_WEIGHTS)}
    aggregation.get_submodule("skip").load_state_dict(values | {"bias": torch.zeros(()), "familiar": familiar})
    aggregation.get_submodule("skip").requires_grad_(False)
    aggregation.text_guidance.requires_grad_(False)
    with torch.no_grad():
        for parameter in aggregation.text_guidance.parameters():
            parameter.zero_()
        aggregation.embed_cost.weight.mul_(4.0)
        sample = features.stages[::16].float()
        guidance, mean, std = aggregation.guidance, sample.mean(dim=(0, 2, 3)), sample.std(dim=(0, 2, 3))
        guidance.weight.div_(std[:, None, None])
        guidance.get_parameter("bias").sub_(torch.einsum("dcij,c->d", guidance.weight, mean))
        for convolution, tap in zip(aggregation.decoder.guidance, features.fine, strict=True):
            convolution.get_parameter("weight").div_(tap[::16].float().std(dim=(0, 2, 3))[:, None, None])
    return aggregation


class _Rarity:
    """How much a pixel of each data set and word weighs: rare words more, unlabelled ones nothing."""

    def __init__(self, labels: Tensor, data_set: Tensor, words: int, exponent: float) -> None:
        counts = torch.stack(
            [torch.bincount(labels[data_set == d].flatten(), minlength=words + 2) for d in range(len(DATA_SETS))]
        )[:, :-1].float()
        frequency = counts / counts.sum() * 1e4 + 2.0
        weight = (frequency / frequency.sum(dim=1, keepdim=True)) ** -exponent
        self.weight = F.pad(weight / weight.amin(dim=1, keepdim=True), (0, 1))

    def __call__(self, labels: Tensor, data_set: Tensor) -> Tensor:
        return self.weight[data_set].gather(1, labels.flatten(1)).view_as(labels)


def _vote(costs: Tensor, vocabulary: Tensor) -> Tensor:
    """Votes (B T) for the words of each view's vocabulary (B T) by their summed costs (B T h w); others come last."""
    return Votes()(costs.masked_fill(~vocabulary[:, :, None, None], MASKED)[:, None]) + vocabulary.float()


@torch.enable_grad()
def train_aggregation(
    tower: EfficientNetLite,
    features: Features,
    words: Sequence[str],
    text: Tensor,
    cross_fit: CrossFit,
    projections: Projections,
    recipe: RefinementRecipe = RECIPE,
) -> CostAggregation:
    """An aggregation that refines the costs of the model whose fits these are, in evaluation mode.

    Softmax cross-entropy of every fourth pixel against the words that the most cells vote for, and "none of them" where
    the data set has that.

    Args:
        tower: its trunk made `features`, its class embeddings are not centred.
        features: of all photographs.
        words: all words.
        text: their embeddings (T C).
        cross_fit: the model's fits.
        projections: their results, in the same order.
        recipe: the shipped one.
    """
    device, may_learn = features.device, cross_fit.fits.words[0]
    random = torch.Generator(device).manual_seed(recipe.seed)
    aggregation = new_aggregation(features, text[may_learn], recipe.seed).train()
    learnt = [p for p in aggregation.parameters() if p.requires_grad]
    scale = nn.Parameter(torch.tensor(10.0, device=device))
    none = nn.Parameter(torch.zeros(len(DATA_SETS), device=device))
    groups = [{"params": learnt}, {"params": [scale, none], "lr": 0.05, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    peaks = [recipe.learning_rate, 0.05]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=recipe.steps, pct_start=0.1)
    own = cross_fit.fits.photos[0][features.photo].nonzero()[:, 0]
    data_set = features.data_set[features.photo]
    chance = torch.tensor(recipe.shares, device=device)[data_set[own]]
    chance = chance / torch.bincount(data_set[own], minlength=len(DATA_SETS))[data_set[own]]
    many = (recipe.steps, recipe.views)
    drawn = own[torch.multinomial(chance, recipe.steps * recipe.views, replacement=True, generator=random)].view(many)
    hidden = torch.randint(len(recipe.hidden), many, device=device, generator=random)
    allowed = vocabularies(features.photos, words, device) & may_learn
    labels = _without(features.labels[own].long(), may_learn)
    rarity = _Rarity(labels, data_set[own], len(words), recipe.rarity)
    weights = cost_weights(text, cross_fit.fits.words)
    context = AggregationContext((2, 2), None, recipe.classes)
    for step in range(recipe.steps):
        views, sets = drawn[step], data_set[drawn[step]]
        fits = 1 + hidden[step] * recipe.groups + cross_fit.group[features.photo[views]]
        stages, label = features.stages[views].float(), _without(features.labels[views].long(), may_learn)
        with torch.no_grad():
            maps = projections.maps(fits, tower, stages)
            costs = torch.stack([torch.einsum("bchw,tc->bthw", F.normalize(m, dim=1), text) for m in maps], dim=1)
            summed = torch.einsum("bpthw,btp->bthw", costs, weights[fits])
            vocabulary = _vocabulary(allowed[sets], recipe, random)
            chosen = _vote(summed, vocabulary).topk(recipe.classes, dim=1).indices
        place = torch.full((len(views), len(words) + 2), -1, device=device)
        place.scatter_(1, chosen, torch.arange(recipe.classes, device=device).expand_as(chosen))
        place[:, len(words)] = recipe.classes
        target = place.gather(1, label.flatten(1)).view_as(label)
        costs = torch.cat([costs, summed[:, None]], dim=1)
        costs = costs.take_along_dim(chosen[:, None, :, None, None], dim=2)
        guidance = (stages, *(tap[views].float() for tap in features.fine))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            refined = aggregation.refined(costs, text[chosen][:, :, None], guidance, context).float()
        refined = refined + (scale - 1) * F.interpolate(costs[:, -1], size=refined.shape[2:], mode="bilinear")
        refined = refined.masked_fill(~vocabulary.gather(1, chosen)[:, :, None, None], MASKED)
        no_word = none[sets].masked_fill(sets == 0, MASKED)[:, None, None, None].expand(-1, 1, *refined.shape[2:])
        entropy = F.cross_entropy(torch.cat([refined, no_word], dim=1), target.clamp(min=0), reduction="none")
        weight = rarity(label, sets) * (target >= 0)
        loss = (entropy * weight).sum() / weight.sum().clamp(min=1)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*learnt, scale, none], recipe.clip_norm)
        optimiser.step()
        schedule.step()
    rescale(aggregation, scale.item(), RESIDUAL)
    return aggregation.eval()


def _without(labels: Tensor, may_learn: Tensor) -> Tensor:
    """Labels with the words that may not be learnt as unlabelled."""
    table = torch.arange(len(may_learn) + 2, device=labels.device)
    table[: len(may_learn)][~may_learn] = len(may_learn) + 1
    return table[labels]


def _vocabulary(allowed: Tensor, recipe: RefinementRecipe, random: torch.Generator) -> Tensor:
    """Words that each view is offered (B T): all that it may be, or a random part of at least `recipe.classes`."""
    least = (recipe.classes + 2) / allowed.sum(dim=1, keepdim=True).clamp(min=1)
    part = least ** torch.rand(least.shape, device=allowed.device, generator=random)
    whole = torch.rand(least.shape, device=allowed.device, generator=random) < recipe.whole_vocabulary
    draw = torch.rand(allowed.shape, device=allowed.device, generator=random)
    return allowed & (draw < torch.where(whole, 1.0, part))


@torch.no_grad()
def rescale(aggregation: CostAggregation, scale: float, residual: float, bias: float = 0.0) -> None:
    """Change the logits to scale * sum + residual * what the aggregation adds + bias, in place."""
    skip, head = aggregation.get_submodule("skip"), aggregation.decoder.head
    skip.get_parameter("weight").mul_(scale)
    skip.get_parameter("novelty_weight").mul_(scale)
    aggregation.embed_cost.weight[:, -1].div_(scale)
    head.weight.mul_(residual)
    head.get_parameter("bias").mul_(residual).add_(bias)
