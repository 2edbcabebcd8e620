"""The colors of classes and of their parts."""

import colorsys
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8, UInt32

from segvoc.vocabulary import Part, folded, parts_by_object

UNLABELED_COLOR = (0, 0, 0)
"""Black; no class is black."""

BACKGROUND_COLOR = (128, 128, 128)
"""Gray, reserved for the background, so that it never stands out."""

_FIRST_COLORS = (
    *((238, 52, 18), (49, 65, 205), (255, 184, 46), (5, 251, 191), (161, 158, 255), (0, 141, 122), (231, 83, 203)),
    *((130, 72, 6), (172, 5, 83), (154, 80, 232), (106, 81, 148), (196, 229, 144), (254, 186, 255), (185, 114, 160)),
    *((12, 150, 217), (255, 144, 129), (93, 127, 7), (3, 194, 103), (31, 209, 213), (172, 171, 16)),
)
"""Twenty colors that are distinguishable on photos, the most distinct first.

Optimized by simulated annealing to maximize the smallest distance between any two, also under simulated red-green and
blue color blindness (Machado, Oliveira and Fernandes 2009).
"""

_RGB_TO_CONES = np.array(
    [
        [0.41222147, 0.53633254, 0.05144599],
        [0.21190350, 0.68069955, 0.10739696],
        [0.08830246, 0.28171884, 0.62997870],
    ]
)

_CONES_TO_OKLAB = np.array(
    [
        [0.21045426, 0.79361779, -0.00407205],
        [1.97799850, -2.42859221, 0.45059371],
        [0.02590404, 0.78277177, -0.80867577],
    ]
)


def class_colors(n: int) -> UInt8[np.ndarray, "n 3"]:
    """RGB colors of n classes, never black, white or gray.

    The color of class i is the same for every n > i, so a word keeps its color in all images of a vocabulary. The first
    20 are all distinguishable. Up to 256, each color is the farthest in OKLab from all before it. The rest follow in
    shuffled order. The first 19,000 colors are all different; after that they repeat.
    """
    palette = _palette()
    return palette[np.arange(n) % len(palette)]


def word_colors(words: Sequence[str], background: str | None = None) -> UInt8[np.ndarray, "K 3"]:
    """RGB colors of the K words; the background (the given word, or "background") is gray."""
    colors, none = class_colors(len(words)), folded(background or "background")
    colors[[folded(word) == none for word in words]] = BACKGROUND_COLOR
    return colors


@functools.cache
def _palette() -> UInt8[np.ndarray, "n 3"]:
    coarse, fine = _vivid_colors(step=12), _vivid_colors(step=8)
    chosen = [np.array(color, np.uint8) for color in _FIRST_COLORS]
    candidates = oklab(coarse)
    nearest = np.full(len(candidates), np.inf)
    for index in range(256):
        if index >= len(chosen):
            chosen.append(coarse[nearest.argmax()])
        distances = np.square(candidates - oklab(chosen[index][None])).sum(axis=1)
        nearest = np.minimum(nearest, distances)
    # A stride coprime to their number visits all of them, and separates neighboring colors.
    rest = fine[np.arange(len(fine)) * 7919 % len(fine)]
    everything = np.concatenate([np.stack(chosen), rest])
    _, first = np.unique(everything, axis=0, return_index=True)
    palette = everything[np.sort(first)]
    palette.flags.writeable = False
    return palette


def _vivid_colors(step: int) -> UInt8[np.ndarray, "n 3"]:
    """The colors of an RGB grid, except dark, pale, grayish and glaring colors."""
    axis = np.arange(0, 256, step, dtype=np.uint8)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, a, b = oklab(grid).T
    chroma = np.hypot(a, b)
    return grid[(lightness > 0.4) & (lightness < 0.9) & (chroma > 0.08) & (chroma < 0.26)]


def oklab(rgb: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """OKLab, where distances match perceived differences (Ottosson 2020, bottosson.github.io/posts/oklab).

    Lightness in [0, 1], and the opponent axes green-red and blue-yellow. Computed in float64: in float32, candidates
    for a palette's next color can tie within rounding, and processors would choose different colors.
    """
    srgb = rgb.astype(np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _RGB_TO_CONES.T) @ _CONES_TO_OKLAB.T


def packed(colors: UInt8[np.ndarray, "*n 3"] | tuple[int, int, int]) -> UInt32[np.ndarray, "*n"]:
    """Pack RGB colors into one number each, with the bytes R, G, B and 255.

    Lookup and writing are several times faster than with rows of three bytes.
    """
    colors = np.asarray(colors, np.uint8)
    return np.concatenate([colors, np.full_like(colors[..., :1], 255)], axis=-1).view(np.uint32)[..., 0]


def part_colors(
    words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], parts: Sequence[Part]
) -> UInt8[np.ndarray, "M 3"]:
    """RGB colors of the M parts.

    A part of a named object is a shade of that object's color; a part of any object has a color that no class has.
    """
    result = class_colors(len(words) + len(parts))[len(words) :].copy()
    for of_word, color in zip(parts_by_object(words, parts), colors, strict=True):
        for (index, part), shade in zip(of_word, shades(color, len(of_word)), strict=True):
            if part.object is not None:
                result[index] = shade
    return result


def shades(color: Sequence[int] | UInt8[np.ndarray, " 3"], number: int) -> list[UInt8[np.ndarray, " 3"]]:
    """RGB shades of a color, from dark to light; neighbors also differ slightly in hue."""
    hue, own_lightness, saturation = colorsys.rgb_to_hls(*(int(value) / 255 for value in color))
    # skip the lightness nearest to the color itself
    lightness = np.linspace(0.22, 0.86, number + 1)
    lightness = np.delete(lightness, np.abs(lightness - own_lightness).argmin()).tolist()
    hues = [(hue + (0.06 if index % 2 else -0.06)) % 1 for index in range(number)]
    result = [colorsys.hls_to_rgb(*shade, saturation) for shade in zip(hues, lightness, strict=True)]
    return [np.array([round(255 * value) for value in shade], np.uint8) for shade in result]
