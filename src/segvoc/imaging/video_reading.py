"""Reading a video frame by frame with PyAV: upright 8-bit RGB with its time, or a one-line error."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError, missing_extra
from segvoc.imaging.image_formats import VIDEO_SUFFIXES, reason

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,asf,flv,ogg,mxf,yuv4mpegpipe"
"""FFmpeg's names of the supported containers. Others are excluded on purpose: they include programs, and playlists that
refer to other files and URLs."""

MAX_FRAME_PIXELS = 36_000_000
"""Maximum number of pixels of a frame: 8K (7680 × 4320) fits."""

AHEAD_PIXELS, MOST_AHEAD = 30_000_000, 8
"""Maximum number of prefetched frames, in pixels and frames."""


def require_av() -> Any:
    """Import av; raises `UsageError` if PyAV isn't installed."""
    try:
        import av
    except ImportError:
        raise missing_extra("PyAV", "video") from None
    return av


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a video, by its suffix."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video."""

    number: int
    """From 0."""
    time: int
    """Presentation time since the start, in units of the video's `time_base`; strictly increasing."""
    pixels: UInt8[np.ndarray, "H W 3"] | None
    """RGB, upright; None for a frame that wasn't requested."""


class OpenVideo(AbstractContextManager["OpenVideo"]):
    """A video open for reading; use it in a `with` block, in one thread at a time.

    Raises:
        InputError: the file is missing, damaged, not a video, or has no video stream, no frames, or huge frames.
        UsageError: PyAV isn't installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        av = require_av()
        self.path, self._name = Path(path), repr(os.fspath(path))
        self._errors: type[Exception] = av.error.FFmpegError
        self._container = open_container(self.path)
        try:
            self._stream = self._video()
            self._stream.thread_type = "AUTO"
            self.time_base: Fraction = self._stream.time_base or Fraction(1, 90_000)
            self.damage: str | None = None
            self._has_no_times = self._container.format.name == "avi"
            self._decoded: Iterator[Any] = self._decode()
            self._begin()
        except BaseException:
            self._container.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average; 25 if the file doesn't say."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return rate if rate else Fraction(25)

    @property
    def expected_frames(self) -> int | None:
        """Number of frames by the file's header; None if it doesn't say."""
        if self._stream.frames:
            return self._stream.frames
        seconds = self._declared_seconds()
        return None if seconds is None else max(1, round(seconds * self.rate))

    @property
    def pixel_shape(self) -> Fraction:
        """Width of a pixel by its height, upright."""
        shape = self._stream.codec_context.sample_aspect_ratio
        if not shape:
            return Fraction(1)
        return 1 / Fraction(shape) if self._turns % 2 else Fraction(shape)

    def frames(self, wanted: Callable[[int], bool] = lambda number: True) -> Iterator[Frame]:
        """Yield all frames in order; call only once.

        A damaged video is read as far as possible; `damage` then says why it ends, or what is missing.

        Args:
            wanted: whether the pixels of the frame with this number are needed.
        """
        step, time = max(1, round(1 / (self.rate * self.time_base))), 0
        width, height = self._size
        for number, frame in enumerate(self._decoded):
            if frame.pts is None or self._has_no_times:
                time += step if number else 0
            else:
                time = max(time + 1 if number else 0, frame.pts - self._begin_time)
            pixels = None
            if wanted(number):
                pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
                pixels = np.ascontiguousarray(np.rot90(pixels, self._turns)) if self._turns else pixels
            yield Frame(number, time, pixels)
        declared = self._declared_seconds()
        if self.damage is None and declared is not None:
            reached = float((time + self._begin_time) * self.time_base + 1 / self.rate) - self._start_seconds()
            if reached < declared - max(0.5, 2 / float(self.rate)):
                self.damage = f"it ends after {reached:.1f} of {declared:.1f} s"

    def _video(self) -> Any:
        av = require_av()
        covers = av.stream.Disposition.attached_pic  # the cover of a piece of music
        if not len(self._container.streams):
            raise InputError(f"{self._name} is incomplete: it doesn't say what it holds; save it again")
        for stream in self._container.streams.video:
            if not stream.disposition & covers:
                break
        else:
            raise InputError(f"{self._name} has no video stream; give a video")
        if stream.codec_context is None:
            raise InputError(f"{self._name} has a video stream that FFmpeg can't decode; save it as H.264")
        self._check_size(stream.codec_context.width, stream.codec_context.height)
        return stream

    def _check_size(self, width: int, height: int) -> None:
        if width * height > MAX_FRAME_PIXELS:
            raise InputError(
                f"{self._name} has frames of {width} × {height} pixels; videos may have {MAX_FRAME_PIXELS // 10**6} "
                "megapixels a frame, make it smaller"
            )

    def _begin(self) -> None:
        """Read the first frame, which has the rotation."""
        first = next(self._decoded, None)
        if first is None:
            why = f" ({self.damage})" if self.damage else ""
            raise InputError(f"{self._name} has no frame that can be decoded{why}; save it again")
        self._decoded = chain([first], self._decoded)
        self._check_size(first.width, first.height)
        self._turns = round((first.rotation or 0) / 90) % 4
        self._size = first.width, first.height
        self.width, self.height = self._size if self._turns % 2 == 0 else self._size[::-1]
        begin = 0
        if self._container.start_time is not None:
            begin = round(Fraction(self._container.start_time, 10**6) / self.time_base)
        self._begin_time = begin if first.pts is None or self._has_no_times else min(begin, first.pts)
        self.begin: Fraction = self._begin_time * self.time_base
        """Start time of the video in its file [s]."""
        self.rotation = 90 * self._turns
        """Counterclockwise rotation that makes frames upright [degrees]."""

    def _decode(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._errors as error:
                self.damage = reason(error)
                return
            frames = []
            try:
                frames = packet.decode()
            except self._errors as error:
                self.damage = reason(error)
            for frame in frames:
                if frame.is_corrupt:
                    self.damage = "a damaged frame"
                yield frame

    def _start_seconds(self) -> float:
        """Time of the stream's first frame in its file [s]."""
        return float((self._stream.start_time or 0) * self.time_base)

    def _declared_seconds(self) -> float | None:
        """Duration of the video stream by the file's header [s]."""
        if self._stream.duration:
            return float(self._stream.duration * self.time_base)
        if tag := self._stream.metadata.get("DURATION"):
            try:
                hours, minutes, seconds = tag.split(":")
                end = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
            except ValueError:
                return None
            # Matroska's tag is when the stream ends, which in a piece of a recording doesn't begin at 0
            return end - self._start_seconds() if end > self._start_seconds() else end
        if self._container.duration and len(self._container.streams) == 1:
            return self._container.duration / 10**6
        return None


