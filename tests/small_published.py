"""Presets with small networks, whose published files a stand-in for the hub serves."""

import io
from collections.abc import Mapping
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import Tensor

from segvoc.checkpoints.published import PUBLISHED, PublishedFile
from segvoc.models.presets import PRESETS
from segvoc.networks.syn_seg import SynSeg, SynSegConfig
from tests.loopback_hub import LoopbackHub
from tests.official_checkpoints import official_weights, plain_clip, small_preset
from tests.transformers_models import small_clipseg, weights_of


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
