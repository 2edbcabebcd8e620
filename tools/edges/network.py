"""The edge refiner: predicts weights of neighboring cells from `tiny`'s image features; all words share the weights.

Sources: pixel-adaptive propagation as in Liu et al. (SPN, NeurIPS 2017) with local attention on image features, as
JAFAR (Couairon et al., 2025) and AnyUp (Wimmer et al., 2025) upsample with, and the convex upsampling of RAFT (Teed and
Deng, ECCV 2020).
"""

from collections.abc import Sequence
from functools import reduce
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.inference.edges import EDGE_FEATURES

STEPS = (1, 2, 4, 8, 4, 2, 1)
"""Neighbor distance of each propagation step [cells at stride 4]."""

CHANNELS = 48
QUERIES = 16
FEATURES = dict(zip(EDGE_FEATURES, (24, 48, 472), strict=True))
"""Channels of `tiny`'s image features at stride 4, 8 and 16."""


class Residual(nn.Module):
    """A depthwise convolution between two pointwise ones, added to its input."""

    def __init__(self, channels: int, dilation: int) -> None:
        """Build with random weights."""
        super().__init__()
        inner = 2 * channels
        self.expand = nn.Conv2d(channels, inner, 1)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, groups=inner)
        self.project = nn.Conv2d(inner, channels, 1)
        with torch.no_grad():
            cast(Tensor, self.project.bias).zero_()
            self.project.weight.mul_(0.5)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Apply the block."""
        return x + self.project(F.relu(self.depthwise(F.relu(self.expand(x)))))


class EdgeNetwork(nn.Module):
    """Refines maps of words at stride 4, then upsamples them to stride 2."""

    scale: Tensor

    def __init__(self) -> None:
        """Initialize near the identity."""
        super().__init__()
        self.fine = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(16, CHANNELS, 3, stride=2, padding=1)
        self.features = nn.ModuleDict({name: nn.Conv2d(count, CHANNELS, 1) for name, count in FEATURES.items()})
        self.register_buffer("scale", torch.ones(len(FEATURES)))
        self.blocks = nn.ModuleList(Residual(CHANNELS, dilation) for dilation in (1, 2, 4))
        self.query, self.key = nn.Conv2d(CHANNELS, QUERIES, 1), nn.Conv2d(CHANNELS, QUERIES, 1)
        self.sharpness = nn.Parameter(torch.full((len(STEPS),), 0.5))
        self.bias = nn.Conv2d(CHANNELS, 9 * len(STEPS), 1)
        self.upsampling = nn.Sequential(nn.Conv2d(CHANNELS + 64, 64, 1), nn.ReLU(), nn.Conv2d(64, 36, 1))
        with torch.no_grad():
            self.bias.weight.mul_(0.3)
            cast(Tensor, self.bias.bias).zero_().view(-1, 9)[:, 4] = 2.0
            last = cast(nn.Conv2d, self.upsampling[2])
            last.weight.mul_(0.3)
            cast(Tensor, last.bias).copy_(_bilinear().log())

    def forward(
        self,
        maps: Float[Tensor, "B K h w"],
        pixels: Float[Tensor, "B 3 4*h 4*w"],
        tap_1: Float[Tensor, "B 24 h w"],
        tap_0: Float[Tensor, "B 48 h//2 w//2"],
        appearance: Float[Tensor, "B 472 h//4 w//4"],
    ) -> Float[Tensor, "B K 2*h 2*w"]:
        """Refine the maps; `pixels` are in [0, 255]."""
        return refine(maps, self.weights(pixels, tap_1, tap_0, appearance))

    def weights(
        self,
        pixels: Float[Tensor, "B 3 4*h 4*w"],
        tap_1: Float[Tensor, "B 24 h w"],
        tap_0: Float[Tensor, "B 48 h//2 w//2"],
        appearance: Float[Tensor, "B 472 h//4 w//4"],
    ) -> Float[Tensor, "B 9*11 h w"]:
        """The weights of each cell's 3 x 3 neighbors in each step, then for each of its four cells at stride 2."""
        fine = F.relu(self.fine(pixels / 127.5 - 1))
        x = self.coarse(fine)
        for number, (name, one) in enumerate(zip(FEATURES, (tap_1, tap_0, appearance), strict=True)):
            reduced = self.features[name](one / self.scale[number])
            x = x + (F.interpolate(reduced, scale_factor=2.0**number, mode="bilinear") if number else reduced)
        x = F.relu(x)
        for block in self.blocks:
            x = block(x)
        x = F.relu(x)
        query, key, biases = self.query(x), self.key(x), self.bias(x).split(9, dim=1)
        logits = []
        for distance, sharpness, bias in zip(STEPS, self.sharpness, biases, strict=True):
            alike = [(query * one).sum(dim=1, keepdim=True) for one in neighbors(key, distance)]
            logits.append(torch.cat(alike, dim=1) * sharpness + bias)
        logits += self.upsampling(torch.cat([x, F.pixel_unshuffle(fine, 2)], dim=1)).split(9, dim=1)
        return torch.cat([softmax(one) for one in logits], dim=1)


def refine(maps: Float[Tensor, "B K h w"], weights: Float[Tensor, "B 9*11 h w"]) -> Float[Tensor, "B K 2*h 2*w"]:
    """Refine maps of words by `EdgeNetwork.weights`."""
    steps = weights.split(9, dim=1)
    for distance, step in zip(STEPS, steps, strict=False):
        maps = mean(neighbors(maps, distance), step)
    around = neighbors(maps, 1)
    divided = torch.stack([mean(around, quarter) for quarter in steps[len(STEPS) :]], dim=2)
    return F.pixel_shuffle(divided.flatten(1, 2), 2)


def neighbors(x: Float[Tensor, "B C h w"], distance: int) -> list[Float[Tensor, "B C h w"]]:
    """The 3 x 3 neighbors of each cell at a distance, in row-major order, with replicated borders."""
    padded = F.pad(x, (distance,) * 4, mode="replicate")
    ranges = (slice(-2 * distance), slice(distance, -distance), slice(2 * distance, None))
    return [padded[..., rows, columns] for rows in ranges for columns in ranges]


def softmax(logits: Float[Tensor, "B 9 h w"]) -> Float[Tensor, "B 9 h w"]:
    """The softmax over nine maps; ONNX Runtime's own takes eight times as long along this axis."""
    powers = (logits - reduce(torch.maximum, logits.split(1, dim=1)).detach()).exp()
    return powers / reduce(torch.add, powers.split(1, dim=1))


def mean(around: Sequence[Float[Tensor, "B C h w"]], weights: Float[Tensor, "B 9 h w"]) -> Float[Tensor, "B C h w"]:
    """The weighted mean of nine maps, accumulated one at a time to stay in the processor's caches."""
    return reduce(torch.add, (one * weight for one, weight in zip(around, weights.split(1, dim=1), strict=True)))


def _bilinear() -> Tensor:
    """Bilinear upsampling weights (36): of the 3 x 3 neighbors for each of a cell's four quarters."""
    near = torch.tensor([[0.25, 0.75, 0.003], [0.003, 0.75, 0.25]])
    return torch.einsum("ia,jb->ijab", near, near).flatten()
