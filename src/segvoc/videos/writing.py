"""Drawing, encoding and keeping labeled frames in threads, while the network works on the next ones."""

import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from zlib import Z_RLE

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELED, label_map_image, nearest
from segvoc.imaging.overlay import LegendEntry, OverlayStyle, Paint, Regions, class_regions, draw_legend, draw_names
from segvoc.imaging.palette import word_colors
from segvoc.inference.reports import LabelStatistics
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.smoothing import SmoothingState
from segvoc.storage.atomic_writes import write_atomically
from segvoc.videos.encoding import Piece, VideoShape
from segvoc.videos.partial_video import PartialVideo, frame_entry
from segvoc.videos.reading import Frame, OpenVideo
from segvoc.videos.result import VideoOptions

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


DRAWERS = 2
"""Threads that draw frames and write label maps."""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A labeled frame whose label map is written."""

    entry: dict[str, Any]
    layer: LabelLayer | None
    pixels: UInt8[np.ndarray, "h w 3"] | None


class PieceWriter:
    """Makes the pieces of a video from its labeled frames; close it in the end.

    Two threads draw frames and write their label maps, one encodes them in order. With `every` above 1, this one also
    reads the frames between from the video, so that they needn't wait in memory for their labels.

    Args:
        video: the video.
        words: names of the classes.
        options: how it is labeled.
        partial: what is done of it.
        times: of all frames that were read so far; it grows.
    """

    def __init__(
        self, video: OpenVideo, words: Sequence[str], options: VideoOptions, partial: PartialVideo, times: Sequence[int]
    ) -> None:
        self._path, self._options, self._partial, self._times = video.path, options, partial, times
        self._colors = word_colors(words, options.labels.background)
        self._painter: VideoPainter | None = None
        if options.overlay is not None:
            self._painter = painter = VideoPainter((video.height, video.width), words, self._colors, options.overlay)
            height, width = painter.size
            self._shape = VideoShape(height=height, width=width, rate=video.rate, pixel_shape=video.pixel_shape)
        self._piece: Piece | None = None
        self._entries: list[dict[str, Any]] = []
        self._state: SmoothingState | None = None
        self._between: OpenVideo | None = None
        self._rest: Iterator[Frame] = iter(())
        self._start = time.perf_counter()
        self._waiting: deque[Future[None]] = deque()
        self._drawers = ThreadPoolExecutor(DRAWERS, thread_name_prefix="segvoc-video-drawer")
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="segvoc-video-encoder")

    def close(self) -> None:
        """Stop; a piece that isn't finished is lost."""
        self._encoder.shutdown(cancel_futures=True)
        self._drawers.shutdown(cancel_futures=True)
        if self._piece is not None:
            self._piece.close()
        if self._between is not None:
            self._between.close()

    def add(self, number: int, result: Segmentation, state: SmoothingState | None) -> None:
        """Take the next labeled frame.

        Args:
            number: of the frame.
            result: its labels.
            state: the mean after it.
        """
        drawn = self._drawers.submit(self._draw, number, result)
        self._waiting.append(self._encoder.submit(self._encode, number, drawn, state))

    def wait(self, most: int) -> None:
        """Wait until no more than so many frames aren't done.

        Raises:
            OutputError: one can't be written.
        """
        while self._waiting and (len(self._waiting) > most or self._waiting[0].done()):
            self._waiting.popleft().result()

    def finish_piece(self, stop: int) -> None:
        """Finish the piece that is being made, which ends before the frame `stop`, and keep it.

        Raises:
            InputError: the video has changed.
            OutputError: it can't be written.
        """
        times = self._times[len(self._partial.times) : stop]
        if self._piece is not None:
            piece, self._piece = self._piece, None
            piece.close()
            with piece.path.open("rb") as file:
                os.fsync(file.fileno())
            if piece.frames != len(times):
                raise InputError(f"{str(self._path)!r} has changed while it was read; label it again")
        now = time.perf_counter()
        self._partial.add_piece(list(times), self._entries, self._state, now - self._start)
        self._entries, self._start = [], now

    def _draw(self, number: int, result: Segmentation) -> _Drawn:
        image = label_map_image(result.labels, self._colors)
        # run lengths suit label maps: a tenth of the time of the default, and about its size
        write_atomically(
            self._partial.label_map(number),
            lambda file: image.save(file, "PNG", compress_level=1, compress_type=Z_RLE),
        )
        entry = frame_entry(number, LabelStatistics.of(result.labels, result.confidence))
        if self._painter is None:
            return _Drawn(entry, None, None)
        layer = self._painter.layer(result.labels)
        return _Drawn(entry, layer, self._painter.draw(result.image, layer))

    def _encode(self, number: int, drawn: "Future[_Drawn]", state: SmoothingState | None) -> None:
        if number % self._options.piece == 0 and self._entries:
            self.finish_piece(number)
        done = drawn.result()
        self._entries.append(done.entry)
        self._state = state
        if self._painter is None or done.layer is None or done.pixels is None:
            return
        if self._piece is None:
            self._piece = Piece(self._partial.overlay(self._partial.pieces), self._shape)
        self._piece.add(done.pixels)
        if self._options.every > 1:
            for frame in self._frames_after(number):
                assert frame.pixels is not None
                self._piece.add(self._painter.draw(frame.pixels, done.layer))

    def _frames_after(self, number: int) -> Iterator[Frame]:
        """The frames after a labeled one, up to the next."""
        every = self._options.every
        if self._between is None:
            self._between = OpenVideo(self._path)
            self._rest = self._between.frames(lambda one: one > number and one % every > 0)
        for frame in self._rest:
            if frame.number > number and frame.number % every == 0:
                return
            if frame.number > number:
                yield frame
