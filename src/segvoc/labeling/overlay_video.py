"""The overlay video: the source's frames under colors, names and a legend, as H.264 with the source's sound."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.errors import OutputError, UsageError
from segvoc.imaging.image_formats import reason
from segvoc.imaging.label_maps import UNLABELED, nearest
from segvoc.imaging.legend import LegendEntry, draw_legend
from segvoc.imaging.overlay import (
    OverlayStyle,
    Paint,
    class_regions,
    finish_overlay,
    margin_of,
    text_sizes,
    with_object_borders,
)
from segvoc.imaging.video_reading import OpenVideo, open_container, require_av

ENCODER = "libx264"
"""H.264 plays in all browsers."""

X264_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0"}
"""Without B-frames, the first frame is shown at time zero."""

MP4_SOUND = frozenset(("aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"))
"""FFmpeg's names of audio codecs to copy: those that MP4 can hold and players expect in it."""

BT709, LIMITED_RANGE = 1, 1
"""FFmpeg's numbers of the colors of HD television, and of its range of values."""

SMALLEST_LISTED = 0.001
"""Minimum share of a frame for a class to be in the legend, so that flickering pixels don't move its lines."""


def require_encoder() -> None:
    """Raise `UsageError` if PyAV isn't installed, or its FFmpeg can't encode H.264."""
    av = require_av()
    try:
        av.codec.Codec(ENCODER, "w")
    except av.codec.codec.UnknownCodecError:
        raise UsageError(
            "this FFmpeg has no libx264, which encodes overlay videos; leave them out (--no-overlay)"
        ) from None


class OverlayVideo:
    """Reads a source, and draws and encodes its overlay video; not thread-safe. Call `close`.

    Frames keep their times. Odd sides are padded by a pixel, since H.264 halves the resolution of color. The legend in
    the lower left corner lists the classes of a frame in the order of the vocabulary, without shares, which would
    change in every frame. It is omitted from videos without enough room.
    """

    def __init__(
        self, path: Path, source: Path, words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], style: OverlayStyle
    ) -> None:
        av = require_av()
        self.path, self._video, self._heard = path, OpenVideo(source), open_container(source)
        self.sound: list[dict[str, Any]] = []
        self._frames = self._video.frames()
        self._words, self._colors, self._style = words, colors, style
        height, width = self._video.height, self._video.width
        if (scale := math.sqrt((style.max_pixels or math.inf) / (height * width))) < 1:
            height, width = max(2, round(height * scale)), max(2, round(width * scale))
        self._size, self._odd = (height, width), (height % 2, width % 2)
        self._legend: tuple[list[int], Image.Image | None] = [], None
        with self._writing():
            self._container = av.open(str(path), "w", format="mp4", container_options={"movflags": "faststart"})
            self._stream = stream = self._container.add_stream(ENCODER, rate=self._video.rate, options=X264_OPTIONS)
            stream.height, stream.width = height + self._odd[0], width + self._odd[1]
            stream.pix_fmt = "yuv420p"
            stream.time_base = stream.codec_context.time_base = self._video.time_base
            stream.codec_context.sample_aspect_ratio = self._video.pixel_shape
            stream.codec_context.colorspace = stream.codec_context.color_primaries = BT709
            stream.codec_context.color_trc, stream.codec_context.color_range = BT709, LIMITED_RANGE
            self._played = self._packets()
            self._next_played = next(self._played, None)

    def show(
        self, labels: UInt16[np.ndarray, "H W"], frames: int, objects: UInt16[np.ndarray, "H W"] | None = None
    ) -> None:
        """Draw a label map, and the borders of objects, over the next `frames` frames, or all that remain."""
        av = require_av()
        regions = class_regions(nearest(labels, self._size), self._words, self._colors)
        if objects is not None:
            regions = with_object_borders(regions, self._words, nearest(objects, self._size))
        paint = Paint.of(regions)
        for read in islice(self._frames, frames):
            assert read.pixels is not None
            pixels = read.pixels
            if pixels.shape[:2] != self._size:
                pixels = np.asarray(
                    Image.fromarray(pixels).resize((self._size[1], self._size[0]), Image.Resampling.BOX)
                )
            overlay = paint.over(pixels, self._style.alpha)
            panel = self._panel(regions.entries) if self._style.legend else None
            margin = margin_of(overlay)
            corner = (margin, 0 if panel is None else overlay.height - panel.height - margin)
            finish_overlay(overlay, regions, self._style, panel, corner)
            pixels = np.asarray(overlay)
            if any(self._odd):
                pixels = np.pad(pixels, ((0, self._odd[0]), (0, self._odd[1]), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = read.time, self._video.time_base
            with self._writing():
                self._play(float(read.time * self._video.time_base))
                self._container.mux(self._stream.encode(frame))

    def _panel(self, entries: Sequence[LegendEntry]) -> Image.Image | None:
        """The legend, redrawn only when it changes."""
        listed = [entry for entry in entries if entry.fraction >= SMALLEST_LISTED]
        listed.sort(key=lambda entry: (entry.region == UNLABELED, entry.region))
        shown = [entry.region for entry in listed]
        if shown != self._legend[0]:
            height, width = self._size
            size = text_sizes(width, height)[1]
            self._legend = shown, draw_legend(listed, round(0.4 * width), round(0.6 * height), size, shares=False)
        return self._legend[1]

    def finish(self) -> None:
        """Finish the file on disk."""
        with self._writing():
            self._container.mux(self._stream.encode(None))
            self._play(math.inf)
            self._container.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close all files."""
        for file in (self._container, self._heard, self._video):
            file.close()

    def _play(self, until: float) -> None:
        """Copy the sound up to a time [s]."""
        while self._next_played is not None and self._next_played[0] <= until:
            self._container.mux_one(self._next_played[1])
            self._next_played = next(self._played, None)

    def _packets(self) -> Iterator[tuple[float, Any]]:
        """The packets of the audio streams that MP4 can hold, as far as they can be read."""
        copied = {}
        for stream in self._heard.streams.audio:
            decoder = stream.codec_context  # its own name can be another than the codec's: mp3float decodes mp3
            codec = "unknown" if decoder is None else decoder.codec.canonical_name
            self.sound.append({"codec": codec, "copied": codec in MP4_SOUND})
            if codec in MP4_SOUND:
                copied[stream.index] = self._container.add_stream_from_template(stream)
        if not copied:
            return
        packets = self._heard.demux([self._heard.streams[index] for index in copied])
        while True:
            try:
                packet = next(packets)
            except (StopIteration, require_av().error.FFmpegError):
                return
            if packet.dts is None or not packet.size:
                continue
            shift = round(self._video.begin / packet.time_base)
            packet.dts -= shift
            if packet.pts is not None:
                packet.pts -= shift
            packet.stream = copied[packet.stream_index]
            yield float(packet.dts * Fraction(packet.time_base)), packet

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Convert FFmpeg's errors to ours."""
        try:
            yield
        except require_av().error.FFmpegError as error:
            raise OutputError(f"{str(self.path)!r} can't be written: {reason(error)}; check the disk") from None
