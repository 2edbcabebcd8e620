"""How a video is labeled, and what is written."""

from dataclasses import dataclass, field

from segvoc.errors import UsageError
from segvoc.imaging.overlay import SAVED_OVERLAY, OverlayStyle
from segvoc.inference.label_options import LabelOptions
from segvoc.videos.reading import require_av

PIECE = 60
"""Frames of a piece, which is what a kill may cost: about this, a multiple of `every`."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How a video is labeled, besides words and model, and what is written.

    Raises:
        UsageError: a number is out of range.
    """

    every: int = 1
    """Label every such frame, from the first one on; the frames between keep its labels."""
    labels: LabelOptions = field(default_factory=LabelOptions)
    overlay: OverlayStyle | None = SAVED_OVERLAY
    """What the overlay video shows; None: none is made."""
    compact: bool = False
    """Whether the report lists only words that were found."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"every={self.every} is out of range; give 1 for every frame, 2 for every second one, ...")

    def settings(self) -> dict[str, object]:
        """What the results depend on besides words and model, by readable names."""
        av = require_av()
        versions = {"PyAV": av.__version__, "FFmpeg": av.ffmpeg_version_info}
        return {**self.labels.record(), "every": self.every, **versions}

    @property
    def piece(self) -> int:
        """Frames of a piece."""
        return self.every * max(1, PIECE // self.every)