def open_container(path: Path) -> Any:
    """Open a video for reading, without opening any file or URL that it refers to; see `OpenVideo` for errors."""
    av, name = require_av(), repr(os.fspath(path))
    if not path.exists():
        raise InputError(f"{name} does not exist; check the path")
    if path.is_dir():
        raise InputError(f"{name} is a folder; give its videos")
    options: dict[str, Any] = {"container_options": {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}}
    if int(av.__version__.partition(".")[0]) < 19:
        options["metadata_errors"] = "replace"  # later versions always decode what isn't UTF-8
    try:
        return av.open(os.path.abspath(path), **options)
    except PermissionError as error:
        raise InputError(f"{name} can't be read: {error.strerror}; change its permissions") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{name} is damaged or not a video ({reason(error)}); save it again") from None


def frames_ahead(frames: Iterator[Frame], video: OpenVideo) -> Generator[Frame, None, None]:
    """Iterate over frames that a thread prefetches."""
    depth = max(2, min(MOST_AHEAD, AHEAD_PIXELS // (video.width * video.height)))
    with ThreadPoolExecutor(1, thread_name_prefix="segvoc-video-reader") as reader:
        ahead: deque[Future[Frame | None]] = deque(reader.submit(next, frames, None) for _ in range(depth))
        try:
            while (frame := ahead.popleft().result()) is not None:
                ahead.append(reader.submit(next, frames, None))
                yield frame
        finally:
            reader.shutdown(wait=True, cancel_futures=True)
