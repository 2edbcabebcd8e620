"""The overlay: classes as colors over the image, with names (in any script) and a legend."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer, UInt8, UInt16, UInt32
from PIL import Image, ImageDraw, ImageEnhance

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.legend import PANEL_COLOR, Font, LegendEntry, draw_legend, drawable, line_height
from segvoc.imaging.palette import UNLABELED_COLOR, packed, shades
from segvoc.vocabulary import Part, parts_by_object

_CELLS = 320
"""Cells of the coarse map along the longer side of the image."""


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of an image."""

    labels: Integer[np.ndarray, "H W"]
    """Index of each pixel's region."""
    colors: UInt8[np.ndarray, "R 3"]
    entries: list[LegendEntry]
    """Lines of the legend, largest region first; parts follow their object."""
    objects: list[tuple[int, str, str]] = field(default_factory=list)
    """Objects drawn as separate regions: the region, its name with its number ("cat 2"), and the number alone."""


_WIDTH_SHARE, _HEIGHT_SHARE = 0.4, 0.6
"""Maximum share of the image's width and height for a legend inside."""

_MOST_INSIDE = 6
"""Maximum number of classes of a legend inside; longer legends go beside the image."""

_PANORAMA = 2.2
"""Aspect ratio from which a legend outside goes below the image rather than beside it."""

_SMALLEST_TEXT = 11
"""Minimum size of readable text [px]."""

_LINE = (255, 255, 255)
"""RGB of outlines."""

_ROWS_OUTSIDE = 16
"""Maximum number of legend lines outside that may make the overlay taller than the image."""


@dataclass(frozen=True, kw_only=True)
class OverlayStyle:
    """Settings of an overlay."""

    alpha: float = 0.5
    """Weight of the colors, in [0, 1]; at 0 only outlines, names and legend are visible."""
    names: bool = True
    """Write names into regions with enough room."""
    legend: bool = True
    """List the classes, largest first, unlabeled last: up to six in the corner where they hide the fewest borders;
    beside or below the image if there are more, or the image is too small or narrow."""
    max_pixels: int | None = None
    """Downscale larger images to about this many pixels; None: full size."""


SAVED_OVERLAY = OverlayStyle(max_pixels=4_000_000)
"""Default of saved overlays: images larger than most screens are downscaled."""


def draw_overlay(
    image: UInt8[np.ndarray, "H W 3"], regions: Regions, style: OverlayStyle, notes: Sequence[str] = ()
) -> Image.Image:
    """Blend the colors of the regions over an image, and draw outlines, white with dark edges: visible on any color.

    Args:
        image: the image, RGB.
        regions: the regions; pixels without a class (65535) are unchanged.
        style: the settings; `max_pixels` is the caller's. An `alpha` outside [0, 1] is a `UsageError`.
        notes: further lines of the legend.

    Returns:
        An RGB image, of the size of `image` unless the legend is outside.
    """
    if not 0 <= style.alpha <= 1:
        raise UsageError(f"alpha={style.alpha} is not the weight of the colors; give a number from 0 to 1")
    paint = Paint.of(regions)
    overlay = paint.over(image, style.alpha)
    panel, corner, size = None, (0, 0), text_sizes(*overlay.size)[1]
    if style.legend and len(regions.entries) <= _MOST_INSIDE:
        has_room = overlay.width >= 30 * size and overlay.height >= 22 * size
        limits = round(overlay.width * _WIDTH_SHARE), round(overlay.height * _HEIGHT_SHARE)
        panel = draw_legend(regions.entries, *limits, size, notes=notes, shorten=has_room)
    if panel is not None:
        corner = _free_corner(panel, paint.borders, margin_of(overlay))
    finish_overlay(overlay, regions, style, panel, corner)
    if panel is None and style.legend:
        overlay = _with_legend_outside(overlay, regions.entries, notes, size)
    return overlay


def text_sizes(width: int, height: int) -> tuple[int, int]:
    """Sizes of the text of names and of legends, in an overlay of this size [px]."""
    shorter, longer = sorted((width, height))
    # for panoramas, the longer side decides, since it has to fit on a screen
    names, legend = (max(_SMALLEST_TEXT, round(shorter / share), round(longer / 2.35 / share)) for share in (24, 34))
    return names, legend


def margin_of(overlay: Image.Image) -> int:
    """Distance of a legend inside from the edges [px]."""
    return max(4, round(min(overlay.size) / 60))


def finish_overlay(
    overlay: Image.Image, regions: Regions, style: OverlayStyle, panel: Image.Image | None, corner: tuple[int, int]
) -> None:
    """Write names into the regions, and put a legend's panel on it, with this left upper corner."""
    if style.names:
        covered = (0, 0, 0, 0) if panel is None else (*corner, corner[0] + panel.width, corner[1] + panel.height)
        draw_names(overlay, regions, text_sizes(*overlay.size), covered)
    if panel is not None:
        overlay.paste(panel, corner, panel)


