"""tiny as trained on some photographs and words: trunk, projections, and the aggregation on them."""

import copy
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import scatter_to_all
from segvoc.layers.selection_rules import PUBLISHED_VOTES
from segvoc.models.presets import TINY_SELECTION
from segvoc.networks.base import CostAggregation
from segvoc.storage.atomic_writes import write_atomically
from tools.tiny.features import Features
from tools.tiny.optimization import Progress
from tools.tiny.projections import Fits, ProjectionRecipe, Projections, fit_projections
from tools.tiny.refinement import CrossFit, RefinementRecipe, new_aggregation, train_aggregation
from tools.tiny.trunk import TrunkRecipe, tune


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained."""

    trunk: TrunkRecipe = field(default_factory=TrunkRecipe)
    """How the trunk's last stages are trained."""
    projections: ProjectionRecipe = field(default_factory=ProjectionRecipe)
    """How the projections are fitted."""
    refinement: RefinementRecipe = field(default_factory=RefinementRecipe)
    """How the aggregation is trained."""


SHIPPED = Recipe()


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What every model is trained on."""

    tower: EfficientNetLite
    """The trunk of ImageNet; its class embeddings are not centered."""
    words: Sequence[str]
    """All words."""
    text: Tensor
    """Their embeddings (T C)."""
    features: Features
    """Of all photographs."""
    cache: Path
    """Folder of unfinished and finished stages."""

    def known(self, unseen: Sequence[str] = ()) -> Tensor:
        """Which words (T) are not `unseen`."""
        return torch.tensor([word not in unseen for word in self.words], device=self.text.device)


@dataclass(frozen=True, kw_only=True)
class Model:
    """One trained model."""

    data: TrainingData
    """What it was trained on."""
    tower: EfficientNetLite
    """Its trunk; its class embeddings are not centered."""
    projections: Projections
    """One fit."""
    aggregation: CostAggregation
    """What refines their costs."""

    @torch.no_grad()
    def logits(self, view: int, columns: Tensor) -> Tensor:
        """Logits (K h w) of the words of `columns` (K) in one view, as `segment` finds them."""
        features, views = self.data.features, torch.tensor([view], device=self.data.features.device)
        (*maps, logits), stages = self.projections.maps(
            torch.zeros_like(views), self.tower, features.middle[views].float()
        )
        guidance = (stages, features.stride_8[views].float(), features.stride_4[views].float())
        selection = TINY_SELECTION.rule(len(columns), PUBLISHED_VOTES)
        context = AggregationContext((2, 2), selection, len(columns), class_logits=logits)
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
    features = data.features
    base = ([photo.key for photo in features.photos], photos.tolist(), known.tolist(), recipe.projections)
    stages = Stages(data.cache)
    tower = copy.deepcopy(data.tower)

    def fit(fits: Fits) -> Projections:
        return fit_projections(tower, features, data.words, data.text, fits, recipe.projections)

    def tuned(progress: Progress, resumed: dict[str, Any] | None) -> dict[str, Any]:
        alone = Fits(photos=photos[None], words=known[None])
        start = Projections(**stages.computed("start", base, lambda *_: vars(fit(alone))))
        found = tune(tower, features, data.words, data.text, photos, known, start, recipe.trunk, progress, resumed)
        return {"trunk": tower.trunk.state_dict(), "projections": vars(found)}

    tuned_base = (*base, recipe.trunk)
    after = stages.computed("trunk", tuned_base, tuned)
    tower.trunk.load_state_dict(after["trunk"])
    own = Projections(**after["projections"])
    cross_fit = CrossFit.deal([photo.group for photo in features.photos], photos, known, seed, recipe.refinement)
    base = (*tuned_base, seed, recipe.refinement.groups, recipe.refinement.hidden)
    projections = Projections(**stages.computed("projections", base, lambda *_: vars(fit(cross_fit.fits))))

    def refined(progress: Progress, resumed: dict[str, Any] | None) -> dict[str, Any]:
        return train_aggregation(
            tower, features, data.words, data.text, cross_fit, projections, recipe.refinement, progress, resumed
        ).state_dict()

    aggregation = new_aggregation(tower, features, data.text[known], recipe.refinement)
    aggregation.load_state_dict(stages.computed("aggregation", (*base, recipe.refinement), refined))
    first = replace(own, shift=projections.part(0, 1).shift)
    return Model(data=data, tower=tower, projections=first, aggregation=aggregation.eval())


class Stages:
    """Results of the stages of trainings on disk, each in a file named by all that it depends on."""

    def __init__(self, cache: Path) -> None:
        """Keep them in the folder `cache`."""
        self.cache = cache

    def computed(
        self,
        stage: str,
        depends_on: Sequence[object],
        compute: Callable[[Progress, dict[str, Any] | None], dict[str, Any]],
    ) -> dict[str, Any]:
        """What a stage gives: from its file, or by `compute(progress, resumed)`."""
        digest = hashlib.sha256(repr(tuple(depends_on)).encode()).hexdigest()[:12]
        finished, unfinished = (self.cache / f"{stage}-{digest}{ending}" for ending in (".pt", ".unfinished.pt"))
        if not finished.exists():
            resumed = torch.load(unfinished, weights_only=True) if unfinished.exists() else None
            self._write(finished, compute(lambda state: self._write(unfinished, state), resumed))
            unfinished.unlink(missing_ok=True)
        return torch.load(finished, weights_only=True)

    @staticmethod
    def _write(path: Path, content: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(dict(content), buffer)
        write_atomically(path, lambda stream: stream.write(buffer.getbuffer()))
