"""Videos for tests, made with PyAV."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

CLOCKWISE = [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]
"""The display matrix of a video that players turn by 90 degrees clockwise, in fixed point."""


def scenery(width: int, height: int, seed: int = 0) -> np.ndarray:
    """An image of smooth colors."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def panned(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A frame of a video whose window moves over an image."""
    return np.ascontiguousarray(scenery(width + 200, height)[:, number : number + width])


def write_video(
    path: Path,
    frames: int = 10,
    *,
    size: tuple[int, int] = (64, 48),
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    sound: str | None = None,
    matrix: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    image: Callable[[int, int, int], np.ndarray] = panned,
) -> Path:
    """Write a video into the container of the suffix: of so many frames of a size (width, height) [px].

    `times` [ms] of the frames may replace the constant rate; `sound` is the codec of as much silence; players turn the
    video by the matrix; `image` makes a frame from its number, width and height.
    """
    with av.open(str(path), "w", options=options or {}) as video:
        # with B-frames, x264 encodes the same frames differently about once in four times
        stream: Any = video.add_stream(codec, rate=rate, options={"bf": "0"} if codec == "libx264" else {})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv444p" if codec == "ffv1" else "yuv420p"
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        audio: Any = None if sound is None else video.add_stream(sound, rate=48_000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(image(number, *size))
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            video.mux(stream.encode(frame))
        video.mux(stream.encode(None))
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, round(48_000 * frames / float(rate))), np.int16), format="s16", layout="mono"
            )
            silence.sample_rate = 48_000
            video.mux(audio.encode(silence))
            video.mux(audio.encode(None))
    return path


def shown_frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


def shown_times(path: Path) -> list[Fraction]:
    """When each frame of a video is shown [s]."""
    with av.open(str(path)) as video:
        return [frame.pts * frame.time_base for frame in video.decode(video=0)]
