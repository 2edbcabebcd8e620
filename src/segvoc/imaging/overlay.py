"""The overlay, which is made to be looked at: classes as colours over the photograph, with a legend."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import Image, ImageEnhance

from segvoc.imaging.legend import PANEL_COLOR, LegendEntry, draw_legend, line_height
from segvoc.imaging.regions import Regions

_WIDTH_SHARE, _HEIGHT_SHARE = 0.4, 0.6
"""How much of the image's width and height a legend inside may take."""

_SMALLEST_TEXT = 11
"""Size [pixels] below which text can hardly be read."""

_ROWS_OUTSIDE = 16
"""Lines of a legend outside that may make the overlay higher than the image."""


def draw_overlay(
    image: UInt8[np.ndarray, "H W 3"], regions: Regions, *, alpha: float = 0.5, legend: bool = True
) -> Image.Image:
    """Blend the colours of the regions over an image, and draw their borders.

    Args:
        image: the image, RGB.
        regions: what is where; pixels without a class (65535) are darkened.
        alpha: weight of the colours, in [0, 1]; at 0 only the borders are visible.
        legend: list the classes, largest first, unlabelled last: in the corner where it hides the fewest borders, or
            beside or below an image that is too small, or too narrow, to hold it.

    Returns:
        An RGB image, of the size of `image` unless the legend lies outside of it.

    Raises:
        ValueError: alpha is not in [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the weight of the colours, in [0, 1], not {alpha}")
    height, width = regions.labels.shape
    # looking up 4-byte pixels is several times faster than looking up (r, g, b) rows
    table = np.full((len(regions.colors), 4), 255, np.uint8)
    table[:, :3] = regions.colors
    painted = np.take(table.view(np.uint32)[:, 0], regions.labels)
    painted = Image.frombytes("RGB", (width, height), painted.data, "raw", "RGBX")
    # the photograph keeps its light and shade, but loses some of its colour, which would tint those of the classes
    photograph = ImageEnhance.Color(Image.fromarray(image)).enhance(1 - alpha)
    overlay = Image.blend(photograph, painted, alpha)
    borders = _borders(regions.labels, thickness=max(1, round(min(height, width) / 450)))
    overlay.paste((255, 255, 255), mask=Image.fromarray(borders.astype(np.uint8) * 200))
    return _with_legend(overlay, borders, regions.entries) if legend else overlay


def _borders(labels: Integer[np.ndarray, "H W"], thickness: int) -> Bool[np.ndarray, "H W"]:
    """Pixels on either side of which the class changes, as lines of the given thickness."""
    borders = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    for shift in range(-(thickness // 2), thickness - thickness // 2):
        _or_shifted(borders, across, shift, axis=1)
        _or_shifted(borders, down, shift, axis=0)
    return borders


def _or_shifted(target: np.ndarray, source: np.ndarray, shift: int, axis: int) -> None:
    """`target |= source`, moved by `shift` along one axis; what leaves the image is cut off."""
    target, source = np.moveaxis(target, axis, 0), np.moveaxis(source, axis, 0)
    start, stop = max(0, shift), min(len(target), len(source) + shift)
    if start < stop:
        target[start:stop] |= source[start - shift : stop - shift]


def _with_legend(overlay: Image.Image, borders: Bool[np.ndarray, "H W"], entries: Sequence[LegendEntry]) -> Image.Image:
    """The overlay with its legend: inside if that is easy to read and covers little, else outside."""
    shorter, longer = sorted(overlay.size)
    # of a panorama, the longer side decides: it is what has to fit on a screen
    size = max(_SMALLEST_TEXT, round(shorter / 34), round(longer / 80))
    has_room = overlay.width >= 30 * size and overlay.height >= 22 * size
    limits = round(overlay.width * _WIDTH_SHARE), round(overlay.height * _HEIGHT_SHARE)
    panel = draw_legend(entries, *limits, size, shorten=has_room)
    if panel is None:
        return _with_legend_outside(overlay, entries, size)
    _paste_in_a_corner(overlay, panel, borders, margin=max(4, round(shorter / 60)))
    return overlay


def _paste_in_a_corner(overlay: Image.Image, panel: Image.Image, borders: Bool[np.ndarray, "H W"], margin: int) -> None:
    right, bottom = overlay.width - panel.width - margin, overlay.height - panel.height - margin
    corners = [(margin, bottom), (margin, margin), (right, bottom), (right, margin)]

    def hidden_borders(corner: tuple[int, int]) -> int:
        left, top = corner
        return int(borders[top : top + panel.height, left : left + panel.width].sum())

    overlay.paste(panel, min(corners, key=hidden_borders), panel)


def _with_legend_outside(overlay: Image.Image, entries: Sequence[LegendEntry], size: int) -> Image.Image:
    """A larger image with the legend beside or below, whichever is smaller."""
    widest = 24 * size
    height = (_ROWS_OUTSIDE + 1) * line_height(size)
    beside = draw_legend(entries, widest, max(overlay.height, height), size)
    below = beside and draw_legend(
        entries,
        max(overlay.width, beside.width),
        height,
        size,
        columns=max(1, overlay.width // beside.width),
    )
    if beside is None or below is None:
        return overlay
    is_beside = (overlay.width + beside.width) * max(overlay.height, beside.height) < max(
        overlay.width, below.width
    ) * (overlay.height + below.height)
    panel = beside if is_beside else below
    if is_beside:
        canvas_size, corner = (overlay.width + panel.width, max(overlay.height, panel.height)), (overlay.width, 0)
    else:
        canvas_size, corner = (max(overlay.width, panel.width), overlay.height + panel.height), (0, overlay.height)
    canvas = Image.new("RGB", canvas_size, PANEL_COLOR)
    canvas.paste(overlay)
    canvas.paste(panel, corner, panel)
    return canvas
