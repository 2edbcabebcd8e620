"""Trains tiny's aggregation on costs as they are of words and photographs that the projections have not seen.

Projections fit what they were trained on far better than anything else, so what is missing from their costs can't be
learned there. Cross-fitting: the photographs are dealt into groups, and the costs of a group come from projections that
were fitted on the others; and these know only some of the words, so that the aggregation learns what costs of new words
look like. It never learns a word by its name: the guidance by text is off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import count_votes
from segvoc.layers.selection import PUBLISHED_VOTES
from segvoc.networks.tiny import TinyAggregation, TinyAggregationConfig
from tools.tiny.features import TrainingData
from tools.tiny.optimization import Optimization
from tools.tiny.photos import DATA_SETS, SHARES
from tools.tiny.projections import Alternatives, Fits, Projections

MASKED = -1e4

AGGREGATION = TinyAggregationConfig()
"""The aggregation that is trained, with a fourth cost of classifiers blended from those of ImageNet's classes."""


@dataclass(frozen=True, kw_only=True)
class RefinementRecipe:
    """How the costs are summed, and how the aggregation that adds to the sum is trained."""

    cost_weights: tuple[float, float, float, float] = (0.8, 1.2, 0.5, 0.5)
    """Weights of the four costs in the sum."""
    novelty_weights: tuple[float, float, float, float] = (0.0, 0.0, 0.6, 1.5)
    """What a wholly new word adds to the weights: only ImageNet's classes say something of it. The more, the more new
    words are found, and the more they take of what belongs to others: "tower" of the sky."""
    steps: int = 400
    """Optimizer steps."""
    views: int = 4
    """Views of a step."""
    classes: int = 16
    """Words of a view: those with the most votes, of half the views from its data set's whole vocabulary, of the others
    from a random part."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.02
    """Of all weights."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    rarity: float = 0.5
    """A pixel weighs (frequency of its word) ** -rarity."""
    groups: int = 3
    """Groups that the photographs are dealt into."""
    hidden: tuple[float, ...] = (0.0, 0.4)
    """Shares of words that projections don't know; each view is seen with each of them equally often."""
    whole_vocabulary: float = 0.5
    """Share of the views that choose from their data set's whole vocabulary."""
    shares: tuple[tuple[str, float], ...] = tuple((name, one.aggregation) for name, one in SHARES.items())
    """Of the data sets among the views."""
    seed: int = 0
    """Of all random choices."""


@dataclass(frozen=True, kw_only=True)
class CrossFit:
    """The fits of one model: the first is the model's own, then one for each share of hidden words and each group."""

    fits: Fits
    """All of them."""
    group: Tensor
    """Group of each photograph (N)."""

    @classmethod
    def deal(
        cls, groups: Sequence[str], photos: Tensor, words: Tensor, seed: int, recipe: RefinementRecipe
    ) -> "CrossFit":
        """Deal at random what a model may learn from, `photos` (N) and `words` (T).

        Args:
            groups: photographs of one name (N) stay together.
            photos: the photographs.
            words: the words.
            seed: of the dealing.
            recipe: how many groups and hidden words.
        """
        chance = torch.Generator().manual_seed(seed)
        names = sorted(set(groups))
        drawn = dict(zip(names, torch.randint(recipe.groups, (len(names),), generator=chance).tolist(), strict=True))
        group = torch.tensor([drawn[name] for name in groups], device=photos.device)
        of_fits, words_of_fits = [photos], [words]
        for hidden in recipe.hidden:
            for number in range(recipe.groups):
                of_fits.append(photos & (group != number))
                known = torch.rand(words.shape, generator=chance).to(words.device) >= hidden
                words_of_fits.append(words & known)
        return cls(fits=Fits(photos=torch.stack(of_fits), words=torch.stack(words_of_fits)), group=group)


def cost_weights(text: Tensor, known: Tensor, recipe: RefinementRecipe) -> Tensor:
    """Weights of the costs (F T 4) of each word, where fits know different words (F T)."""
    alike = (text @ text.T)[None].masked_fill(~known[:, None], -1.0)
    novelty = 1 - alike.amax(dim=2, keepdim=True)
    weights, of_novelty = (torch.tensor(w, device=text.device) for w in (recipe.cost_weights, recipe.novelty_weights))
    return weights + novelty * of_novelty


