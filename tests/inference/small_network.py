"""A PCA-Seg of a few thousand random parameters, for tests of what surrounds a network."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import ImageFeatures
from segvoc.encoders.vit import vit_b16
from segvoc.inference import windows
from segvoc.inference.protocols import WINDOWS, Protocol, Protocols, Window
from segvoc.inference.segmentation import Segmentation
from segvoc.layers.aggregation import DecoderSizes
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.preset import Preset
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.choices import build_aggregation
from segvoc.networks.clip_network import ClipNetworkConfig, OpenAIEncoders, clip_protocols
from segvoc.networks.cost_aggregation_config import CostAggregationConfig

CONFIG = CostAggregationConfig(
    order="parallel",
    blocks=4,
    fusion="experts",
    dim=32,
    heads=2,
    window=4,
    pad_classes=8,
    guidance_dim=8,
    experts=2,
    decoder_sizes=DecoderSizes(taps=(8, 4), guidance=(4, 2), stages=(32, 16)),
)

COMMON_WINDOWS: tuple[Window, ...] = WINDOWS[:4]
"""Those of every network; "tcl" is that of some."""


class Patches(nn.Module):
    """An image tower of one convolution."""

    input_size, stride, channels, tap_channels = 64, 16, 12, (12, 12)

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, self.channels, self.stride, self.stride)

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        return ()

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        features = self.project((image / 127.5 - 1).to(self.project.weight.dtype))
        return ImageFeatures(maps=(features,), taps=(features, features))


class Letters(nn.Module):
    """A text tower that adds up the bytes of a prompt, each in its place; `calls` notes how many prompts it got."""

    channels = 12

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(257, self.channels, padding_idx=256)
        self.place = nn.Embedding(64, self.channels)
        self.calls: list[int] = []

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        return ()

    def tokenize(self, prompts: Sequence[str], *, multiple: int = 1) -> Int[Tensor, "N L"]:
        rows = [prompt.encode()[:64] for prompt in prompts]
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[256] * (longest - len(row))] for row in rows])

    def unknown_words(self, words: Sequence[str]) -> list[str]:
        return []

    def forward(self, tokens: Int[Tensor, "N L"]) -> Float[Tensor, "N C"]:
        self.calls.append(len(tokens))
        places = self.place.weight[: tokens.shape[1]]
        return F.normalize((self.table(tokens) * places * (tokens != 256)[..., None]).sum(1), dim=-1)


def small_protocols() -> Protocols:
    protocols = clip_protocols(Patches.input_size, Patches.stride)
    official = replace(protocols["official"], selection=None)
    return {**protocols, "official": official}


def aggregation(blocks: int) -> nn.Module:
    """So many parallel blocks; with none, the cosines alone."""
    return build_aggregation(replace(CONFIG, kind="cost" if blocks else "none", blocks=blocks), Patches())


def small_network(blocks: int = 1) -> SegmentationNetwork:
    """The same random weights each time; logits are spread so that labels differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = SegmentationNetwork(Patches(), Letters(), aggregation(blocks))
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


def small_segmenter(*, template: str = "{}", blocks: int = 1, **rest: Any) -> NetworkSegmenter:
    """A segmenter of it, with one prompt a word; the rest replaces what its constructor is given."""
    network = rest.pop("network", None) or small_network(blocks)
    given = {"name": "small", "protocols": small_protocols(), "templates": (template,)}
    return NetworkSegmenter(network=network, **given | rest)


def _build(configuration: ClipNetworkConfig) -> SegmentationNetwork:
    tower = Patches()
    return SegmentationNetwork(tower, Letters(), build_aggregation(configuration.aggregation, tower))


SMALL_PRESET = Preset(
    summary="",
    configuration=ClipNetworkConfig(encoder=OpenAIEncoders(vit=vit_b16()), aggregation=replace(CONFIG, blocks=1)),
    build=_build,
    templates_of=lambda configuration: ("{}",),
    protocols_of=lambda configuration: small_protocols(),
)
"""The network as a preset, for analyses that train by name."""


def views(image: np.ndarray, protocol: Protocol) -> Tensor:
    """Views of an image as a tensor, as a PyTorch network gets them."""
    return torch.from_numpy(windows.views(image, protocol))


def assert_same_results(first: Segmentation, second: Segmentation) -> None:
    assert (first.words, first.parts) == (second.words, second.parts)
    for name in ("labels", "confidence", "part_labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
