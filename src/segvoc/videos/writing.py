"""Drawing, encoding and keeping labeled frames in threads, while the network works on the next ones."""

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from zlib import Z_RLE

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError
from segvoc.imaging.label_maps import label_map_image
from segvoc.imaging.palette import class_colors
from segvoc.inference.reports import LabelStatistics
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.smoothing import SmoothingState
from segvoc.storage.atomic_writes import write_atomically
from segvoc.videos.drawing import LabelLayer, VideoPainter
from segvoc.videos.encoding import Piece, VideoShape
from segvoc.videos.options import VideoOptions
from segvoc.videos.partial_video import PartialVideo, frame_entry
from segvoc.videos.reading import Frame, OpenVideo

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
        self._colors = class_colors(len(words))
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
