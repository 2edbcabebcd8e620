"""The frames of an overlay video: like overlays of images, but with a legend that stays in its place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.imaging.label_maps import UNLABELED, nearest
from segvoc.imaging.legend import LegendEntry, draw_legend
from segvoc.imaging.overlay import OverlayStyle, Paint
from segvoc.imaging.region_names import draw_names
from segvoc.imaging.regions import Regions, class_regions

SMALLEST_LISTED = 0.001
"""Share of a frame from which on the legend lists a class: what flickers in a few pixels doesn't move its lines."""

_SMALLEST_TEXT = 11
"""Size [pixels] below which text can hardly be read."""


@dataclass(frozen=True, eq=False)
class LabelLayer:
    """A label map as it is laid over frames."""

    regions: Regions
    paint: Paint
    """Its colors and outlines."""


class VideoPainter:
    """Draws the frames of one overlay video.

    The legend lists the classes of a frame in the order of the vocabulary, without shares, which would change in every
    frame, in the lower left corner. Videos in which it has no room have none.

    Args:
        size: height and width of the video's frames [px].
        words: names of the classes.
        colors: RGB of the classes.
        style: what overlays show.
    """

    def __init__(
        self, size: tuple[int, int], words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], style: OverlayStyle
    ) -> None:
        self.words, self.colors, self.style = words, colors, style
        scale = min(1.0, math.sqrt((style.max_pixels or math.inf) / (size[0] * size[1])))
        self.size = size if scale == 1 else (max(2, round(size[0] * scale)), max(2, round(size[1] * scale)))
        self._is_smaller = scale < 1
        self._legend: tuple[list[int], Image.Image | None] = [], None

    def layer(self, labels: UInt16[np.ndarray, "H W"]) -> LabelLayer:
        """Prepare a label map for any number of frames."""
        if self._is_smaller:
            labels = nearest(labels, self.size)
        regions = class_regions(labels, self.words, self.colors)
        return LabelLayer(regions, Paint.of(regions))

    def draw(self, pixels: UInt8[np.ndarray, "H W 3"], layer: LabelLayer) -> UInt8[np.ndarray, "h w 3"]:
        """A frame of the overlay video, of the size `size`."""
        if self._is_smaller:
            height, width = self.size
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))
        overlay = layer.paint.over(pixels, self.style.alpha)
        shorter = min(self.size)
        size, size_of_names = (max(_SMALLEST_TEXT, round(shorter / share)) for share in (34, 24))
        panel = self._panel(layer.regions.entries, size) if self.style.legend else None
        margin = max(4, round(shorter / 60))
        corner = (margin, 0 if panel is None else overlay.height - panel.height - margin)
        if self.style.names:
            covered = (0, 0, 0, 0) if panel is None else (*corner, corner[0] + panel.width, corner[1] + panel.height)
            draw_names(overlay, layer.regions, (size_of_names, size), covered)
        if panel is not None:
            overlay.paste(panel, corner, panel)
        return np.asarray(overlay)

    def _panel(self, entries: Sequence[LegendEntry], size: int) -> Image.Image | None:
        """The legend, which is drawn again only where it changes."""
        listed = [entry for entry in entries if entry.fraction >= SMALLEST_LISTED]
        listed.sort(key=lambda entry: (entry.region == UNLABELED, entry.region))
        shown = [entry.region for entry in listed]
        last, panel = self._legend  # threads draw several frames at a time
        if shown != last:
            panel = draw_legend(listed, round(0.4 * self.size[1]), round(0.6 * self.size[0]), size, shares=False)
            self._legend = shown, panel
        return panel
