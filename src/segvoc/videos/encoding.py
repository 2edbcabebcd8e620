"""Overlay videos: pieces of H.264, made one by one, and put together with the times and the sound of the source."""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import OutputError, UsageError, one_line
from segvoc.storage.atomic_writes import write_path_atomically
from segvoc.videos.reading import open_container, require_av

ENCODER = "libx264"
"""H.264 plays in all browsers."""

X264_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0", "threads": "1"}
"""Without B-frames, pieces can be joined without encoding again. With several threads, equal frames are often
encoded differently on a busy machine; with one, which takes a tenth longer, hardly ever."""

MP4_SOUND = frozenset(("aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"))
"""FFmpeg's names of the audio codecs that are copied: those that MP4 can hold and players expect in it."""

BT709, LIMITED_RANGE = 1, 1
"""FFmpeg's numbers of the colors of HD television, and of its range of values."""


def require_encoder() -> None:
    """Check that overlay videos can be encoded.

    Raises:
        UsageError: PyAV isn't installed, or its FFmpeg can't encode H.264.
    """
    av = require_av()
    try:
        av.codec.Codec(ENCODER, "w")
    except av.codec.codec.UnknownCodecError:
        raise UsageError(
            "this FFmpeg has no libx264, which encodes overlay videos; leave them out (--no-overlay)"
        ) from None


@dataclass(frozen=True, kw_only=True)
class VideoShape:
    """What the pieces of a video have in common."""

    height: int
    """[px]"""
    width: int
    """[px]"""
    rate: Fraction
    """Frames per second, about."""
    pixel_shape: Fraction
    """Width of a pixel by its height."""