@dataclass(frozen=True, eq=False)
class Paint:
    """The colors and outlines of regions, to blend over an image."""

    colors: UInt32[np.ndarray, "H W"]
    """Each pixel's color, `packed`."""
    lines: Bool[np.ndarray, "H W"]
    borders: Bool[np.ndarray, "H W"]
    """Pixels whose right or lower neighbor is in another region."""
    clear: Bool[np.ndarray, "H W"]
    """Pixels without a class or an outline, which show the image."""

    @classmethod
    def of(cls, regions: Regions) -> "Paint":
        """Paint regions, with white lines between them; their dark edges would hide too much of thumbnails."""
        labels, painted = regions.labels, packed(regions.colors)[regions.labels]
        borders = np.zeros(labels.shape, bool)
        borders[:, :-1] = labels[:, 1:] != labels[:, :-1]
        borders[:-1] |= labels[1:] != labels[:-1]
        line = _widened(borders, max(1, round(min(borders.shape) / 450)))
        wide = _widened(line, 1 + 2 * round(min(borders.shape) / 600))
        painted[wide] = packed(PANEL_COLOR)
        painted[line] = packed(_LINE)
        return cls(painted, line, borders, (labels == UNLABELED) & ~wide)

    def over(self, image: UInt8[np.ndarray, "H W 3"], alpha: float) -> Image.Image:
        """Blend the colors over an RGB image, with a weight in [0, 1]; outlines stay white."""
        photograph = np.array(image)
        photograph[self.lines] = _LINE
        # partly desaturate the photo: its colors would tint the colors of the classes
        faded = ImageEnhance.Color(Image.fromarray(photograph)).enhance(1 - alpha)
        colored = Image.frombytes("RGB", faded.size, self.colors.data, "raw", "RGBX")
        drawn = Image.blend(faded, colored, alpha)
        drawn.paste(Image.fromarray(photograph), mask=Image.fromarray(self.clear))
        return drawn


def _widened(lines: Bool[np.ndarray, "H W"], width: int) -> Bool[np.ndarray, "H W"]:
    """Dilate lines by a square of this width [px]."""
    for axis in (0, 1):
        after = width // 2
        wide = np.pad(lines, [(0, after) if along == axis else (0, 0) for along in (0, 1)])
        moved, reached = np.moveaxis(wide, axis, 0), 1
        while reached < width:
            shift = min(reached, width - reached)
            moved[shift:] |= moved[:-shift]
            reached += shift
        lines = np.moveaxis(moved[after:], 0, axis)
    return lines


def _free_corner(panel: Image.Image, borders: Bool[np.ndarray, "H W"], margin: int) -> tuple[int, int]:
    """Left and top of a panel where it hides the fewest borders."""
    height, width = borders.shape
    right, bottom = width - panel.width - margin, height - panel.height - margin
    corners = [(margin, bottom), (margin, margin), (right, bottom), (right, margin)]
    return min(corners, key=lambda at: borders[at[1] : at[1] + panel.height, at[0] : at[0] + panel.width].sum())


def _with_legend_outside(
    overlay: Image.Image, entries: Sequence[LegendEntry], notes: Sequence[str], size: int
) -> Image.Image:
    """A larger image with the legend beside it, or below a panorama."""
    least = (_ROWS_OUTSIDE + 1) * line_height(size)
    panel = draw_legend(entries, 24 * size, max(overlay.height, least), size, notes=notes)
    below = overlay.width > _PANORAMA * overlay.height
    if panel is not None and below:
        columns = max(1, overlay.width // panel.width)
        panel = draw_legend(entries, max(overlay.width, panel.width), least, size, notes=notes, columns=columns)
    if panel is None:
        return overlay
    corner = (0, overlay.height) if below else (overlay.width, 0)
    canvas_size = max(overlay.width, corner[0] + panel.width), max(overlay.height, corner[1] + panel.height)
    canvas = Image.new("RGB", canvas_size, PANEL_COLOR)
    canvas.paste(overlay)
    canvas.paste(panel, corner, panel)
    return canvas


def class_regions(labels: UInt16[np.ndarray, "H W"], words: Sequence[str], colors: UInt8[np.ndarray, "K 3"]) -> Regions:
    """The regions of the K classes, and of the unlabeled pixels (65535)."""
    table = np.empty((UNLABELED + 1, 3), np.uint8)
    table[:] = UNLABELED_COLOR
    table[: len(colors)] = colors
    counts = np.bincount(labels.ravel(), minlength=UNLABELED + 1)
    # the legend lists the classes, so unlabeled comes last, however large it is
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda label: (label == UNLABELED, -counts[label]))
    names = {label: words[label] if label != UNLABELED else "unlabeled" for label in order}
    entries = [
        LegendEntry(region=label, name=name, color=tuple(table[label].tolist()), fraction=counts[label] / labels.size)
        for label, name in names.items()
    ]
    return Regions(labels, table, entries)


