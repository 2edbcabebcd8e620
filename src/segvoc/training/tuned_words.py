"""Words that are tuned to labeled images while the network stays as it is: what is trained, and how it becomes a file.

The network's encoders and its aggregation are frozen. A small feature pyramid on the encoder's maps is trained, with a
classifier for each word on its output: logit = zero-shot logit + w p(x) + b. What the frozen network says of the images
is computed once (`tuned_features.py`).
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.arrays import bilinear
from segvoc.data.training.training_set import IGNORED
from segvoc.networks.base import SegmentationNetwork
from segvoc.teaching.feature_pyramid import FeaturePyramid, pyramid_shapes
from segvoc.teaching.taught_words import TaughtWords, TeachingRecord
from segvoc.training.recipe import Recipe, TunedWordsConfig

CLASSIFIER_DEVIATION = 0.1
"""Standard deviation of the classifiers' initial weights; from zeros, the pyramid learns more slowly."""


class TunedWords(nn.Module):
    """The pyramid and the classifiers; it takes the place of the aggregation in what the training loop trains."""

    frequency: Tensor

    def __init__(self, config: TunedWordsConfig, coarse: int, fine: int, words: int) -> None:
        """Build them with random weights.

        Args:
            config: sizes.
            coarse: channels of the coarse feature map.
            fine: channels of all finer ones.
            words: number of words.
        """
        super().__init__()
        self.channels = config.pyramid_channels
        self.dropout = nn.Dropout2d(config.dropout)
        self.weights = nn.ParameterDict()
        for name, shape in pyramid_shapes(config.pyramid_channels, coarse, fine).items():
            value = torch.empty(shape)
            if name.endswith("_norm"):
                value[..., 0, :], value[..., 1, :] = 1.0, 0.0
            else:
                for one in value if name == "context" else (value,):
                    nn.init.kaiming_uniform_(one, a=5**0.5)
            self.weights[name] = nn.Parameter(value)
        self.classifiers = nn.Parameter(CLASSIFIER_DEVIATION * torch.randn(words, config.pyramid_channels))
        self.bias = nn.Parameter(torch.zeros(words))
        self.register_buffer("frequency", torch.ones(words + 1))

    def forward(self, maps: Sequence[Tensor], zero_shot: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K H W"]:
        """The logits on the pyramid's grid.

        Args:
            maps: standardized feature maps, the coarse one first.
            zero_shot: the network's logits by text.
        """
        found = FeaturePyramid(**self.weights)(maps, self.dropout)
        scores = torch.einsum("kc,bchw->bkhw", self.classifiers, found) + self.bias[:, None, None]
        return bilinear(zero_shot, (found.shape[2], found.shape[3])) + scores

    def taught_words(
        self, record: TeachingRecord, mean: np.ndarray, scale: np.ndarray, probe: np.ndarray, words: Sequence[int]
    ) -> TaughtWords:
        """What was learned, as a file of taught words.

        Args:
            record: what it was learned from.
            mean: the mean of each feature.
            scale: their standard deviations.
            probe: mean features of the drawn image.
            words: indices of the words that have labels.
        """
        weights = {name: _array(value).astype(np.float16) for name, value in self.weights.items()}
        return TaughtWords(
            record=record,
            weights=_array(self.classifiers)[list(words)].astype(np.float16),
            bias=_array(self.bias)[list(words)],
            mean=mean,
            scale=scale,
            probe=probe,
            pyramid=FeaturePyramid(**weights),
        )


class TunedWordsObjective(nn.Module):
    """The loss of a batch: softmax cross-entropy over the words and "none of them", whose logit is 0.

    A word weighs by its number of labeled cells to the power of -`class_weight_power`.
    """

    def __init__(self, network: SegmentationNetwork, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.power = network, recipe.words.class_weight_power

    def counted(self, zero_shot: Tensor, labels: Int[Tensor, "B H W"], maps: Sequence[Tensor]) -> Int[Tensor, ""]:
        """The number of labeled cells that the loss averages over."""
        return (labels != IGNORED).sum()

    def forward(
        self,
        zero_shot: Float[Tensor, "B K h w"],
        labels: Int[Tensor, "B H W"],
        maps: Sequence[Tensor],
        cells: Float[Tensor, ""] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss.

        Args:
            zero_shot: the network's logits by text.
            labels: the index of each cell's word; K is none of them, and `IGNORED` unlabeled.
            maps: standardized feature maps, the coarse one first.
            cells: what the sum over labeled cells is divided by; None: their number (`counted`).
        """
        tuned = cast(TunedWords, self.network.aggregation)
        logits = tuned(maps, zero_shot)
        logits = torch.cat((logits, logits.new_zeros(len(logits), 1, *logits.shape[2:])), dim=1)
        weight = tuned.frequency**-self.power
        weight = weight / (weight * tuned.frequency).sum() * tuned.frequency.sum()
        cells = self.counted(zero_shot, labels, maps).clamp(min=1) if cells is None else cells
        loss = F.cross_entropy(logits, labels, weight, ignore_index=IGNORED, reduction="sum") / cells
        return {"loss": loss, "segmentation": loss.detach()}


def trained_network(network: SegmentationNetwork, tuned: TunedWords) -> SegmentationNetwork:
    """What the training loop trains: the tuned words, behind the network's frozen encoders."""
    return SegmentationNetwork(network.image_encoder, network.text_encoder, tuned)


def _array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy().astype(np.float32)
