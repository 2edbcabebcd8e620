"""A small CAT-Seg with the encoders of OpenAI's CLIP, to export."""

from dataclasses import replace

import torch

from segvoc.encoders.vit import vit_b16
from segvoc.inference.protocols import clip_protocols
from segvoc.models.builders import build_clip_network
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.cost_aggregation_config import ClipNetworkConfig, OpenAIEncoders

SIDE = 128
"""Side of the image encoder's input [px]."""


def small_cat_seg() -> NetworkSegmenter:
    """One block, windows of 4 cells, random weights."""
    torch.manual_seed(0)
    vit = replace(vit_b16(), channels=64, width=48, layers=3, heads=4, taps=(0, 1), input_size=SIDE)
    aggregation = replace(CAT_SEG, blocks=1, dim=32, guidance_dim=16, heads=2, window=4, pad_classes=8)
    network = build_clip_network(ClipNetworkConfig(encoders=OpenAIEncoders(vit=vit), aggregation=aggregation))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return NetworkSegmenter(
        name="small", network=network, protocols=clip_protocols(SIDE, 16), templates=("a photo of a {}",)
    )
