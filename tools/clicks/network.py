"""The network of clicks: from what tiny sees in a view, clicks and the mask so far to the mask.

It follows RITM (Sofiiuk et al., "Reviving Iterative Training with Mask Guidance for Interactive Segmentation",
2022, arXiv:2102.06583), which reads the mask so far beside the clicks. The large encoder that RITM runs at each click
is tiny's, frozen and run once for an image. What is far from all clicks is compared with them by learned embeddings, as
FEELVOS compares frames (Voigtlaender et al., 2019, arXiv:1902.09513).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

COARSE, MIDDLE, FINE, FINEST, LAST = 64, 48, 32, 16, 8
"""Channels at strides 16, 8, 4 and 2, and before the logits."""

EMBEDDING = 32
"""Channels of the embeddings by which cells are compared with clicks."""

DISK = 5.0
"""Radius of the disk that marks a click [px of a view]."""

REACHES = (20.0, 80.0)
"""How far from a click its bells reach [px of a view]."""

HINTS = 2 * (1 + len(REACHES)) + 1
"""Channels that say where clicks and the mask so far are."""


class Residual(nn.Module):
    """x + relu(norm(conv(x)))."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        """Build."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply."""
        return x + F.relu(self.norm(self.conv(x)))


class Level(nn.Module):
    """Joins what comes from below with the features and hints of its own stride."""

    def __init__(self, below: int, own: int, hints: int, channels: int, dilations: tuple[int, ...]) -> None:
        """Build."""
        super().__init__()
        self.own = nn.Conv2d(own, channels, 1, bias=False)
        self.hints = nn.Conv2d(hints, channels, 3, padding=1)
        self.below = nn.Conv2d(below, channels, 1, bias=False) if below else None
        self.norm = nn.BatchNorm2d(channels)
        self.blocks = nn.Sequential(*(Residual(channels, dilation) for dilation in dilations))

    def forward(self, below: Tensor | None, own: Tensor, hints: Tensor) -> Tensor:
        """The features of this stride."""
        x = self.own(own) + self.hints(hints)
        if self.below is not None and below is not None:
            x = x + F.interpolate(self.below(below), size=x.shape[2:], mode="bilinear")
        return self.blocks(F.relu(self.norm(x)))