class Piece:
    """A piece of an overlay video, which is written to a file; call `close` in the end.

    Odd sides get another column or row, since H.264 has half as many pixels of color along each side.

    Raises:
        OutputError: the file can't be written.
    """

    def __init__(self, path: Path, shape: VideoShape) -> None:
        av = require_av()
        self.path, self.frames = path, 0
        self._odd = shape.height % 2, shape.width % 2
        with _writing(self.path):
            self._container = av.open(str(path), "w", format="mp4")
            self._stream = stream = self._container.add_stream(ENCODER, rate=shape.rate, options=X264_OPTIONS)
            stream.height, stream.width = shape.height + self._odd[0], shape.width + self._odd[1]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.sample_aspect_ratio = shape.pixel_shape
            stream.codec_context.colorspace = stream.codec_context.color_primaries = BT709
            stream.codec_context.color_trc, stream.codec_context.color_range = BT709, LIMITED_RANGE

    def add(self, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
        """Encode the next frame.

        Raises:
            OutputError: the file can't be written.
        """
        av = require_av()
        if any(self._odd):
            pixels = np.pad(pixels, ((0, self._odd[0]), (0, self._odd[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts = self.frames
        with _writing(self.path):
            self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            OutputError: it can't be written.
        """
        with _writing(self.path):
            self._container.mux(self._stream.encode(None))
            self._container.close()


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When the frames of a video are shown."""

    base: Fraction
    """The unit of the times [s]."""
    times: Sequence[int]
    """One for each frame, ascending."""
    rate: Fraction | None
    """Frames per second, exactly; None if the times don't have a constant rate."""
    average: Fraction
    """Frames per second, on average."""

    @classmethod
    def of(cls, times: Sequence[int], base: Fraction, rate: Fraction) -> "Timing":
        """The timing of a video.

        Containers round times, Matroska for example to milliseconds. If all are those of a constant rate but for one
        unit, the rate is known, and times that begin with zero become exactly these.

        Args:
            times: of the frames, ascending.
            base: their unit [s].
            rate: frames per second that the file claims.
        """
        first = times[0]
        if all(abs(time - first - number / (rate * base)) <= 1 for number, time in enumerate(times)):
            if first:
                return cls(base=base, times=times, rate=rate, average=rate)
            return cls(base=1 / rate, times=range(len(times)), rate=rate, average=rate)
        seconds = (times[-1] - times[0]) * base
        average = Fraction(len(times) - 1) / seconds if seconds else rate
        return cls(base=base, times=times, rate=None, average=average.limit_denominator(1001))

    def seconds(self, number: int) -> float:
        """When a frame is shown [s]."""
        return round(float(self.times[number] * self.base), 6)

    @property
    def steps(self) -> Iterator[int]:
        """How long each frame is shown; the last one on average."""
        yield from (after - time for time, after in zip(self.times, self.times[1:], strict=False))
        yield max(1, round(1 / (self.average * self.base)))

    @property
    def duration(self) -> float:
        """How long the video is [s]."""
        return round(float((self.times[-1] - self.times[0]) * self.base + 1 / self.average), 6)


@dataclass(frozen=True, kw_only=True)
class Sound:
    """What became of an audio stream of the source."""

    codec: str
    """FFmpeg's name of the codec."""
    copied: bool
    """Whether the overlay video has it: MP4 can't hold every codec."""


def join(target: Path, pieces: Sequence[Path], timing: Timing, source: Path, begin: Fraction) -> list[Sound]:
    """Write an overlay video from its pieces, with the sound of the source as it is, atomically.

    Args:
        target: the file to write.
        pieces: all pieces, in order.
        timing: of their frames.
        source: the video that they were made of.
        begin: when it begins on its clock [s].

    Returns:
        The audio streams of the source.

    Raises:
        OutputError: the file can't be written.
    """
    av = require_av()
    sounds: list[Sound] = []

    def write(path: Path) -> None:
        with (
            _writing(target),
            av.open(str(path), "w", format="mp4", container_options={"movflags": "faststart"}) as video,
            open_container(source) as heard,
            av.open(str(pieces[0])) as first,
        ):
            frames = video.add_stream_from_template(first.streams.video[0])
            frames.time_base = timing.base
            copied = {}
            for stream in heard.streams.audio:
                decoder = stream.codec_context  # its own name can be another than the codec's: mp3float decodes mp3
                codec = "unknown" if decoder is None else decoder.codec.canonical_name
                fits = codec in MP4_SOUND
                sounds.append(Sound(codec=codec, copied=fits))
                if fits:
                    copied[stream.index] = video.add_stream_from_template(stream)
            shown = _video_packets(pieces, timing, frames)
            played = _audio_packets(heard, copied, begin) if copied else iter(())
            for _, packet in heapq.merge(shown, played, key=lambda timed: timed[0]):
                video.mux_one(packet)

    write_path_atomically(target, write)
    return sounds


def _video_packets(pieces: Sequence[Path], timing: Timing, stream: Any) -> Iterator[tuple[float, Any]]:
    packets = (packet for path in pieces for packet in _packets_of(path))
    for packet, time, step in zip(packets, timing.times, timing.steps, strict=True):
        packet.stream, packet.time_base = stream, timing.base
        packet.pts = packet.dts = time
        packet.duration = step
        yield float(time * timing.base), packet


def _packets_of(path: Path) -> Iterator[Any]:
    with require_av().open(str(path)) as piece:
        yield from (packet for packet in piece.demux(video=0) if packet.size)


def _audio_packets(heard: Any, copied: dict[int, Any], begin: Fraction) -> Iterator[tuple[float, Any]]:
    """The packets of some audio streams, as far as they can be read."""
    packets = heard.demux([stream for stream in heard.streams.audio if stream.index in copied])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, require_av().error.FFmpegError):
            return
        if packet.dts is None or not packet.size:
            continue
        shift = round(begin / packet.time_base)
        packet.dts -= shift
        if packet.pts is not None:
            packet.pts -= shift
        packet.stream = copied[packet.stream_index]
        yield float(packet.dts * packet.time_base), packet


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """FFmpeg's errors as ours."""
    try:
        yield
    except require_av().error.FFmpegError as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise OutputError(f"{str(path)!r} can't be written: {why}; check the disk") from None
