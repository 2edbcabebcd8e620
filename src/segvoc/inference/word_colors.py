"""Words that differ in the color of one kind of thing ("red car", "white car"): pixels decide between them.

An image encoder that was trained to tell things apart hardly tells their colors. So where "red car" is beside "white
car", the model finds the cars, and the pixels of each say which of the two it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32

from segvoc.encoders.lexicon import COLORS, WordFacts
from segvoc.inference.edges import connected_cells
from segvoc.runtime.arrays import Array, array_namespace, strongest

LEAST_SHARE = 0.05
"""Share of a region's votes that a color needs."""

NEIGHBORHOOD = 8
"""The side of a view, divided by the distance up to which neighbors of a cell vote. They count as much as all its
connected cells: things of several colors may touch, and panes and wheels of a car have colors of their own."""

KEPT = 64
"""Number of words up to which class selection drops none, where colors decide between some of them."""

_WEIGHTS = np.array([0.75, 1.0, 1.0, *[1.5] * 8])
"""How much a pixel of each of `COLORS` counts: in things of any color, shadows, tires and panes are black, and
highlights have no color."""

_HUES = (12, 42, 70, 165, 260, 300, 345)
"""Where red, orange, yellow, green, blue, purple and pink end [degrees]."""


class ColoredWords(NamedTuple):
    """Words for one kind of thing in several colors."""

    words: tuple[int, ...]
    """Indices among the asked words."""
    colors: tuple[int, ...]
    """Their places in `COLORS`."""


def colored_words(facts: Sequence[WordFacts]) -> tuple[ColoredWords, ...]:
    """Groups of words that differ in the color of what they name."""
    kinds = dict.fromkeys(fact.kind for fact in facts if fact.color is not None)
    groups = [[at for at, fact in enumerate(facts) if fact.color is not None and fact.kind == kind] for kind in kinds]
    found = (ColoredWords(tuple(some), tuple(COLORS.index(str(facts[at].color)) for at in some)) for some in groups)
    return tuple(group for group in found if len(set(group.colors)) > 1)


def color_names(pixels: Float[Array, "3 H W"]) -> Int32[Array, "H W"]:
    """The place in `COLORS` of each pixel's color; `pixels` are RGB in [0, 255]."""
    xp = array_namespace(pixels)
    red, green, blue = (pixels[channel, ...] / 255 for channel in range(3))
    value = xp.maximum(xp.maximum(red, green), blue)
    chroma = value - xp.minimum(xp.minimum(red, green), blue)
    unit = 60 / xp.maximum(chroma, xp.full_like(chroma, 1e-6))
    hue = xp.where(value == green, 120 + unit * (blue - red), 240 + unit * (red - green))
    hue = xp.where(value == red, unit * (green - blue), hue)
    hue = xp.where(hue < 0, hue + 360, hue)
    light, colorful = value > 0.55, (chroma >= 0.25 * value) & (chroma >= 0.1) & (value >= 0.15)
    is_red = (hue < _HUES[0]) | (hue >= _HUES[-1])
    conditions = {
        "black": ~colorful & (value < 0.25),
        "gray": ~colorful & (value <= 0.72),
        "white": ~colorful,
        "pink": is_red & light & (chroma < 0.5 * value),
        "red": is_red,
        "brown": (hue < _HUES[1]) & ~light,
        "orange": hue < _HUES[1],
        "yellow": hue < _HUES[2],
        "green": hue < _HUES[3],
        "blue": hue < _HUES[4],
        "purple": (hue < _HUES[5]) | ~light,
    }
    names = xp.full_like(value, COLORS.index("pink"), dtype=xp.int32)
    for color, holds in reversed(conditions.items()):
        names = xp.where(holds, xp.full_like(names, COLORS.index(color)), names)
    return names


def with_colors(
    maps: Float[np.ndarray, "P h w"],
    kept: Int[np.ndarray, " P"],
    groups: Sequence[ColoredWords],
    names: Int32[np.ndarray, "H W"],
    num_asked: int,
) -> Float[np.ndarray, "P h w"]:
    """Give cells of a group's words to the word whose color most pixels around them have, in their connected cells.

    In these cells, the maps of this word and of the one that won are swapped (in a copy). Only pixels count where no
    unasked word is likelier. Nothing changes if few of them have the color (`LEAST_SHARE`), or if the word was dropped.

    Args:
        maps: of the words that class selection kept.
        kept: their numbers, ascending; the asked words come first.
        groups: see `colored_words`.
        names: see `color_names`.
        num_asked: number of asked words.
    """
    place, own = np.full(num_asked, -1), kept[kept < num_asked]
    place[own] = np.arange(len(own))
    won, changed = strongest(maps[: len(own)])[1], maps.copy()
    votes = _votes(names, won.shape) * (strongest(maps)[1] == won)
    for group in groups:
        places, colors = place[[*group.words]], np.array(group.colors)
        color_of = np.full(len(own), -1)
        color_of[places[places >= 0]] = colors[places >= 0]
        inside = color_of[won] >= 0
        if not inside.any():
            continue
        shares = _shares(votes * inside, connected_cells(inside.astype(np.int64)))[colors]
        new = np.where(shares.max(axis=0) > LEAST_SHARE, places[shares.argmax(axis=0)], -1)
        at = np.nonzero(inside & (new >= 0) & (color_of[won] != color_of[new]))
        old, new = won[at], new[at]
        changed[new, *at], changed[old, *at] = maps[old, *at], maps[new, *at]
    return changed


def _votes(names: Int32[np.ndarray, "H W"], cells: tuple[int, ...]) -> Float[np.ndarray, "11 h w"]:
    """How many pixels of each cell have each color, as far as they count."""
    rows, columns = (np.arange(pixels) * side // pixels for pixels, side in zip(names.shape, cells, strict=True))
    places = (names * cells[0] + rows[:, None]) * cells[1] + columns
    counts = np.bincount(places.ravel(), minlength=len(COLORS) * cells[0] * cells[1])
    return counts.reshape(len(COLORS), *cells) * _WEIGHTS[:, None, None]


def _shares(votes: Float[np.ndarray, "11 h w"], part: Int[np.ndarray, "h w"]) -> Float[np.ndarray, "11 h w"]:
    """Share of each color in the votes around each cell, and in those of all its connected cells: the mean of both."""
    of_parts = np.stack([np.bincount(part.ravel(), of_color.ravel()) for of_color in votes])[:, part]
    around = votes
    for axis in (1, 2):
        side = votes.shape[axis]
        sums = np.insert(around.cumsum(axis=axis), 0, 0, axis=axis)
        at, reach = np.arange(side), side // NEIGHBORHOOD
        around = sums.take(np.minimum(at + reach + 1, side), axis) - sums.take(np.maximum(at - reach, 0), axis)
    nearby, connected = (some / np.maximum(some.sum(axis=0), 1) for some in (around, of_parts))
    return (nearby + connected) / 2
