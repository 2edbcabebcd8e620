"""The colors of classes, a table that segvoc reads: `python tools/make_palette.py` writes the shipped one again."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

import segvoc.imaging.palette as shipped

FIRST = (
    *((238, 52, 18), (49, 65, 205), (255, 184, 46), (5, 251, 191), (161, 158, 255), (0, 141, 122), (231, 83, 203)),
    *((130, 72, 6), (172, 5, 83), (154, 80, 232), (106, 81, 148), (196, 229, 144), (254, 186, 255), (185, 114, 160)),
    *((12, 150, 217), (255, 144, 129), (93, 127, 7), (3, 194, 103), (31, 209, 213), (172, 171, 16)),
)
"""The first twenty, from simulated annealing."""

WIDTH = 174
"""Of the table's image; its rows follow one another."""

RGB_TO_CONES = (
    (0.41222147, 0.53633254, 0.05144599),
    (0.2119035, 0.68069955, 0.10739696),
    (0.08830246, 0.28171884, 0.6299787),
)
CONES_TO_OKLAB = (
    (0.21045426, 0.79361779, -0.00407205),
    (1.97799850, -2.42859221, 0.45059371),
    (0.02590404, 0.78277177, -0.80867577),
)


def palette() -> UInt8[np.ndarray, "n 3"]:
    """The twenty, then up to 256 the color of a coarse grid that is farthest from all before it, then a fine grid."""
    coarse, fine = vivid_colors(step=12), vivid_colors(step=8)
    chosen = [np.array(color, np.uint8) for color in FIRST]
    candidates = oklab(coarse)
    nearest = np.full(len(candidates), np.inf)
    for index in range(256):
        if index >= len(chosen):
            chosen.append(coarse[nearest.argmax()])
        nearest = np.minimum(nearest, np.square(candidates - oklab(chosen[index][None])).sum(axis=1))
    # a stride coprime to their number visits all of them, and separates neighboring colors
    everything = np.concatenate([np.stack(chosen), fine[np.arange(len(fine)) * 7919 % len(fine)]])
    _, first = np.unique(everything, axis=0, return_index=True)
    return everything[np.sort(first)]


def vivid_colors(step: int) -> UInt8[np.ndarray, "n 3"]:
    """The colors of an RGB grid, except dark, pale, grayish and glaring colors."""
    axis = np.arange(0, 256, step, dtype=np.uint8)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, a, b = oklab(grid).T
    chroma = np.hypot(a, b)
    return grid[(lightness > 0.4) & (lightness < 0.9) & (chroma > 0.08) & (chroma < 0.26)]


def oklab(rgb: UInt8[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """OKLab (Ottosson 2020): lightness in [0, 1], axes green-red and blue-yellow; in float32, candidates tie."""
    srgb = rgb.astype(np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ np.array(RGB_TO_CONES).T) @ np.array(CONES_TO_OKLAB).T


if __name__ == "__main__":
    Image.fromarray(palette().reshape(-1, WIDTH, 3)).save(Path(shipped.__file__).with_name("class_colors.png"))
