"""Reading brush masks of Label Studio, bit by bit as the format is described; slow, and written apart from ours."""

from collections.abc import Sequence

import numpy as np


def unpacked(mask: Sequence[int], height: int, width: int) -> np.ndarray:
    """The alpha channel (H, W) of a mask whose channels are equal."""
    bits = "".join(f"{byte:08b}" for byte in mask)
    at = 0

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int(bits[at - size : at], 2)

    number, value_size = read(32), read(5) + 1
    widths = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < number:
        repeated, width_of_length = read(1), widths[read(2)]
        length = read(width_of_length) + 1
        values += [read(value_size)] * length if repeated else [read(value_size) for _ in range(length)]
    assert len(values) == number
    assert len(bits) - at < 16 and "1" not in bits[at:]
    pixels = np.array(values).reshape(height, width, 4)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 3]
