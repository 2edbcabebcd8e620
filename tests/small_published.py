"""Presets with small networks, whose published files a stand-in for the hub serves."""

import io
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from segvoc.checkpoints.published import PUBLISHED, PublishedFile
from segvoc.models.presets import PRESETS
from tests.loopback_hub import LoopbackHub
from tests.official_checkpoints import official_weights, plain_clip, small_preset


def publish_tensors(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, name: str, tensors: Mapping[str, Tensor]
) -> PublishedFile:
    """Serve a state dict in place of a published file, whose entry in the manifest then fits it."""
    content = io.BytesIO()
    torch.save(dict(tensors), content)
    file = hub.publish(PUBLISHED[name], content.getvalue())
    monkeypatch.setitem(PUBLISHED, name, file)
    return file


def use_small_published(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, preset: str) -> tuple[PublishedFile, ...]:
    """Put the small version of a preset on OpenAI's CLIP into the table.

    Returns:
        The encoders that its training fetches; for cat-seg-b also its own published weights, behind them.
    """
    encoders = publish_tensors(hub, monkeypatch, "openai-clip-b", plain_clip(preset))
    small = replace(small_preset(preset), encoders=(encoders,))
    if small.published is None:
        monkeypatch.setitem(PRESETS, preset, small)
        return (encoders,)
    network = publish_tensors(hub, monkeypatch, preset, official_weights(preset))
    monkeypatch.setitem(PRESETS, preset, replace(small, published=network))
    return encoders, network
