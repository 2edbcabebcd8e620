"""Segmenters of a few thousand random parameters with blocks of every kind, and an image for them."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from segvoc.models.builders import build_aggregation
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.base import SegmentationNetwork
from tests.inference.small_network import CONFIG, Letters, Patches, small_protocols

WORDS = ("cat", "sofa", "wall", "rocket", "cup")


def segmenter(**options) -> NetworkSegmenter:
    """Two blocks as `options` want them, the same random weights each time."""
    kind = {"kind": options.pop("aggregation", "cost")}
    chosen = replace(CONFIG, **{"blocks": 2, "experts": None if "fusion" in options else 3} | kind | options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = SegmentationNetwork(Patches(), Letters(), build_aggregation(chosen, Patches()))
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return NetworkSegmenter(
        name="small", network=network.requires_grad_(False), protocols=small_protocols(), templates=("{}",)
    )


def make_image(seed: int = 0, height: int = 64, width: int = 96) -> np.ndarray:
    """Colored squares of 16 pixels."""
    squares = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return np.kron(squares, np.ones((16, 16, 1), np.uint8))
