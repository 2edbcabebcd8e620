"""Overlay videos: frames of the source under colors, names and a legend, as H.264 with the sound of the source."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.errors import OutputError, UsageError, one_line
from segvoc.imaging.label_maps import UNLABELED, nearest
from segvoc.imaging.legend import LegendEntry, draw_legend
from segvoc.imaging.overlay import OverlayStyle, Paint, Regions, class_regions, draw_names
from segvoc.labeling.videos.reading import OpenVideo, open_container, require_av

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

_SMALLEST_TEXT = 11
"""Minimum size of readable text [px]."""


def require_encoder() -> None:
    """Raise `UsageError` if PyAV isn't installed, or its FFmpeg can't encode H.264."""
    av = require_av()
    try:
        av.codec.Codec(ENCODER, "w")
    except av.codec.codec.UnknownCodecError:
        raise UsageError(
            "this FFmpeg has no libx264, which encodes overlay videos; leave them out (--no-overlay)"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Sound:
    """An audio stream of the source."""

    codec: str
    copied: bool
    """Whether the overlay video includes it: MP4 can't hold every codec."""


class OverlayVideo:
    """Reads a source, and draws and encodes its overlay video; not thread-safe. Call `close`.

    Frames keep their times. Odd sides are padded by a pixel, since H.264 halves the resolution of color.
    """

    def __init__(
        self, path: Path, source: Path, words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], style: OverlayStyle
    ) -> None:
        av = require_av()
        self.path, self._video, self._heard = path, OpenVideo(source), open_container(source)
        self.sound: list[Sound] = []
        self._frames = self._video.frames()
        self._painter = VideoPainter((self._video.height, self._video.width), words, colors, style)
        height, width = self._painter.size
        self._odd = height % 2, width % 2
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

    def show(self, labels: UInt16[np.ndarray, "H W"], frames: int) -> None:
        """Draw a label map over the next `frames` frames, or all that remain."""
        av, layer = require_av(), self._painter.layer(labels)
        for read in islice(self._frames, frames):
            assert read.pixels is not None
            pixels = self._painter.draw(read.pixels, layer)
            if any(self._odd):
                pixels = np.pad(pixels, ((0, self._odd[0]), (0, self._odd[1]), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = read.time, self._video.time_base
            with self._writing():
                self._play(float(read.time * self._video.time_base))
                self._container.mux(self._stream.encode(frame))

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
        for one in (self._container, self._heard, self._video):
            one.close()

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
            self.sound.append(Sound(codec=codec, copied=codec in MP4_SOUND))
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
            why = getattr(error, "strerror", None) or one_line(error)
            raise OutputError(f"{str(self.path)!r} can't be written: {why}; check the disk") from None


class VideoPainter:
    """Draws the frames of an overlay video.

    The legend in the lower left corner lists the classes of a frame in the order of the vocabulary, without shares,
    which would change in every frame. It is omitted from videos without enough room.
    """

    def __init__(
        self, size: tuple[int, int], words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], style: OverlayStyle
    ) -> None:
        self.words, self.colors, self.style = words, colors, style
        scale = min(1.0, math.sqrt((style.max_pixels or math.inf) / (size[0] * size[1])))
        self.size = size if scale == 1 else (max(2, round(size[0] * scale)), max(2, round(size[1] * scale)))
        self._legend: tuple[list[int], Image.Image | None] = [], None

    def layer(self, labels: UInt16[np.ndarray, "H W"]) -> tuple[Regions, Paint]:
        """Prepare a label map for any number of frames: its regions, and their colors and outlines."""
        regions = class_regions(nearest(labels, self.size), self.words, self.colors)
        return regions, Paint.of(regions)

    def draw(self, pixels: UInt8[np.ndarray, "H W 3"], layer: tuple[Regions, Paint]) -> UInt8[np.ndarray, "h w 3"]:
        """A frame of the overlay video, of the size `size`."""
        if pixels.shape[:2] != self.size:
            pixels = np.asarray(Image.fromarray(pixels).resize((self.size[1], self.size[0]), Image.Resampling.BOX))
        regions, paint = layer
        overlay = paint.over(pixels, self.style.alpha)
        shorter = min(self.size)
        size, size_of_names = (max(_SMALLEST_TEXT, round(shorter / share)) for share in (34, 24))
        panel = self._panel(regions.entries, size) if self.style.legend else None
        margin = max(4, round(shorter / 60))
        corner = (margin, 0 if panel is None else overlay.height - panel.height - margin)
        if self.style.names:
            covered = (0, 0, 0, 0) if panel is None else (*corner, corner[0] + panel.width, corner[1] + panel.height)
            draw_names(overlay, regions, (size_of_names, size), covered)
        if panel is not None:
            overlay.paste(panel, corner, panel)
        return np.asarray(overlay)

    def _panel(self, entries: Sequence[LegendEntry], size: int) -> Image.Image | None:
        """The legend, redrawn only when it changes."""
        listed = [entry for entry in entries if entry.fraction >= SMALLEST_LISTED]
        listed.sort(key=lambda entry: (entry.region == UNLABELED, entry.region))
        shown = [entry.region for entry in listed]
        if shown != self._legend[0]:
            panel = draw_legend(listed, round(0.4 * self.size[1]), round(0.6 * self.size[0]), size, shares=False)
            self._legend = shown, panel
        return self._legend[1]
