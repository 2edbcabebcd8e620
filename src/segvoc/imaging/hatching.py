"""Hatching, which tells touching regions apart where their colors don't."""

from dataclasses import replace

import numpy as np
from jaxtyping import Integer, UInt32

from segvoc.imaging.color_vision import look_alike, stripe_color
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.palette import packed
from segvoc.imaging.regions import Regions

_SHORTEST_BORDER = 4
"""Cells of the coarse map along which two regions have to touch."""


def with_hatching(regions: Regions) -> Regions:
    """The regions, of which those are hatched that touch a larger one whose color looks alike."""
    entries = sorted((entry for entry in regions.entries if entry.region != UNLABELED), key=lambda e: -e.fraction)
    ranks = {entry.region: rank for rank, entry in enumerate(entries)}
    colors = np.array([entry.color for entry in entries], np.uint8).reshape(-1, 3)
    touching = [sorted(ranks[region] for region in pair) for pair in _touching(regions.cells) if ranks.keys() >= pair]
    pairs = np.array(touching, np.int64).reshape(-1, 2)
    larger: list[list[int]] = [[] for _ in entries]
    for first, second in pairs[look_alike(*colors[pairs.T])].tolist():
        larger[second].append(first)
    directions: list[int] = []
    for others in larger:
        taken = {directions[other] for other in others}
        directions.append(next((direction for direction in (0, 1, -1) if direction not in taken), 1))
    hatched = dict(zip(ranks, directions, strict=True))
    return replace(regions, entries=[replace(e, hatching=hatched.get(e.region, 0)) for e in regions.entries])


def _touching(cells: Integer[np.ndarray, "h w"]) -> list[set[int]]:
    """Pairs of regions that have a border."""
    sides = [(cells[:, 1:], cells[:, :-1]), (cells[1:], cells[:-1])]
    pairs = np.concatenate([np.stack([one[one != other], other[one != other]]) for one, other in sides], axis=1)
    # a pair as one number: sorting those is quicker
    numbers = pairs.min(axis=0).astype(np.int64) << 32 | pairs.max(axis=0)
    borders, lengths = np.unique(numbers, return_counts=True)
    return [{border >> 32, border & 0xFFFFFFFF} for border in borders[lengths >= _SHORTEST_BORDER].tolist()]


def draw_hatching(painted: UInt32[np.ndarray, "H W"], regions: Regions, spacing: int) -> None:
    """Draw diagonal stripes over the hatched regions, dark ones on light colors and light ones on dark colors.

    Args:
        painted: each pixel's color, as `packed` makes it.
        regions: what is where.
        spacing: of the stripes [pixels].
    """
    columns = np.arange(painted.shape[1])
    for entry in regions.entries:
        if not entry.hatching:
            continue
        stripe = packed(stripe_color(entry.color))
        for phase in range(spacing):  # rows of one phase have their stripes in the same columns
            rows, striped = slice(phase, None, spacing), (columns + entry.hatching * phase) % spacing < spacing // 3
            np.copyto(painted[rows], stripe, where=(regions.labels[rows] == entry.region) & striped)