def new_aggregation(data: TrainingData, known: Tensor, recipe: RefinementRecipe) -> TinyAggregation:
    """The aggregation before training: it adds nothing to the sum. Its convolutions see maps of like size."""
    torch.manual_seed(recipe.seed)
    tower, features, familiar = data.tower, data.features, data.text[known]
    config = replace(AGGREGATION, familiar_words=len(familiar))
    channels, taps = familiar.shape[1], EfficientNetLite.tap_channels
    aggregation = TinyAggregation(config, channels, taps).to(familiar.device)
    values = {"weight": torch.tensor(recipe.cost_weights), "novelty_weight": torch.tensor(recipe.novelty_weights)}
    aggregation.get_submodule("skip").load_state_dict(values | {"bias": torch.zeros(()), "familiar": familiar})
    aggregation.get_submodule("skip").requires_grad_(False)
    aggregation.get_submodule("synthesized").load_state_dict({"anchors": tower.class_embeddings})
    aggregation.text_guidance.requires_grad_(False)
    with torch.no_grad():
        for parameter in aggregation.text_guidance.parameters():
            parameter.zero_()
        aggregation.embed_cost.weight.mul_(4.0)
        middle = features.middle[::64].float()
        sample = torch.cat([middle, tower.last_stage(middle)], dim=1)
        guidance, mean, std = aggregation.guidance, sample.mean(dim=(0, 2, 3)), sample.std(dim=(0, 2, 3))
        weight = guidance.get_parameter("weight")
        weight.div_(std[:, None, None])
        guidance.get_parameter("bias").sub_(torch.einsum("dcij,c->d", weight, mean))
        taps_of = (features.stride_8, features.stride_4)
        for convolution, tap in zip(aggregation.decoder.guidance, taps_of, strict=True):
            convolution.get_parameter("weight").div_(tap[::64].float().std(dim=(0, 2, 3))[:, None, None])
    return aggregation


def _pixel_rarity(labels: Tensor, data_set: Tensor, words: int, exponent: float) -> Tensor:
    """How much a pixel of each data set and word weighs (D T+2): rare words more, unlabeled ones nothing."""
    counts = torch.stack(
        [torch.bincount(labels[data_set == d].flatten().long(), minlength=words + 2) for d in range(len(DATA_SETS))]
    )[:, :-1].float()
    frequency = counts / counts.sum() * 1e4 + 2.0
    weight = (frequency / frequency.sum(dim=1, keepdim=True)) ** -exponent
    return F.pad(weight / weight.amin(dim=1, keepdim=True), (0, 1))


def _vote(costs: Tensor, vocabulary: Tensor) -> Tensor:
    """Votes (B T) for the words of each view's vocabulary (B T) by their summed costs (B T h w); others come last."""
    return (
        count_votes(costs.masked_fill(~vocabulary[:, :, None, None], MASKED)[:, None], PUBLISHED_VOTES)
        + vocabulary.float()
    )


