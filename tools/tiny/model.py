"""tiny as trained on some photographs and words: trunk, projections, and the aggregation on them."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import scatter_to_all
from segvoc.networks.tiny import TINY_SELECTION, TinyAggregation
from segvoc.storage.atomic_writes import write_atomically
from tools.tiny.features import TrainingData
from tools.tiny.projections import Fits, ProjectionRecipe, Projections, fit_projections
from tools.tiny.refinement import CrossFit, RefinementRecipe, new_aggregation, train_aggregation
from tools.tiny.trunk import WITHOUT_MORE, TrunkRecipe, tune


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained."""

    trunks: tuple[TrunkRecipe, ...] = (TrunkRecipe(), TrunkRecipe(shares=WITHOUT_MORE, seed=1))
    """How the trunk's last stages are trained, once each: from the same start, and the mean of the weights is taken
    (Wortsman et al., Model soups, ICML 2022)."""
    projections: ProjectionRecipe = field(default_factory=ProjectionRecipe)
    """How the projections are fitted."""
    refinement: RefinementRecipe = field(default_factory=RefinementRecipe)
    """How the aggregation is trained."""


SHIPPED = Recipe()


@dataclass(frozen=True, kw_only=True)
class Model:
    """One trained model."""

    data: TrainingData
    """What it was trained on, with its own trunk."""
    projections: Projections
    """One fit."""
    aggregation: TinyAggregation
    """What refines their costs."""

    @torch.no_grad()
    def logits(self, view: int, columns: Tensor) -> Tensor:
        """Logits (K h w) of the words of `columns` (K) in one view, as `segment` finds them."""
        features, views = self.data.features, torch.tensor([view], device=self.data.features.device)
        middle = features.middle[views].float()
        maps, stages = self.projections.maps(torch.zeros_like(views), self.data.tower, middle)
        guidance = (stages, features.stride_8[views].float(), features.stride_4[views].float())
        context = AggregationContext((2, 2), TINY_SELECTION, len(columns))
        logits, kept = self.aggregation(maps, self.data.text[columns][None, :, None], guidance, context)
        return scatter_to_all(logits, kept, len(columns))[0]


def train(data: TrainingData, photos: Tensor, known: Tensor, recipe: Recipe, seed: int = 0) -> Model:
    """Train a model; each stage that `data.cache` holds is taken from there, and an unfinished one goes on.

    Args:
        data: what to train on.
        photos: which photographs (N) it may learn from.
        known: which words (T) it may learn.
        recipe: how.
        seed: of how photographs are dealt into groups and which words are hidden.
    """
    base = ([photo.key for photo in data.features.photos], photos.tolist(), known.tolist(), recipe.projections)
    stages, data = Stages(data.cache), replace(data, tower=copy.deepcopy(data.tower))

    def tuned(trunk: TrunkRecipe, unfinished: Path) -> dict[str, Any]:
        alone = Fits(photos=photos[None], words=known[None])
        start = stages.computed("start", base, lambda _: vars(fit_projections(data, alone, recipe.projections)))
        own = replace(data, tower=copy.deepcopy(data.tower))
        found = tune(own, photos, known, Projections(**start), trunk, unfinished)
        return {"trunk": own.tower.trunk.state_dict(), "projections": vars(found)}

    each = [stages.computed("trunk", (*base, trunk), partial(tuned, trunk)) for trunk in recipe.trunks]
    tuned_base = (*base, recipe.trunks)
    data.tower.trunk.load_state_dict(_mean([one["trunk"] for one in each]))
    own = Projections(**_mean([one["projections"] for one in each]))
    groups = [photo.group for photo in data.features.photos]
    cross_fit = CrossFit.deal(groups, photos, known, seed, recipe.refinement)
    fit_base = (*tuned_base, seed, recipe.refinement.groups, recipe.refinement.hidden)
    fitted = stages.computed(
        "projections", fit_base, lambda _: vars(fit_projections(data, cross_fit.fits, recipe.projections))
    )
    projections = Projections(**fitted)

    def refined(unfinished: Path) -> dict[str, Any]:
        return train_aggregation(data, cross_fit, projections, recipe.refinement, unfinished).state_dict()

    aggregation = new_aggregation(data, known, recipe.refinement)
    aggregation.load_state_dict(stages.computed("aggregation", (*fit_base, recipe.refinement), refined))
    first = replace(own, shift=projections.part(0, 1).shift)
    return Model(data=data, projections=first, aggregation=aggregation.eval())


def _mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(first.dtype)
        for name, first in states[0].items()
    }


@dataclass(frozen=True)
class Stages:
    """Results of the stages of trainings on disk, each in a file named by all that it depends on."""

    cache: Path

    def computed(
        self, stage: str, depends_on: Sequence[object], compute: Callable[[Path], dict[str, Any]]
    ) -> dict[str, Any]:
        """What a stage gives: from its file, or by `compute`, which may leave an unfinished training in a file."""
        digest = hashlib.sha256(repr(tuple(depends_on)).encode()).hexdigest()[:12]
        finished, unfinished = (self.cache / f"{stage}-{digest}{ending}" for ending in (".pt", ".unfinished.pt"))
        if not finished.exists():
            content = compute(unfinished)
            write_atomically(finished, lambda stream: torch.save(dict(content), stream))
            unfinished.unlink(missing_ok=True)
        return torch.load(finished, weights_only=True)
