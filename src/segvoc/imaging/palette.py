"""The colours of classes and of their parts."""

import colorsys
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from segvoc.vocabulary import Part, parts_by_object

UNLABELLED_COLOR = (0, 0, 0)
"""Black, which no class has."""

_FIRST_COLORS = (
    *((230, 60, 60), (40, 130, 220), (60, 180, 75), (255, 190, 20), (150, 70, 200), (30, 200, 200), (245, 130, 40)),
    *((240, 80, 190), (170, 220, 50), (130, 90, 60), (125, 150, 255), (0, 135, 125), (255, 160, 150), (110, 120, 20)),
    *((190, 150, 230), (170, 30, 90), (130, 215, 160), (70, 80, 160), (215, 165, 110), (25, 110, 50)),
)
"""Twenty colours that are easy to tell apart on photographs, chosen by eye."""

_LINEAR_TO_CONES = np.array(
    [
        [0.41222147, 0.53633254, 0.05144599],
        [0.21190350, 0.68069955, 0.10739696],
        [0.08830246, 0.28171884, 0.62997870],
    ],
    np.float32,
)

_CONES_TO_OKLAB = np.array(
    [
        [0.21045426, 0.79361779, -0.00407205],
        [1.97799850, -2.42859221, 0.45059371],
        [0.02590404, 0.78277177, -0.80867577],
    ],
    np.float32,
)


def class_colors(n: int) -> UInt8[np.ndarray, "n 3"]:
    """RGB colours of n classes, never black, white or grey.

    The colour of class i is the same for every n > i. The first 20 are chosen by hand. Up to 256, each colour is the
    one farthest from all before it in OKLab, where distances match perceived differences (Ottosson 2020). The rest
    follow in shuffled order. The first 19,000 colours are all different; after that they repeat.
    """
    palette = _palette()
    return palette[np.arange(n) % len(palette)]


@functools.cache
def _palette() -> UInt8[np.ndarray, "n 3"]:
    coarse, fine = _vivid_colors(step=12), _vivid_colors(step=8)
    chosen = [np.array(color, np.uint8) for color in _FIRST_COLORS]
    candidates = _oklab(coarse)
    nearest = np.full(len(candidates), np.inf, np.float32)
    for index in range(256):
        if index >= len(chosen):
            chosen.append(coarse[nearest.argmax()])
        distances = np.square(candidates - _oklab(chosen[index][None])).sum(axis=1)
        nearest = np.minimum(nearest, distances)
    # A stride without a common factor with their number visits all of them, and separates neighbouring colours.
    rest = fine[np.arange(len(fine)) * 7919 % len(fine)]
    everything = np.concatenate([np.stack(chosen), rest])
    _, first = np.unique(everything, axis=0, return_index=True)
    palette = everything[np.sort(first)]
    palette.flags.writeable = False
    return palette


def _vivid_colors(step: int) -> UInt8[np.ndarray, "n 3"]:
    """The colours of an RGB grid that are neither dark, nor pale, nor greyish, nor glaring."""
    axis = np.arange(0, 256, step, dtype=np.uint8)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, a, b = _oklab(grid).T
    chroma = np.hypot(a, b)
    return grid[(lightness > 0.42) & (lightness < 0.88) & (chroma > 0.07) & (chroma < 0.22)]


def _oklab(rgb: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """OKLab: lightness in [0, 1], and the opponent axes green-red and blue-yellow (bottosson.github.io/posts/oklab)."""
    srgb = rgb.astype(np.float32) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _LINEAR_TO_CONES.T) @ _CONES_TO_OKLAB.T


def part_colors(
    words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], parts: Sequence[Part]
) -> UInt8[np.ndarray, "M 3"]:
    """RGB colours of the M parts.

    A part of a named object is a shade of that object's colour; a part of any object has a colour that no class has.
    """
    result = class_colors(len(words) + len(parts))[len(words) :].copy()
    for of_word, color in zip(parts_by_object(words, parts), colors, strict=True):
        for (index, part), shade in zip(of_word, shades(color, len(of_word)), strict=True):
            if part.object is not None:
                result[index] = shade
    return result


def shades(color: Sequence[int] | UInt8[np.ndarray, " 3"], number: int) -> list[UInt8[np.ndarray, " 3"]]:
    """RGB shades of a colour, from dark to light; neighbours also differ slightly in hue."""
    hue, own_lightness, saturation = colorsys.rgb_to_hls(*(int(value) / 255 for value in color))
    # one lightness too many: the one nearest to the colour itself is left out
    lightness = np.linspace(0.22, 0.86, number + 1)
    lightness = np.delete(lightness, np.abs(lightness - own_lightness).argmin()).tolist()
    hues = [(hue + (0.06 if index % 2 else -0.06)) % 1 for index in range(number)]
    result = [colorsys.hls_to_rgb(*shade, saturation) for shade in zip(hues, lightness, strict=True)]
    return [np.array([round(255 * value) for value in shade], np.uint8) for shade in result]
