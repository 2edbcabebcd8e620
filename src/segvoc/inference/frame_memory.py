"""What the labels of a video's frame take from the frames before it."""

from dataclasses import dataclass

from segvoc.inference.label_options import LabelOptions
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
