"""The overlay, which is made to be looked at: classes as colors over the photograph, with names and a legend."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer, UInt8, UInt32
from PIL import Image, ImageEnhance

from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.legend import PANEL_COLOR, LegendEntry, draw_legend, line_height
from segvoc.imaging.palette import packed
from segvoc.imaging.region_names import draw_names
from segvoc.imaging.regions import Regions

_WIDTH_SHARE, _HEIGHT_SHARE = 0.4, 0.6
"""How much of the image's width and height a legend inside may take."""

_MOST_INSIDE = 6
"""Classes that a legend inside may list; more stand beside the image."""

_PANORAMA = 2.2
"""Width over height from which on a legend outside is below the image, rather than beside it."""

_SMALLEST_TEXT = 11
"""Size [pixels] below which text can hardly be read."""

_LINE = (255, 255, 255)
"""RGB of outlines."""

_ROWS_OUTSIDE = 16
"""Lines of a legend outside that may make the overlay higher than the image."""


@dataclass(frozen=True, kw_only=True)
class OverlayStyle:
    """What an overlay shows."""

    alpha: float = 0.5
    """Weight of the colors, in [0, 1]."""
    names: bool = True
    """Write the names into the regions that have room for them."""
    legend: bool = True
    max_pixels: int | None = None
    """Draw an image of more pixels smaller, with about so many; None: as large as it is."""


SAVED_OVERLAY = OverlayStyle(max_pixels=4_000_000)
"""What is saved by default: images larger than most screens show are drawn smaller."""


def draw_overlay(
    image: UInt8[np.ndarray, "H W 3"],
    regions: Regions,
    *,
    alpha: float = 0.5,
    names: bool = True,
    legend: bool = True,
    notes: Sequence[str] = (),
) -> Image.Image:
    """Blend the colors of the regions over an image, and draw their outlines.

    The outlines are white with dark edges, to be seen on any color.

    Args:
        image: the image, RGB.
        regions: what is where; pixels without a class (65535) stay as they are.
        alpha: weight of the colors, in [0, 1]; at 0 only outlines, names and legend are visible.
        names: write their names into the regions that have room for them.
        legend: list the classes, largest first, unlabeled last: up to six in the corner where they hide the fewest
            borders; more, or those of an image that is too small or too narrow, beside the image or below it.
        notes: further lines of the legend.

    Returns:
        An RGB image, of the size of `image` unless the legend lies outside of it.

    Raises:
        ValueError: alpha is not in [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the weight of the colors, in [0, 1], not {alpha}")
    paint = Paint.of(regions)
    return _annotated(paint.over(image, alpha), paint.borders, regions, notes, names=names, legend=legend)


@dataclass(frozen=True, eq=False)
class Paint:
    """The colors and outlines of regions, to be laid over an image."""

    colors: UInt32[np.ndarray, "H W"]
    """Each pixel's color, as `packed` makes it."""
    lines: Bool[np.ndarray, "H W"]
    """Pixels of outlines."""
    borders: Bool[np.ndarray, "H W"]
    """Pixels whose right or lower neighbor is in another region."""
    clear: Bool[np.ndarray, "H W"]
    """Pixels without a class or an outline, which show the image."""

    @classmethod
    def of(cls, regions: Regions) -> "Paint":
        """That of regions."""
        borders, painted = _borders(regions.labels), packed(regions.colors)[regions.labels]
        line, edges = _draw_outlines(painted, borders)
        return cls(painted, line, borders, (regions.labels == UNLABELED) & ~edges)

    def over(self, image: UInt8[np.ndarray, "H W 3"], alpha: float) -> Image.Image:
        """Blend the colors over an image; outlines stay white.

        Args:
            image: the image, RGB.
            alpha: weight of the colors, in [0, 1].
        """
        photograph = np.array(image)
        photograph[self.lines] = _LINE
        # the photograph keeps its light and shade, but loses some of its color, which would tint those of the classes
        faded = ImageEnhance.Color(Image.fromarray(photograph)).enhance(1 - alpha)
        colored = Image.frombytes("RGB", faded.size, self.colors.data, "raw", "RGBX")
        drawn = Image.blend(faded, colored, alpha)
        drawn.paste(Image.fromarray(photograph), mask=Image.fromarray(self.clear))
        return drawn


def _borders(labels: Integer[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels whose right or lower neighbor is in another region."""
    borders = np.zeros(labels.shape, bool)
    borders[:, :-1] = labels[:, 1:] != labels[:, :-1]
    borders[:-1] |= labels[1:] != labels[:-1]
    return borders


def _draw_outlines(
    painted: UInt32[np.ndarray, "H W"], borders: Bool[np.ndarray, "H W"]
) -> tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Draw white lines with dark edges into the layer of colors.

    The lines are to be white in the photograph, too, so that they stay white when the layers are blended. A thumbnail
    has no edges, which would hide too much of it.

    Returns:
        The pixels of the lines, and these with their edges.
    """
    line = _widened(borders, max(1, round(min(borders.shape) / 450)))
    wide = _widened(line, 1 + 2 * round(min(borders.shape) / 600))
    painted[wide] = packed(PANEL_COLOR)
    painted[line] = packed(_LINE)
    return line, wide


def _widened(lines: Bool[np.ndarray, "H W"], width: int) -> Bool[np.ndarray, "H W"]:
    """Lines of which every pixel has become a square of this width [pixels]."""
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


def _annotated(
    overlay: Image.Image,
    borders: Bool[np.ndarray, "H W"],
    regions: Regions,
    notes: Sequence[str],
    *,
    names: bool,
    legend: bool,
) -> Image.Image:
    """The overlay with names, and with its legend: inside if that is easy to read and covers little, else outside."""
    shorter, longer = sorted(overlay.size)
    # of a panorama, the longer side decides: it is what has to fit on a screen
    size, size_of_names = (
        max(_SMALLEST_TEXT, round(shorter / share), round(longer / 2.35 / share)) for share in (34, 24)
    )
    panel, corner = None, (0, 0)
    if legend and len(regions.entries) <= _MOST_INSIDE:
        has_room = overlay.width >= 30 * size and overlay.height >= 22 * size
        limits = round(overlay.width * _WIDTH_SHARE), round(overlay.height * _HEIGHT_SHARE)
        panel = draw_legend(regions.entries, *limits, size, notes=notes, shorten=has_room)
    if panel is not None:
        corner = _free_corner(panel, borders, margin=max(4, round(shorter / 60)))
    if names:
        covered = (0, 0, 0, 0) if panel is None else (*corner, corner[0] + panel.width, corner[1] + panel.height)
        draw_names(overlay, regions, (size_of_names, size), covered)
    if panel is not None:
        overlay.paste(panel, corner, panel)
    elif legend:
        overlay = _with_legend_outside(overlay, regions.entries, notes, size)
    return overlay


def _free_corner(panel: Image.Image, borders: Bool[np.ndarray, "H W"], margin: int) -> tuple[int, int]:
    """Where a panel hides the fewest borders: its left and top."""
    height, width = borders.shape
    right, bottom = width - panel.width - margin, height - panel.height - margin
    corners = [(margin, bottom), (margin, margin), (right, bottom), (right, margin)]

    def hidden_borders(corner: tuple[int, int]) -> int:
        left, top = corner
        return int(borders[top : top + panel.height, left : left + panel.width].sum())

    return min(corners, key=hidden_borders)


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