def with_parts(
    regions: Regions, words: Sequence[str], part_labels: UInt16[np.ndarray, "H W"], parts: Sequence[Part]
) -> Regions:
    """The regions of classes, divided into their parts, in shades of the class's color."""
    labels = regions.labels.astype(np.int32)
    colors, entries = [regions.colors], []
    number = len(regions.colors)
    of_words = list(parts_by_object(words, parts))
    for entry in regions.entries:
        entries.append(entry)
        of_word = [] if entry.region == UNLABELED else of_words[entry.region]
        if not of_word:
            continue
        inside = regions.labels == entry.region
        counts = np.bincount(part_labels[inside], minlength=UNLABELED + 1)
        of_object = []
        for (index, part), shade in zip(of_word, shades(entry.color, len(of_word)), strict=True):
            if counts[index]:
                labels[inside & (part_labels == index)] = number
                colors.append(shade[None])
                color, fraction = tuple(shade.tolist()), counts[index] / labels.size
                of_object.append(
                    LegendEntry(region=number, name=part.part, color=color, fraction=fraction, of_part=True)
                )
                number += 1
        entries += sorted(of_object, key=lambda entry: -entry.fraction)
    return Regions(labels, np.concatenate(colors), entries)


def with_object_borders(regions: Regions, words: Sequence[str], objects: UInt16[np.ndarray, "H W"]) -> Regions:
    """The regions of classes, divided into their objects (0: none), each with borders and a number."""
    inside = (objects > 0) & (regions.labels != UNLABELED)
    pairs = regions.labels[inside].astype(np.uint32) << 16 | objects[inside]
    distinct, index = np.unique(pairs, return_inverse=True)
    labels = regions.labels.astype(np.int32)
    labels[inside] = len(regions.colors) + index
    named = [
        (number, f"{words[pair >> 16]} {pair & UNLABELED}", str(pair & UNLABELED))
        for number, pair in enumerate(distinct.tolist(), len(regions.colors))
    ]
    return Regions(labels, np.concatenate([regions.colors, regions.colors[distinct >> 16]]), regions.entries, named)


Box = tuple[int, int, int, int]
"""Left, top, right and bottom [pixels]; the last two are outside."""

_FILLED = 0.95
"""Minimum share of a name's box inside its region."""

_GROWTH = 1.2
"""Factor from one trial size of the box around a name to the next."""

_LONGEST_NAME = 40
"""Maximum length of a name in the image; only the legend shows longer names."""

_NAME, _RIM = (255, 255, 255), PANEL_COLOR


def draw_names(overlay: Image.Image, regions: Regions, sizes: Sequence[int], covered: Box = (0, 0, 0, 0)) -> None:
    """Write each region's name into it, white with a dark rim, readable on any background.

    A name is centered in the largest box of its shape that fits into the region and lies beside the legend (`covered`).
    If it doesn't fit, try two lines, then the next size of `sizes` [px], then (for an object) the number alone;
    otherwise leave it out.
    """
    # the center pixel of each cell of a coarse map, so that the time doesn't depend on the image's size
    step = math.ceil(max(regions.labels.shape) / _CELLS)
    cells = regions.labels[step // 2 :: step, step // 2 :: step]
    free = np.ones(cells.shape, bool)
    left, top, right, bottom = (edge / step for edge in covered)
    free[int(top) : math.ceil(bottom), int(left) : math.ceil(right)] = False
    draw = ImageDraw.Draw(overlay)
    classes = [(entry.region, entry.name) for entry in regions.entries if entry.region != UNLABELED]
    for region, *names in (*classes, *regions.objects):
        inside = (cells == region) & free
        written = (layout for name in names if len(name) <= _LONGEST_NAME for layout in _writings(name, sizes))
        for size, text, font in written:
            style: dict[str, Any] = {"font": font, "anchor": "mm", "align": "center"}
            style |= {"spacing": size // 6, "stroke_width": max(1, round(size / 9))}
            left, top, right, bottom = draw.textbbox((0, 0), text, **style)
            shape = (length + size / 2 for length in (right - left, bottom - top))
            place = _place(inside, *(math.ceil(length / step) for length in shape))
            if place is not None:
                x, y = place[0] * step - (left + right) / 2, place[1] * step - (top + bottom) / 2
                draw.text((x, y), text, _NAME, stroke_fill=_RIM, **style)
                break


def _writings(name: str, sizes: Sequence[int]) -> Iterator[tuple[int, str, Font]]:
    """The layouts of a name: on one or two lines, in each size."""
    for size in sizes:
        text, font = drawable(name, size)
        yield size, text, font
        spaces = [index for index, char in enumerate(text) if char == " "]
        if spaces:
            middle = min(spaces, key=lambda index: abs(2 * index - len(text)))
            yield size, f"{text[:middle]}\n{text[middle + 1 :]}", font


def _place(inside: Bool[np.ndarray, "h w"], width: int, height: int) -> tuple[float, float] | None:
    """Center (x, y) of the largest box of this aspect ratio in a region; None if it would be smaller than the box."""
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
