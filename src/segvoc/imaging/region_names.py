"""Names written in the regions of an overlay, where there is room for them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from segvoc.imaging.fonts import Font, drawable
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.regions import Regions

Box = tuple[int, int, int, int]
"""Left, top, right and bottom [pixels]; the last two are outside."""

_FILLED = 0.95
"""Share of a name's box that has to lie in its region."""

_GROWTH = 1.2
"""Factor from one trial size of the box around a name to the next."""

_LONGEST = 40
"""Characters of a name beyond which only the legend shows it."""

_TEXT, _RIM = (255, 255, 255), (18, 20, 24)


def draw_names(overlay: Image.Image, regions: Regions, sizes: Sequence[int], covered: Box = (0, 0, 0, 0)) -> None:
    """Write each region's name into it, white with a dark rim, which can be read on any background.

    A name lies in the middle of the largest box of its shape that fits into the region, so in its widest part. One that
    doesn't fit is tried in two lines, then in the next smaller size, of an object as its number alone, and is left out
    where nothing fits.

    Args:
        overlay: the image that is drawn on.
        regions: what is where; unlabeled pixels get no name.
        sizes: of the text [pixels], in the order in which they are tried.
        covered: where the legend will lie.
    """
    cells, step = regions.cells, regions.cell_size
    free = np.ones(cells.shape, bool)
    left, top, right, bottom = (edge / step for edge in covered)
    free[int(top) : math.ceil(bottom), int(left) : math.ceil(right)] = False
    draw = ImageDraw.Draw(overlay)
    classes = [(entry.region, entry.name) for entry in regions.entries if entry.region != UNLABELED]
    for region, *names in (*classes, *regions.objects):
        inside = (cells == region) & free
        written = (one for name in names if len(name) <= _LONGEST for one in _writings(name, sizes))
        for size, text, font in written:
            style: dict[str, Any] = {"font": font, "anchor": "mm", "align": "center"}
            style |= {"spacing": size // 6, "stroke_width": max(1, round(size / 9))}
            left, top, right, bottom = draw.textbbox((0, 0), text, **style)
            shape = (length + size / 2 for length in (right - left, bottom - top))
            place = _place(inside, *(math.ceil(length / step) for length in shape))
            if place is not None:
                x, y = place[0] * step - (left + right) / 2, place[1] * step - (top + bottom) / 2
                draw.text((x, y), text, _TEXT, stroke_fill=_RIM, **style)
                break


def _writings(name: str, sizes: Sequence[int]) -> Iterator[tuple[int, str, Font]]:
    """The ways to write a name: in one line or two, in each size."""
    for size in sizes:
        text, font = drawable(name, size)
        yield size, text, font
        spaces = [index for index, char in enumerate(text) if char == " "]
        if spaces:
            middle = min(spaces, key=lambda index: abs(2 * index - len(text)))
            yield size, f"{text[:middle]}\n{text[middle + 1 :]}", font


def _place(inside: Bool[np.ndarray, "h w"], width: int, height: int) -> tuple[float, float] | None:
    """Center (x, y) of the largest box of this shape that lies in a region; None if even the box itself doesn't fit."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if inside.sum() < _FILLED * width * height:
        return None
    top, left = rows[0], columns[0]
    sums = np.zeros((rows[-1] - top + 2, columns[-1] - left + 2), np.int32)
    sums[1:, 1:] = inside[top : rows[-1] + 1, left : columns[-1] + 1].cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
    fits, shape, growth = np.zeros((0, 0), bool), (0, 0), 1.0
    while True:
        across, down = round(width * growth), round(height * growth)
        if across >= sums.shape[1] or down >= sums.shape[0]:
            break
        filled = sums[down:, across:] - sums[:-down, across:] - sums[down:, :-across] + sums[:-down, :-across]
        fuller = filled >= _FILLED * across * down
        if not fuller.any():
            break
        fits, shape = fuller, (across, down)
        growth *= _GROWTH
    if not fits.size:
        return None
    y, x = np.nonzero(fits)
    nearest = np.argmin((x - x.mean()) ** 2 + (y - y.mean()) ** 2)
    return left + x[nearest] + shape[0] / 2, top + y[nearest] + shape[1] / 2