@torch.enable_grad()
def train_aggregation(
    data: TrainingData, cross_fit: CrossFit, projections: Projections, recipe: RefinementRecipe, unfinished: Path
) -> TinyAggregation:
    """An aggregation that refines the costs of the model whose fits these are, in evaluation mode.

    Softmax cross-entropy of every fourth pixel against the words that the most cells vote for and "none of them", which
    any kind of stuff may stand for where it is offered: in half of the views.

    Args:
        data: with the tower of the model.
        cross_fit: the model's fits.
        projections: their results, in the same order.
        recipe: how.
        unfinished: see `Optimization`.
    """
    tower, features, words, text = data.tower, data.features, data.words, data.text
    device, may_learn = features.device, cross_fit.fits.words[0]
    random = torch.Generator(device).manual_seed(recipe.seed)
    aggregation = new_aggregation(data, may_learn, recipe).train()
    learned = [p for p in aggregation.parameters() if p.requires_grad]
    scale = nn.Parameter(torch.tensor(10.0, device=device))
    none = nn.Parameter(torch.zeros(1, device=device))  # of all data sets, so that one threshold suits all
    groups = [
        {"params": learned, "lr": recipe.learning_rate},
        {"params": [scale, none], "lr": 0.05, "weight_decay": 0.0},
    ]
    data_set = features.data_set[features.photo]
    own = (cross_fit.fits.photos[0][features.photo]).nonzero()[:, 0]
    chance = torch.tensor([dict(recipe.shares).get(name, 0.0) for name in DATA_SETS], device=device)[data_set[own]]
    chance = chance / torch.bincount(data_set[own], minlength=len(DATA_SETS))[data_set[own]]
    many = (recipe.steps, recipe.views)
    drawn = own[torch.multinomial(chance, recipe.steps * recipe.views, replacement=True, generator=random)].view(many)
    hidden = torch.randint(len(recipe.hidden), many, device=device, generator=random)
    alternatives = Alternatives(data, may_learn)
    rarity = _pixel_rarity(_without(features.labels[own], may_learn), data_set[own], len(words), recipe.rarity)
    weights = cost_weights(text, cross_fit.fits.words, recipe)
    context = AggregationContext((2, 2), None, recipe.classes)
    # after all choices for the whole training, which a resumed one makes again
    training = Optimization(
        "aggregation", groups, recipe.steps, random, decay=recipe.weight_decay, unfinished=unfinished
    )
    for step in training.steps():
        views, sets = drawn[step], data_set[drawn[step]]
        fits = 1 + hidden[step] * recipe.groups + cross_fit.group[features.photo[views]]
        label = _without(features.labels[views], may_learn).long()
        with torch.no_grad():
            maps, stages = projections.maps(fits, tower, features.middle[views].float())
            costs = aggregation.costs(maps, text.expand(len(views), -1, -1)[:, :, None])
            summed = torch.einsum("bpthw,btp->bthw", costs, weights[fits])
            stuff = torch.rand(len(views), 1, device=device, generator=random) < 0.5
            offered = alternatives.own[sets] | (alternatives.none[sets] & stuff)
            vocabulary = _vocabulary(offered[:, :-1], recipe, random)
            chosen = _vote(summed, vocabulary).topk(recipe.classes, dim=1).indices
        place = torch.full((len(views), len(words) + 2), -1, device=device)
        place.scatter_(1, chosen, torch.arange(recipe.classes, device=device).expand_as(chosen))
        place[:, len(words)] = recipe.classes
        target = place.gather(1, label.flatten(1)).view_as(label)
        costs = torch.cat([costs, summed[:, None]], dim=1)
        costs = costs.take_along_dim(chosen[:, None, :, None, None], dim=2)
        guidance = (stages, features.stride_8[views].float(), features.stride_4[views].float())
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            refined = aggregation.refined(costs, text[chosen][:, :, None], guidance, context).float()
        refined = refined + (scale - 1) * F.interpolate(costs[:, -1], size=refined.shape[2:], mode="bilinear")
        refined = refined.masked_fill(~vocabulary.gather(1, chosen)[:, :, None, None], MASKED)
        no_word = none.view(1, 1, 1, 1).expand(len(views), 1, *refined.shape[2:])
        found = torch.cat([refined, no_word], dim=1).log_softmax(dim=1)
        stands = F.pad(alternatives.none[sets].gather(1, chosen), (0, 1), value=True)[:, :, None, None]
        either = found.masked_fill(~stands, MASKED).logsumexp(dim=1)
        exact = found.gather(1, target.clamp(min=0)[:, None])[:, 0]
        entropy = -torch.where(target == recipe.classes, either, exact)
        weight = rarity[sets].gather(1, label.flatten(1)).view_as(label) * (target >= 0)
        loss = (entropy * weight).sum() / weight.sum().clamp(min=1)
        training.step(step, loss, recipe.clip_norm)
    rescale(aggregation, scale.item())
    return aggregation.eval()


def _without(labels: Tensor, may_learn: Tensor) -> Tensor:
    """Labels with the words that may not be learned as unlabeled."""
    table = torch.arange(len(may_learn) + 2, device=labels.device, dtype=torch.short)
    table[: len(may_learn)][~may_learn] = len(may_learn) + 1
    return table[labels.long()]


def _vocabulary(allowed: Tensor, recipe: RefinementRecipe, random: torch.Generator) -> Tensor:
    """Words that each view is offered (B T): all that it may be, or a random part of at least `recipe.classes`."""
    least = (recipe.classes + 2) / allowed.sum(dim=1, keepdim=True).clamp(min=1)
    part = least.clamp(max=1) ** torch.rand(least.shape, device=allowed.device, generator=random)
    whole = torch.rand(least.shape, device=allowed.device, generator=random) < recipe.whole_vocabulary
    draw = torch.rand(allowed.shape, device=allowed.device, generator=random)
    return allowed & (draw < torch.where(whole, 1.0, part))


@torch.no_grad()
def rescale(aggregation: TinyAggregation, scale: float, added: float = 1.0, bias: float = 0.0) -> None:
    """Change the logits to scale * sum + added * what the aggregation adds to the sum + bias, in place."""
    skip, head = aggregation.get_submodule("skip"), aggregation.decoder.head
    skip.get_parameter("weight").mul_(scale)
    skip.get_parameter("novelty_weight").mul_(scale)
    aggregation.embed_cost.weight[:, -1].div_(scale)
    head.get_parameter("weight").mul_(added)
    head.get_parameter("bias").mul_(added).add_(bias)
