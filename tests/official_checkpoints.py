"""Checkpoints as their authors save them, of networks small enough to write and read in a test."""

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.encoders.eva_clip import EvaClipConfig, EvaClipImageEncoder
from segvoc.models.presets import PRESETS, Preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.choices import build_aggregation
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, EvaEncoders
from tests.encoders.image_tower_contract import TINY_VIT
from tests.golden_rules import golden_parameter
from tests.golden_sets import compact_case
from tests.networks.golden_stages import CLIP, FAMILIES, SMALL, tiny_network


@dataclass(frozen=True)
class _Kind:
    """Whose towers and whose aggregation a preset has, as the keys of `FAMILIES`."""

    towers: str
    aggregation: str


KINDS = {
    "cat-seg-b": _Kind("cat", "cat"),
    "cat-seg-eva-b": _Kind("pca", "cat"),
    "pca-seg-b": _Kind("pca", "pca"),
    "pca-seg-clip-b": _Kind("cat", "pca"),
}


def small_preset(name: str) -> Preset:
    """The preset with towers and aggregation of a few channels, at 96 px."""
    kind = KINDS[name]

    config = replace(FAMILIES[kind.aggregation].config, **SMALL)
    configuration = replace(PRESETS[name].configuration, aggregation=config)

    def build(configuration: ClipNetworkConfig) -> SegmentationNetwork:
        network = tiny_network(kind.towers)
        text_encoder, tower = network.text_encoder, network.image_encoder
        assert isinstance(text_encoder, ClipTextEncoder)
        if isinstance(configuration.encoders, EvaEncoders):
            tower = EvaClipImageEncoder(EvaClipConfig(vit=TINY_VIT, dense=configuration.encoders.dense))
        return SegmentationNetwork(tower, text_encoder, build_aggregation(configuration.aggregation, tower))

    protocols = {window: replace(way, size=96) for window, way in PRESETS[name].protocols.items()}
    return replace(PRESETS[name], configuration=configuration, build=build, protocols_of=lambda _: protocols)


def use_small_presets() -> None:
    """Put them into the table; for a process of its own."""
    PRESETS.update({name: small_preset(name) for name in KINDS})


@cache
def official_weights(name: str) -> dict[str, Tensor]:
    """The state dict of the released code for the small preset; not to be changed."""
    towers, rest = (_weights(FAMILIES[family].tiny) for family in (KINDS[name].towers, KINDS[name].aggregation))
    return {key: value for key, value in towers.items() if key.startswith(CLIP)} | {
        key: value for key, value in rest.items() if not key.startswith(CLIP)
    }


@cache
def _weights(case: str) -> dict[str, Tensor]:
    shapes = compact_case(case).record["weights"]
    return {key: golden_parameter(key, tuple(shape)) for key, shape in shapes.items()}


def plain_clip(name: str) -> dict[str, Tensor]:
    """The towers' part of it, as a CLIP's own authors name it: queries, keys and values packed."""
    clip = {k.removeprefix(CLIP): value for k, value in official_weights(name).items() if k.startswith(CLIP)}
    packed: dict[str, Tensor] = {}
    for key, value in clip.items():
        stem, split, kind = key.partition("attn.q_proj_")
        if split:
            packed[f"{stem}attn.in_proj_{kind}"] = torch.cat([clip[f"{stem}attn.{c}_proj_{kind}"] for c in "qkv"])
        elif "attn.k_proj_" not in key and "attn.v_proj_" not in key:
            packed[key] = value
    return packed
