"""Networks of presets, as their users ask for them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from segvoc.encoders.official_clip import towers_state
from segvoc.models.presets import find_preset
from segvoc.networks.base import NetworkConfig, SegmentationNetwork
from segvoc.storage.records import with_settings


def configured(preset: str, **settings: object) -> NetworkConfig:
    return with_settings(find_preset(preset).configuration, settings, preset)


def built(preset: str, **settings: object) -> SegmentationNetwork:
    return find_preset(preset).build(configured(preset, **settings))


def loaded(weights: Mapping[str, Tensor], *towers: nn.Module) -> tuple[Any, ...]:
    """An image and a text encoder, filled with the weights of a CLIP."""
    for tower, state in zip(towers, towers_state(weights, *towers), strict=True):
        tower.load_state_dict(state)
    return towers
