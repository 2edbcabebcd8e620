"""The results of a video: its files and report."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError
from segvoc.inference.reports import SUMMARY, LabeledFile
from segvoc.storage.json_files import read_json
from segvoc.videos.overlay import Sound


def check_every(every: int) -> None:
    """Check the step between labeled frames.

    Raises:
        UsageError: the step isn't positive.
    """
    if every < 1:
        raise UsageError(f"every={every} is out of range; give 1 for every frame, 2 for every second one, ...")


@dataclass(frozen=True, kw_only=True)
class VideoPaths:
    """The files of a labeled video."""

    stem: str
    """Their common name below the output folder, may include subfolders."""
    label_maps: Path
    """The folder `video`, with `000000.png`, ...: the label map of each labeled frame, by its number."""
    overlay: Path | None
    """`video.overlay.mp4`; None without an overlay."""
    report: Path
    """`video.json`"""

    @classmethod
    def below(cls, folder: str | os.PathLike[str], stem: str, *, overlay: bool = True) -> "VideoPaths":
        """The files of a video.

        Args:
            folder: the output folder.
            stem: the common name of the files, may include subfolders.
            overlay: include the overlay video.
        """
        base = Path(folder)
        return cls(
            stem=stem,
            label_maps=base / stem,
            overlay=base / f"{stem}.overlay.mp4" if overlay else None,
            report=base / f"{stem}.json",
        )

    def __iter__(self) -> Iterator[Path]:
        """The files in the order of writing: if the report exists, so do the others."""
        return (path for path in (self.label_maps, self.overlay, self.report) if path is not None)

    @property
    def shown(self) -> Path:
        """The overlay video, else the folder of label maps."""
        return self.overlay or self.label_maps

    def read_report(self) -> Any:
        """See `ResultFiles.read_report`."""
        return read_json(self.report)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoResult(LabeledFile):
    """The result for a video; its labels are in files."""

    times: Sequence[int]
    """Presentation time of each frame, in units of `time_base`."""
    time_base: Fraction
    """[s]"""
    rate: Fraction
    """Frames per second, on average."""
    every: int
    """Every n-th frame was labeled, from the first on."""
    smooth: float
    """The weight of earlier frames (`Smoothing`)."""
    rotation: int
    """Counterclockwise rotation that made frames upright [degrees]."""
    frames: Sequence[dict[str, Any]]
    """The number of each labeled frame, and the pixels of its labels; at most `MOST_LISTED`."""
    sound: Sequence[Sound]
    """The audio streams; empty without an overlay video."""
    damage: str | None
    """Why the video ends early, or what is missing; None if it is whole."""
    paths: VideoPaths

    @property
    def number(self) -> int:
        """Number of frames."""
        return len(self.times)

    @property
    def labeled(self) -> int:
        """Number of frames that were labeled."""
        return -(-self.number // self.every)

    def report(self, *, compact: bool = False) -> dict[str, Any]:
        """The contents of `video.json`.

        Args:
            compact: list only the words that have pixels.

        Returns:
            As `Segmentation.report`, with the pixels of all labeled frames. "video" has the number of "frames", the
            number "labeled", "every", "smooth", the average "fps", the "duration" [s], "rotation", "audio" and
            "damage". "timeline" lists for each labeled frame its number, its "time" [s] and the share of each word in
            it; None for videos with more than `MOST_LISTED` labeled frames.
        """
        size = self.width * self.height
        timeline = [
            {
                "frame": frame["number"],
                "time": round(float(self.times[frame["number"]] * self.time_base), 6),
                "fractions": {
                    self.words[int(label)]: round(pixels / size, 6)
                    for label, (pixels, _) in frame["labels"].items()
                    if int(label) < len(self.words)
                },
            }
            for frame in self.frames
        ]
        about = {
            "frames": self.number,
            "labeled": self.labeled,
            "every": self.every,
            "smooth": self.smooth,
            "fps": round(float(self.rate), 6),
            "duration": round(float((self.times[-1] - self.times[0]) * self.time_base + 1 / self.rate), 6),
            "rotation": self.rotation,
            "audio": [asdict(sound) for sound in self.sound],
            "damage": self.damage,
        }
        report = super().report(compact=compact)
        counts = {name: report.pop(name) for name in ("classes", "unlabeled", *SUMMARY)}
        seconds = {"seconds": report.pop("seconds")}
        return {
            **report,
            "video": about,
            **counts,
            "timeline": timeline if len(timeline) == self.labeled else None,
            **seconds,
        }
