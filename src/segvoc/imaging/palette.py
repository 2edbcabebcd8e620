"""The colors of classes and of their parts."""

import colorsys
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt32
from PIL import Image

from segvoc.vocabulary import Part, parts_by_object
from segvoc.vocabulary.names import folded

UNLABELED_COLOR = (0, 0, 0)
"""Black; no class is black."""

BACKGROUND_COLOR = (128, 128, 128)
"""Gray, reserved for the background, so that it never stands out."""

_TABLE = Path(__file__).with_name("class_colors.png")
"""The colors of classes, row by row, as `class_colors` describes them (tools/make_palette.py computes them).

The first twenty were optimized by simulated annealing to maximize the smallest distance between any two, also under
simulated red-green and blue color blindness (Machado, Oliveira and Fernandes 2009). Up to 256, each is the farthest
from all before it in OKLab, where distances match perceived differences (Ottosson 2020). None is dark, pale or grayish.
"""


def class_colors(n: int) -> UInt8[np.ndarray, "n 3"]:
    """RGB colors of n classes, never black, white or gray.

    The color of class i is the same for every n > i, so a word keeps its color in all images of a vocabulary. The first
    20 are all distinguishable, also on photos, and the most distinct come first. The first 19,000 colors are all
    different; after that they repeat.
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
    with Image.open(_TABLE) as table:
        return np.asarray(table).reshape(-1, 3)


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
