"""A video that is being labeled, piece by piece, on the disk: what a later call needs to go on after a stop."""

import json
import os
import shutil
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.errors import OutputError
from segvoc.inference.reports import LabelStatistics
from segvoc.inference.smoothing import SmoothingState
from segvoc.labeling.journal import JOURNAL_FOLDER, Settings, Stamp, refuse_other_settings
from segvoc.storage.atomic_writes import output_error, write_atomically
from segvoc.storage.digests import digest_of
from segvoc.storage.journal import Journal, read_journal
from segvoc.storage.json_files import strict_json

PARTIAL_VIDEO_FORMAT = 1
"""Version of the entries; journals of other versions are ignored."""

MOST_LISTED = 1000
"""Labeled frames that reports list one by one; those of more frames would be too long."""


class PartialVideo:
    """The pieces of a video that are done, in a folder below `.segvoc` with a journal that names them.

    A piece is some frames: their label maps, their part of the overlay video, their times and statistics, and the mean
    after them if labels are smoothed. All of its files are on the disk before the journal names it, so a kill at any
    moment costs at most the piece that was being made. Use it in a `with` block; `remove` it once the results are
    written.

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
        self, out: str | os.PathLike[str], stem: str, settings: Settings, video: Stamp, *, overlay: bool, resume: bool
    ) -> None:
        self._with_overlay = overlay
        self.folder = Path(out, JOURNAL_FOLDER, f"video-{digest_of(stem)[:16]}")
        self.frames_folder = self.folder / "frames"
        self._journal_path = self.folder / "journal.jsonl"
        self._header: dict[str, Any] = json.loads(
            strict_json({"format": PARTIAL_VIDEO_FORMAT, "settings": settings, "video": video})
        )
        self.pieces, self.seconds, self.statistics = 0, 0.0, LabelStatistics.none()
        self.times, self.labeled = array("q"), 0
        self.frames: list[dict[str, Any]] = []
        self.damage: str | None = None
        self.is_complete = False
        Journal(self._journal_path, exclusive=True).close()  # nobody else labels this video
        entries = self._earlier(out) if resume else []
        if not entries:
            self.remove()
        self._journal = Journal(self._journal_path, exclusive=True)
        if entries:
            for entry in entries:
                self._take(entry)
        else:
            self._journal.append(self._header)

    def __enter__(self) -> "PartialVideo":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    def label_map(self, number: int) -> Path:
        """Where the label map of a frame is kept."""
        return self.frames_folder / frame_name(number)

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
                return SmoothingState(arrays["classes"], arrays["probabilities"], arrays["picture"])
        except (OSError, ValueError, KeyError) as error:
            raise OutputError(f"{str(path)!r} can't be read ({error}); label the video without --resume") from None

    def add(self, times: list[int], frames: list[dict[str, Any]], state: SmoothingState | None, seconds: float) -> None:
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
                    file, classes=state.classes, probabilities=state.probabilities, picture=state.picture
                ),
            )
        entry = {
            "piece": self.pieces,
            "times": times,
            "frames": frames,
            "seconds": seconds,
        }
        self._journal.append(entry)
        self._take(entry)
        self._state(self.pieces - 2).unlink(missing_ok=True)

    def complete(self, damage: str | None) -> None:
        """Keep that there are no more frames, and why, if the video is damaged."""
        entry = {"complete": True, "damage": damage}
        self._journal.append(entry)
        self._journal.sync()
        self._take(entry)

    def remove(self) -> None:
        """Remove everything, and the folder around it if nothing else is there."""
        try:
            if self.folder.exists():
                shutil.rmtree(self.folder)
        except OSError as error:
            raise output_error(self.folder, error) from error
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _state(self, piece: int) -> Path:
        return self.folder / f"{piece:06}.npz"

    def _earlier(self, out: str | os.PathLike[str]) -> list[dict[str, Any]]:
        """The entries of a call that was stopped; none if there was none, or the video has changed since."""
        header, *entries = [*read_journal(self._journal_path)] or [{}]
        if header.get("format") != PARTIAL_VIDEO_FORMAT:
            return []
        if header["settings"] != self._header["settings"]:
            refuse_other_settings(out, self._header["settings"], self._journal_path)
        if header["video"] != self._header["video"]:
            return []
        # once all pieces are done, label maps move to their place
        is_complete = bool(entries) and "complete" in entries[-1]
        whole: list[dict[str, Any]] = []
        for entry in entries:
            if entry.get("piece") != len(whole) or not self._has_files(entry, is_complete=is_complete):
                break
            whole.append(entry)
        return [*whole, entries[-1]] if is_complete and len(whole) == len(entries) - 1 else whole

    def _has_files(self, entry: dict[str, Any], *, is_complete: bool) -> bool:
        if self._with_overlay and not self.overlay(entry["piece"]).is_file():
            return False
        return is_complete or all(self.label_map(frame["number"]).is_file() for frame in entry["frames"])

    def _take(self, entry: dict[str, Any]) -> None:
        if "complete" in entry:
            self.is_complete, self.damage = True, entry["damage"]
            return
        self.times.extend(entry["times"])
        for frame in entry["frames"]:
            self.labeled += 1
            if self.labeled <= MOST_LISTED:
                self.frames.append(frame)
            for label, (pixels, confidence) in frame["labels"].items():
                self.statistics.pixels[int(label)] += pixels
                self.statistics.confidence[int(label)] += confidence
        self.pieces, self.seconds = self.pieces + 1, self.seconds + entry["seconds"]


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
