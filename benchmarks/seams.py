"""Seams between the tiles of a label map."""

import numpy as np
from jaxtyping import UInt16

from segvoc.inference.tile_grid import TileAxis

NEAR = 2
"""Pixels on both sides of a line that count as across it."""


def seams(labels: UInt16[np.ndarray, "H W"], rows: TileAxis, columns: TileAxis) -> dict[str, float]:
    """How often neighboring pixels differ in their label: across the lines of tiles, and elsewhere.

    Lines are where a tile begins or ends, and halfway between the two, where both tiles weigh the same. Pairs along an
    axis are counted near the lines of that axis, for both axes together.

    Args:
        labels: a label map.
        rows: its tiles from top to bottom.
        columns: from left to right.
    """
    pairs, different = np.zeros(2, np.int64), np.zeros(2, np.int64)
    for axis, tiles in ((0, rows), (1, columns)):
        near = np.zeros(tiles.side - 1, bool)
        for begin, before in zip(tiles.starts[1:], tiles.starts, strict=False):
            end = before + tiles.size
            for line in (begin, (begin + end) // 2, end):
                near[max(0, line - NEAR) : line + NEAR] = True
        change = (np.diff(labels.astype(np.int32), axis=axis) != 0).mean(axis=1 - axis)
        other = labels.shape[1 - axis]
        for place, some in enumerate((near, ~near)):
            pairs[place] += int(some.sum()) * other
            different[place] += round(float(change[some].sum()) * other)
    across, elsewhere = different / np.maximum(1, pairs)
    return {"across": round(float(across), 6), "elsewhere": round(float(elsewhere), 6)}
