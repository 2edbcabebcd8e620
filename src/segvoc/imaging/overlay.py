"""The picture that people look at: classes as colours over the photograph, with a legend."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import Image, ImageEnhance

from segvoc.imaging.legend import LegendEntry, draw_legend
from segvoc.imaging.regions import Regions

_LEGEND_SHARE = 0.4
"""How much of the picture's width the legend may take; of the height it may take half more."""

_SMALLEST_WITH_LEGEND = 180
"""Shorter side [pixels] below which a legend that can be read would hide most of the picture."""


def draw_overlay(
    image: UInt8[np.ndarray, "H W 3"], regions: Regions, *, alpha: float = 0.5, legend: bool = True
) -> Image.Image:
    """Blend the colours of the regions over a picture, and draw their borders.

    Args:
        image: the picture, RGB.
        regions: what is where; pixels without a class (65535) are darkened.
        alpha: weight of the colours, in [0, 1]; at 0 only the borders show.
        legend: list the classes in the corner that hides the fewest borders, largest class first, unlabelled last;
            left out on pictures whose shorter side is below 180 pixels.

    Returns: an RGB picture of the same size.

    Raises:
        ValueError: alpha is not in [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the weight of the colours, in [0, 1], not {alpha}")
    height, width = regions.labels.shape
    # One look-up of 4-byte pixels is several times faster than one of (r, g, b) rows.
    table = np.full((len(regions.colors), 4), 255, np.uint8)
    table[:, :3] = regions.colors
    painted = np.take(table.view(np.uint32)[:, 0], regions.labels)
    painted = Image.frombytes("RGB", (width, height), painted.data, "raw", "RGBX")
    # The photograph keeps its light and shade, but loses some of its colours, which would tinge those of the classes.
    photograph = ImageEnhance.Color(Image.fromarray(image)).enhance(1 - alpha)
    overlay = Image.blend(photograph, painted, alpha)
    borders = _borders(regions.labels, thickness=max(1, round(min(height, width) / 450)))
    overlay.paste((255, 255, 255), mask=Image.fromarray(borders.astype(np.uint8) * 200))
    if legend:
        _paste_legend(overlay, borders, regions.entries)
    return overlay


def _borders(labels: Integer[np.ndarray, "H W"], thickness: int) -> Bool[np.ndarray, "H W"]:
    """Pixels on either side of which the class changes, as lines of the given thickness."""
    borders = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    for shift in range(-(thickness // 2), thickness - thickness // 2):
        _or_shifted(borders, across, shift, axis=1)
        _or_shifted(borders, down, shift, axis=0)
    return borders


def _or_shifted(target: np.ndarray, source: np.ndarray, shift: int, axis: int) -> None:
    """`target |= source`, moved by `shift` along one axis; what leaves the picture is cut."""
    target, source = np.moveaxis(target, axis, 0), np.moveaxis(source, axis, 0)
    start, stop = max(0, shift), min(len(target), len(source) + shift)
    if start < stop:
        target[start:stop] |= source[start - shift : stop - shift]


def _paste_legend(overlay: Image.Image, borders: Bool[np.ndarray, "H W"], entries: Sequence[LegendEntry]) -> None:
    shorter = min(overlay.size)
    if shorter < _SMALLEST_WITH_LEGEND:
        return
    size, margin = max(11, round(shorter / 34)), max(4, round(shorter / 60))
    panel_width = max(130, round(overlay.width * _LEGEND_SHARE))
    panel = draw_legend(entries, panel_width, round(overlay.height * _LEGEND_SHARE * 1.5), size)
    if panel is None or panel.width + 2 * margin > overlay.width:
        return
    right, bottom = overlay.width - panel.width - margin, overlay.height - panel.height - margin
    corners = [(margin, bottom), (margin, margin), (right, bottom), (right, margin)]

    def hidden_borders(corner: tuple[int, int]) -> int:
        left, top = corner
        return int(borders[top : top + panel.height, left : left + panel.width].sum())

    overlay.paste(panel, min(corners, key=hidden_borders), panel)
