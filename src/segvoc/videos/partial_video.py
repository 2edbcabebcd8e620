"""A video that is being labeled, piece by piece, on the disk: what a later call needs to go on after a stop."""

import os
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.errors import OutputError
from segvoc.inference.reports import LabelStatistics
from segvoc.inference.smoothing import SmoothingState
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.files import digest_of
from segvoc.storage.resume import RESUME_FOLDER, Key, Stamp, StepwiseWork

MOST_LISTED = 1000
"""Labeled frames that reports list one by one; those of more frames would be too long."""


class PartialVideo(StepwiseWork):
    """The pieces of a video that are done, in a folder below `.segvoc` until the results are written.

    A piece is some frames: their label maps, their part of the overlay video, their times and statistics, and the mean
    after them if labels are smoothed. The last step says that there are no more pieces.

    Args:
        out: the folder of the results.
        stem: the stem of the video's results.
        settings: what the results depend on.
        video: size and time of the video's file.
        overlay: whether pieces have an overlay video.
        resume: go on with what an earlier call has left; otherwise begin anew.

    Raises:
        UsageError: another process labels this video, or an earlier call has left labels of other settings.
        OutputError: the system refused.
    """

    def __init__(
        self, out: str | os.PathLike[str], stem: str, settings: Key, video: Stamp, *, overlay: bool, resume: bool
    ) -> None:
        self._with_overlay = overlay
        self.folder = Path(out, RESUME_FOLDER, f"video-{digest_of(stem)[:16]}")
        self.pieces, self.seconds, self.statistics = 0, 0.0, LabelStatistics.none()
        self.times, self.labeled = array("q"), 0
        self.frames: list[dict[str, Any]] = []
        self.damage: str | None = None
        self.is_complete = False
        super().__init__(self.folder, settings, video, out=out, resume=resume)

    def label_map(self, number: int) -> Path:
        """Where the label map of a frame is kept."""
        return self.folder / "frames" / frame_name(number)

    def overlay(self, piece: int) -> Path:
        """Where the overlay video of a piece is kept."""
        return self.folder / f"{piece:06}.mp4"

    def state(self) -> SmoothingState | None:
        """The mean after the last piece; None if labels aren't smoothed.

        Raises:
            OutputError: it can't be read.
        """
        path = self._state(self.pieces - 1)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return SmoothingState(arrays["classes"], arrays["probabilities"], arrays["frame"])
        except (OSError, ValueError, KeyError) as error:
            raise OutputError(f"{str(path)!r} can't be read ({error}); label the video without --resume") from None

    def add_piece(
        self, times: list[int], frames: list[dict[str, Any]], state: SmoothingState | None, seconds: float
    ) -> None:
        """Keep the next piece, whose label maps and overlay video are there.

        Args:
            times: of all of its frames.
            frames: an entry of each that was labeled (`frame_entry`).
            state: the mean after it.
            seconds: time that it took.

        Raises:
            OutputError: the system refused.
        """
        if state is not None:
            write_atomically(
                self._state(self.pieces),
                lambda file: np.savez(
                    file, classes=state.classes, probabilities=state.probabilities, frame=state.frame
                ),
            )
        self.add({"times": times, "frames": frames, "seconds": seconds, "state": state is not None})
        self._state(self.pieces - 2).unlink(missing_ok=True)

    def complete(self, damage: str | None) -> None:
        """Keep that there are no more frames, and why, if the video is damaged."""
        self.add({"complete": True, "damage": damage})

    def _state(self, piece: int) -> Path:
        return self.folder / f"{piece:06}.npz"

    def usable(self, values: list[Any]) -> list[Any]:
        """Those up to the first whose files are gone; once all are done, label maps move to their place."""
        is_complete = bool(values) and "complete" in values[-1]
        for piece, value in enumerate(values[:-1] if is_complete else values):
            files = [] if is_complete else [self.label_map(frame["number"]) for frame in value["frames"]]
            if not all(file.is_file() for file in [*files, *([self.overlay(piece)] if self._with_overlay else [])]):
                has_state = not piece or not values[piece - 1]["state"] or self._state(piece - 1).is_file()
                return values[:piece] if has_state else []
        return values

    def take(self, value: dict[str, Any]) -> None:
        """See `StepwiseWork.take`."""
        if "complete" in value:
            self.is_complete, self.damage = True, value["damage"]
            return
        self.times.extend(value["times"])
        for frame in value["frames"]:
            self.labeled += 1
            if self.labeled <= MOST_LISTED:
                self.frames.append(frame)
            for label, (pixels, confidence) in frame["labels"].items():
                self.statistics.pixels[int(label)] += pixels
                self.statistics.confidence[int(label)] += confidence
        self.pieces, self.seconds = self.pieces + 1, self.seconds + value["seconds"]


def frame_name(number: int) -> str:
    """The file name of a frame's label map."""
    return f"{number:06}.png"


def frame_entry(number: int, statistics: LabelStatistics) -> dict[str, Any]:
    """What is kept of a labeled frame besides its label map: pixels and confidence of each label."""
    labels = {
        str(label): (int(statistics.pixels[label]), float(statistics.confidence[label]))
        for label in np.flatnonzero(statistics.pixels).tolist()
    }
    return {"number": number, "labels": labels}
