"""What an aggregation gets from the encoders of a network: what an aggregation of one's own has to fit."""

from dataclasses import dataclass
from typing import cast

import torch

from segvoc.encoders.base import ImageEncoder, ImageFeatures
from segvoc.errors import UsageError
from segvoc.networks.base import SegmentationNetwork


@dataclass(frozen=True, kw_only=True)
class FeatureSize:
    """The size of one feature map."""

    channels: int
    """Its channels."""
    stride: int
    """Pixels of the image along a side of one of its cells."""

    def __str__(self) -> str:
        """Both: "256 channels at stride 32"."""
        return f"{self.channels} channels at stride {self.stride}"


@dataclass(frozen=True, kw_only=True)
class AggregationInputs:
    """What an aggregation is called with, but for the batch, the words and the size of the image."""

    maps: tuple[FeatureSize, ...]
    """Feature maps in the space of the words."""
    prompts: int
    """Prompts of each word (P)."""
    guidance: tuple[FeatureSize, ...]
    """Feature maps that guide: one of the first map's size, then finer ones."""

    @property
    def cost_maps(self) -> int:
        """Cost maps of each word: one for each map and prompt."""
        return len(self.maps) * self.prompts

    def __str__(self) -> str:
        """All of it in a few lines."""
        lines = [
            f"maps: {'; '.join(map(str, self.maps))}",
            f"cost maps of a word: {self.cost_maps} ({len(self.maps)} maps x {self.prompts} prompts)",
            f"guidance: {'; '.join(map(str, self.guidance))}",
        ]
        return "\n".join(lines)


CELLS = 8
"""Cells along the side of the image that is looked at."""


@torch.inference_mode()
def aggregation_inputs(network: SegmentationNetwork, prompts: int) -> AggregationInputs:
    """Look at a black image with a network's encoders, and tell what they hand to its aggregation.

    Args:
        network: the network, whatever its aggregation is.
        prompts: prompt templates of each word.

    Raises:
        UsageError: the network has no aggregation of costs.
    """
    if network.features_type is not ImageFeatures:
        raise UsageError(f"a {type(network).__name__} has no aggregation of its own to replace")
    side = CELLS * cast(ImageEncoder, network.image_encoder).stride
    found = network.encoded(torch.zeros(1, 3, side, side, device=next(network.parameters()).device))
    guide = found.maps[0] if found.appearance is None else found.appearance

    def size(features: torch.Tensor) -> FeatureSize:
        return FeatureSize(channels=features.shape[1], stride=round(side / features.shape[-1]))

    return AggregationInputs(
        maps=tuple(map(size, found.maps)),
        prompts=1 if network.average_prompts else prompts,
        guidance=tuple(map(size, (guide, *found.taps))),
    )
