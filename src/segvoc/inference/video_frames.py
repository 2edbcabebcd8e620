"""The frames of a video in order, with their labels, and what these take from the frames before."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError, UsageError
from segvoc.imaging.video_reading import Frame, OpenVideo, frames_ahead
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.smoothing import Smoothing
from segvoc.inference.tracks import GAP, Tracks


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMemory:
    """The state of a stream of frames; each call has its own."""

    smoothing: Smoothing | None = None
    """The mean of probabilities; None without smoothing."""
    tracks: Tracks | None = None
    """The tracks of objects; None if objects aren't tracked."""

    @classmethod
    def of(cls, options: LabelOptions) -> "FrameMemory":
        """The memory before the first frame."""
        gap = GAP if options.track_gap is None else options.track_gap
        return cls(
            smoothing=Smoothing(options.smooth) if options.smooth else None,
            tracks=Tracks(gap) if options.track else None,
        )


def check_every(every: int) -> None:
    """Raise `UsageError` if the step between labeled frames isn't positive."""
    if every < 1:
        raise UsageError(f"every={every} is out of range; give 1 for every frame, 2 for every second frame, ...")


def labeled_frames(
    video: OpenVideo,
    label: Callable[[Iterable[UInt8[np.ndarray, "H W 3"]]], Iterable[Segmentation]],
    *,
    every: int = 1,
    first: int = 0,
    on_frame: Callable[[Frame], object] = lambda frame: None,
) -> Generator[Segmentation, None, None]:
    """Label the frames of a video; a thread prefetches frames during each forward pass.

    Args:
        video: the video, open and not read yet.
        label: labels a stream of frames in order, as `Segmenter.segment_many` does.
        every: label every n-th frame, from the first on; see `check_every`.
        first: the frame to start at.
        on_frame: called in another thread with each frame that is read from `first` on, labeled or not.

    Yields:
        The result for each labeled frame, with its number and time.

    Raises:
        InputError: the network's output for a frame is not finite.
    """
    waiting: deque[Frame] = deque()

    def read() -> Iterator[Frame]:
        for frame in video.frames(lambda number: number >= first and number % every == 0):
            if frame.number >= first:
                on_frame(frame)
            if frame.pixels is not None:
                yield frame

    with closing(frames_ahead(read(), video)) as frames:

        def pixels() -> Iterator[UInt8[np.ndarray, "H W 3"]]:
            for frame in frames:
                waiting.append(frame)
                assert frame.pixels is not None
                yield frame.pixels

        try:
            for result in label(pixels()):
                frame = waiting.popleft()
                time = round(float(frame.time * video.time_base), 6)
                yield replace(result, source=str(video.path), frame=frame.number, time=time)
        except InputError as error:
            raise InputError(f"{str(video.path)!r}: {error}") from None
