"""tiny as trained on some photographs and words: projections, and the aggregation on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import PUBLISHED_VOTES, scatter_to_all
from segvoc.models.presets import tiny_selection
from segvoc.networks.base import CostAggregation
from tools.tiny.features import CELLS, Features
from tools.tiny.refinement import CrossFit, train_aggregation
from tools.tiny.scoring import calibrate
from tools.tiny.training import Fits, Projections, fit_projections


@dataclass(frozen=True, kw_only=True)
class Material:
    """What every model is trained on.

    tower: its class embeddings are not centred. words, text: all words and their embeddings (T C). features: of all
    photographs.
    """

    tower: EfficientNetLite
    words: Sequence[str]
    text: Tensor
    features: Features

    def known(self, unseen: Sequence[str] = ()) -> Tensor:
        """Which words (T) are not `unseen`."""
        return torch.tensor([word not in unseen for word in self.words], device=self.text.device)


@dataclass(kw_only=True)
class Model:
    """One trained model; `fits`: its own and those of its cross-fitting, whose weights are `projections`."""

    material: Material
    cross_fit: CrossFit
    projections: Projections

    @cached_property
    def aggregation(self) -> CostAggregation:
        """Its aggregation, trained when first asked for."""
        of = self.material
        return train_aggregation(of.tower, of.features, of.words, of.text, self.cross_fit, self.projections)

    @torch.no_grad()
    def logits(self, view: int, columns: Tensor) -> Tensor:
        """Logits (K h w) of the words of `columns` (K) in one view, as `segment` finds them."""
        maps, text, guidance = self._inputs(view, columns)
        context = AggregationContext((2, 2), tiny_selection(len(columns), PUBLISHED_VOTES), len(columns))
        logits, kept = self.aggregation(maps, text, guidance, context)
        return scatter_to_all(logits, kept, len(columns))[0]

    @torch.no_grad()
    def summed(self, view: int, columns: Tensor) -> Tensor:
        """The sum of the costs alone (K h w), as the first version gave it."""
        maps, text, _ = self._inputs(view, columns)
        costs = torch.stack([torch.einsum("bchw,btnc->bthw", F.normalize(m, dim=1), text) for m in maps], dim=1)
        return self.aggregation.get_submodule("skip")(costs, text)[0]

    def _inputs(self, view: int, columns: Tensor) -> tuple[tuple[Tensor, ...], Tensor, tuple[Tensor, ...]]:
        features, views = self.material.features, [view]
        stages = features.stages[views].float()
        maps = self.projections.maps(torch.tensor([0], device=features.device), self.material.tower, stages)
        text = self.material.text[columns][None, :, None]
        return maps, text, (stages, *(tap[views].float() for tap in features.fine))

    def calibration(self, views: Sequence[int], columns: Tensor, seed: int) -> tuple[float, float]:
        """Scale and bias of the logits from labelled views that the model has not seen.

        Of each view with the words in it and as many random others of `columns`: a usual choice of words.
        """
        generator = torch.Generator().manual_seed(seed)
        pairs = [self._pairs(view, columns, generator) for view in views]
        return calibrate(torch.cat([logits for logits, _ in pairs]), torch.cat([target for _, target in pairs]))

    def _pairs(self, view: int, columns: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        targets = self.material.features.targets[view]
        share = targets[:, columns].float() / 255
        present = (share.sum(dim=0) > 2).nonzero()[:, 0].cpu()
        absent = (share.sum(dim=0) == 0).nonzero()[:, 0].cpu()
        chosen = torch.cat([present, absent[torch.randperm(len(absent), generator=generator)[: len(present)]]])
        logits = self.logits(view, columns[chosen.to(columns.device)])
        cells = F.adaptive_avg_pool2d(logits, (CELLS, CELLS)).flatten(1).T
        labelled = targets.sum(dim=1, dtype=torch.int32) > 128
        wanted = share[labelled][:, chosen.to(share.device)].flatten().clamp(max=1)
        return cells[labelled].flatten().cpu(), wanted.cpu()


def models(material: Material, photos: Sequence[Tensor], words: Sequence[Tensor], seeds: Sequence[int]) -> list[Model]:
    """Models that learn from some photographs (N) and words (T) each; all projections are fitted side by side."""
    dealt = [CrossFit.deal(*of) for of in zip(photos, words, seeds, strict=True)]
    fits = Fits(
        photos=torch.cat([one.fits.photos for one in dealt]), words=torch.cat([one.fits.words for one in dealt])
    )
    everything = fit_projections(material.tower, material.features, material.words, material.text, fits)
    count = len(dealt[0].fits.photos)
    return [
        Model(material=material, cross_fit=one, projections=everything.part(i * count, count))
        for i, one in enumerate(dealt)
    ]