class ClickNetwork(nn.Module):
    """Logits of the mask at every second pixel of a view."""

    def __init__(self) -> None:
        """Build."""
        super().__init__()
        self.coarse_embedding = nn.Conv2d(472, EMBEDDING, 1, bias=False)
        self.fine_embedding = nn.Conv2d(48, EMBEDDING, 1, bias=False)
        self.coarse = Level(0, 472, HINTS + 2, COARSE, (1, 2, 4, 1))
        self.context = nn.Linear(2 * COARSE, COARSE)
        self.middle = Level(COARSE, 48, HINTS + 4, MIDDLE, (1, 2))
        self.fine = Level(MIDDLE, 24, HINTS + 2 + 3, FINE, (1, 2))
        self.finest = Level(FINE, 3, HINTS + 2, FINEST, ())
        self.last = nn.Sequential(nn.Conv2d(FINEST, LAST, 3, padding=1), nn.ReLU(), nn.Conv2d(LAST, 1, 3, padding=1))
        self.coarse_norm, self.middle_norm, self.fine_norm = (nn.BatchNorm2d(count) for count in (472, 48, 24))

    def forward(
        self,
        appearance: Float[Tensor, "B 472 h w"],
        tap_0: Float[Tensor, "B 48 2h 2w"],
        tap_1: Float[Tensor, "B 24 4h 4w"],
        colors: Float[Tensor, "B 3 8h 8w"],
        clicks: Float[Tensor, "B N 3"],
        mask: Float[Tensor, "B 1 8h 8w"],
    ) -> Float[Tensor, "B 1 8h 8w"]:
        """Apply.

        Args:
            appearance: features at stride 16.
            tap_0: at stride 8.
            tap_1: at stride 4.
            colors: RGB in [0, 255] at stride 2.
            clicks: x and y in [0, 1] of the view, and 1 (belongs to the mask), -1 (doesn't) or 0 (no click).
            mask: the mask so far, in [0, 1]; 0.5 in a box that was drawn.
        """
        appearance, tap_0, tap_1 = self.coarse_norm(appearance), self.middle_norm(tap_0), self.fine_norm(tap_1)
        colors = colors / 127.5 - 1.0
        fine_colors = F.avg_pool2d(colors, 2)
        signs = clicks[:, :, 2]
        places = clicks[:, :, :2].clamp(0.0, 0.9999)

        def with_clicks(cells: Tensor) -> tuple[Tensor, Tensor]:
            """All cells (B C hw), and those under the clicks (B C N)."""
            height, width = cells.shape[2], cells.shape[3]
            at = (places[:, :, 1] * height).long() * width + (places[:, :, 0] * width).long()
            flat = cells.flatten(2)
            return flat, torch.gather(flat, 2, at[:, None].expand(-1, flat.shape[1], -1))

        def of_either_kind(similar: Tensor, like: Tensor, least: float = -1.0) -> Tensor:
            """The highest similarity (B N hw) to a click of either kind, as maps (B 2 h w)."""
            maps = torch.stack([_highest(similar, signs, sign, least) for sign in (1, -1)], 1)
            return maps.unflatten(2, (like.shape[2], like.shape[3]))

        def compared(cells: Tensor) -> Tensor:
            """How similar cells are to the most similar click of either kind (B 2 h w)."""
            flat, clicked = with_clicks(cells)
            return of_either_kind(torch.einsum("bdn,bdc->bnc", clicked, flat), cells)

        flat, clicked = with_clicks(fine_colors)
        distance = (clicked[:, :, :, None] - flat[:, :, None]).square().sum(1)
        alike = of_either_kind(torch.exp(-8.0 * distance), fine_colors, 0.0)
        embedding = self.coarse_embedding(appearance)
        finer = self.fine_embedding(tap_0) + F.interpolate(embedding, size=tap_0.shape[2:], mode="bilinear")
        similar = compared(F.normalize(embedding, dim=1))
        finer_similar = compared(F.normalize(finer, dim=1))

        hints = _hints(clicks, colors.shape[2], colors.shape[3])
        hints = torch.cat([hints, mask], 1)
        hints_4 = F.avg_pool2d(hints, 2)
        hints_8 = F.avg_pool2d(hints_4, 2)
        hints_16 = F.avg_pool2d(hints_8, 2)
        x = self.coarse(None, appearance, torch.cat([hints_16, similar], 1))
        inside = torch.cat([_mean(x, hints_16[:, :1]), x.mean((2, 3))], 1)
        x = x + F.relu(self.context(inside))[:, :, None, None]
        repeated = F.interpolate(similar, size=tap_0.shape[2:], mode="bilinear")
        x = self.middle(x, tap_0, torch.cat([hints_8, finer_similar, repeated], 1))
        x = self.fine(x, tap_1, torch.cat([hints_4, alike, fine_colors], 1))
        finest_alike = F.interpolate(alike, size=colors.shape[2:], mode="bilinear")
        return self.last(self.finest(x, colors, torch.cat([hints, finest_alike], 1)))


def _highest(values: Tensor, signs: Tensor, sign: int, least: float) -> Tensor:
    """The highest of the values (B N C) of clicks with a sign."""
    return torch.where((signs == sign)[:, :, None], values, values.new_full((), least)).amax(1)


def _mean(x: Tensor, weights: Tensor) -> Tensor:
    return (x * weights).sum((2, 3)) / (weights.sum((2, 3)) + 1e-3)


def _hints(clicks: Tensor, height: int, width: int) -> Tensor:
    """Disks and bells of clicks of either kind (B 6 h w)."""
    like = clicks.float()
    x = (torch.arange(width, device=clicks.device, dtype=torch.float32) + 0.5) * 2
    y = (torch.arange(height, device=clicks.device, dtype=torch.float32) + 0.5) * 2
    across = (x[None, None] - like[:, :, :1] * (2 * width)).square()
    down = (y[None, None] - like[:, :, 1:2] * (2 * height)).square()
    squares = down[:, :, :, None] + across[:, :, None]
    maps: list[Tensor] = []
    for sign in (1, -1):
        own = torch.where((like[:, :, 2] == sign)[:, :, None, None], squares, squares.new_full((), 1e6)).amin(1)
        distance = own.sqrt()
        maps.append(((DISK + 1 - distance) / 2).clamp(0, 1))
        maps += [torch.exp(-distance / reach) for reach in REACHES]
    return torch.stack(maps, 1)
