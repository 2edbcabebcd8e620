"""Checkpoints as their authors save them, of networks small enough to write and read in a test; a hub serves them."""

import io
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
import safetensors.torch
import torch
from torch import Tensor

from segvoc.checkpoints.published import PUBLISHED, PublishedFile
from segvoc.encoders.clip_text import ClipTextEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.models.preset import Preset
from segvoc.models.presets import PRESETS
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.choices import build_aggregation
from segvoc.networks.clip_network import ClipNetworkConfig, EvaEncoders, frozen_clip_protocols
from segvoc.networks.syn_seg import SynSeg, SynSegConfig
from tests.loopback_hub import LoopbackHub
from tests.networks.golden_stages import CLIP, FAMILIES, SMALL, TINY_VIT, tiny_network, tiny_weights
from tests.transformers_models import small_clipseg, weights_of

KINDS = {
    "cat-seg-b": ("cat", "cat"),
    "cat-seg-eva-b": ("pca", "cat"),
    "pca-seg-b": ("pca", "pca"),
    "pca-seg-clip-b": ("cat", "pca"),
}
"""Presets of whole networks: whose towers and whose aggregation they have, as the keys of `FAMILIES`."""

_ALONE = {"clip-b": ("cat", None), "eva-clip-b": ("pca", None)}


def small_preset(name: str) -> Preset:
    """The preset with towers and aggregation of a few channels, at 96 px."""
    (towers, of_aggregation), configuration = (KINDS | _ALONE)[name], PRESETS[name].configuration
    assert isinstance(configuration, ClipNetworkConfig)
    if of_aggregation is not None:
        configuration = replace(configuration, aggregation=replace(FAMILIES[of_aggregation].config, **SMALL))

    def build(configuration: ClipNetworkConfig) -> SegmentationNetwork:
        text_encoder, encoders = tiny_network(towers).text_encoder, configuration.encoder
        assert isinstance(text_encoder, ClipTextEncoder)
        if isinstance(encoders, EvaEncoders):
            tower = EvaClipImageEncoder(TINY_VIT, dense=encoders.dense)
        else:
            tower = OpenAIClipImageEncoder(TINY_VIT, dense=encoders.dense)
        aggregation = build_aggregation(configuration.aggregation, tower)
        average = configuration.prompts == "imagenet"
        return SegmentationNetwork(tower, text_encoder, aggregation, average_prompts=average)

    protocols = frozen_clip_protocols(96)
    if of_aggregation is not None:
        protocols = {window: replace(way, size=96) for window, way in PRESETS[name].protocols.items()}
    return replace(PRESETS[name], configuration=configuration, build=build, protocols_of=lambda _: protocols)


@cache
def official_weights(name: str) -> dict[str, Tensor]:
    """The state dict of the released code for the small preset; not to be changed."""
    of_towers, of_aggregation = (KINDS | _ALONE)[name]
    towers = {key: value for key, value in tiny_weights(of_towers).items() if key.startswith(CLIP)}
    if of_aggregation is None:
        return towers
    rest = tiny_weights(of_aggregation)
    return towers | {key: value for key, value in rest.items() if not key.startswith(CLIP)}


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


def publish_tensors(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, name: str, tensors: Mapping[str, Tensor]
) -> PublishedFile:
    """Serve a state dict in place of a published file, whose entry in the manifest then fits it."""
    content = io.BytesIO()
    if PUBLISHED[name].filename.endswith(".safetensors"):
        content.write(safetensors.torch.save(dict(tensors)))
    else:
        torch.save(dict(tensors), content)
    file = hub.publish(PUBLISHED[name], content.getvalue())
    monkeypatch.setitem(PUBLISHED, name, file)
    return file


def use_small_published(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, preset: str) -> tuple[PublishedFile, ...]:
    """Put the small version of a preset into the table; returns its encoders, and cat-seg-b's own weights."""
    encoders = publish_tensors(hub, monkeypatch, "openai-clip-b", plain_clip(preset))
    small = replace(small_preset(preset), encoders=(encoders,))
    if small.published is None:
        monkeypatch.setitem(PRESETS, preset, small)
        return (encoders,)
    network = publish_tensors(hub, monkeypatch, preset, official_weights(preset))
    monkeypatch.setitem(PRESETS, preset, replace(small, published=network))
    return encoders, network


def use_small_clip(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, preset: str) -> PublishedFile:
    """Put the small version of a CLIP alone into the table, whose encoders are published."""
    published = PRESETS[preset].published
    assert published is not None
    file = publish_tensors(hub, monkeypatch, published.name, plain_clip(preset))
    monkeypatch.setitem(PRESETS, preset, replace(small_preset(preset), published=file, encoders=(file,)))
    return file


def use_small_clipseg(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, preset: str) -> PublishedFile:
    """Put a small CLIPSeg into the table, whose weights are published in the form of transformers."""
    published, configuration = PRESETS[preset].published, PRESETS[preset].configuration
    assert published is not None and isinstance(configuration, SynSegConfig)
    tensors = weights_of(f"clipseg_{configuration.decoder.head}")
    file = publish_tensors(hub, monkeypatch, published.name, tensors)

    def build(configuration: SynSegConfig) -> SynSeg:
        return small_clipseg(configuration.decoder.head, configuration.pixels)

    monkeypatch.setitem(PRESETS, preset, replace(PRESETS[preset], build=build, published=file))
    return file
