"""What comes out of a film: its files, and its report."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segvoc.films.encoding import Sound, Timing
from segvoc.imaging.palette import class_colors
from segvoc.inference.reports import LabelStatistics, report_head
from segvoc.storage.json_files import read_json


@dataclass(frozen=True, kw_only=True)
class FilmPaths:
    """The files of a labelled film."""

    stem: str
    """Their common name below the output folder, which may begin with sub-folders."""
    label_maps: Path
    """The folder `film`, with `000000.png`, ...: the label map of each labelled frame, by its number."""
    overlay: Path | None
    """`film.overlay.mp4`; None if no overlay is to be made."""
    report: Path
    """`film.json`"""

    @classmethod
    def below(cls, folder: str | os.PathLike[str], stem: str, *, overlay: bool = True) -> "FilmPaths":
        """Those of a film.

        Args:
            folder: the output folder.
            stem: the common name of the files, which may begin with sub-folders.
            overlay: whether there is to be an overlay film.
        """
        base = Path(folder)
        return cls(
            stem=stem,
            label_maps=base / stem,
            overlay=base / f"{stem}.overlay.mp4" if overlay else None,
            report=base / f"{stem}.json",
        )

    def __iter__(self) -> Iterator[Path]:
        """In the order of writing: once the report is there, the others are too."""
        return (path for path in (self.label_maps, self.overlay, self.report) if path is not None)

    @property
    def shown(self) -> Path:
        """The overlay film, or without one the folder of label maps."""
        return self.overlay or self.label_maps

    def read_report(self) -> Any:
        """See `ResultFiles.read_report`."""
        return read_json(self.report)


@dataclass(frozen=True, kw_only=True, eq=False)
class FilmResult:
    """What was found in a film; its labels are in files."""

    source: str
    """Path of the film as it was given."""
    height: int
    """Of the frames, upright [px]."""
    width: int
    """Of the frames, upright [px]."""
    words: tuple[str, ...]
    """Names of the classes."""
    statistics: LabelStatistics
    """Pixels and confidences of the labels of all labelled frames."""
    timing: Timing
    """When frames are shown."""
    every: int
    """Every such frame was labelled, from the first one on."""
    smooth: float
    """The weight of earlier frames (`Smoothing`)."""
    rotation: int
    """By how many degrees frames were turned to be upright, counter-clockwise."""
    frames: Sequence[dict[str, Any]]
    """The number of each labelled frame, and the pixels of its labels; at most `MOST_LISTED`."""
    sound: Sequence[Sound]
    """The audio streams; none without an overlay film."""
    damage: str | None
    """Why the film ends early, or what is missing; None if it is whole."""
    model: str
    """Name of the model that labelled it."""
    dtype: str
    """Precision of most of the network's computations."""
    seconds: float
    """Time that all calls together took for reading, labelling and drawing [s]."""
    paths: FilmPaths
    """The files."""

    @property
    def number(self) -> int:
        """Number of frames."""
        return len(self.timing.times)

    @property
    def labelled(self) -> int:
        """Number of frames that were labelled."""
        return -(-self.number // self.every)

    def report(self, *, compact: bool = False) -> dict[str, Any]:
        """The contents of `film.json`.

        Args:
            compact: list only the words that have pixels.

        Returns:
            As `Segmentation.report`, with pixels of all labelled frames together. "film" has the number of "frames",
            those that were "labelled", "every", "smooth", the "rate" in frames per second ("30000/1001"; None if it
            varies), the average "fps", the "duration" [s], "rotation", "audio" and "damage". "timeline" lists for each
            labelled frame its number, its "time" [s] and the share of each word in it; it is None for films with
            more than `MOST_LISTED` of them.
        """
        timing, size = self.timing, self.width * self.height
        timeline = [
            {
                "frame": frame["number"],
                "time": timing.seconds(frame["number"]),
                "fractions": {
                    self.words[int(label)]: round(pixels / size, 6)
                    for label, (pixels, _) in frame["labels"].items()
                    if int(label) < len(self.words)
                },
            }
            for frame in self.frames
        ]
        return {
            **report_head(source=self.source, height=self.height, width=self.width, model=self.model, dtype=self.dtype),
            "film": {
                "frames": self.number,
                "labelled": self.labelled,
                "every": self.every,
                "smooth": self.smooth,
                "rate": None if timing.rate is None else str(timing.rate),
                "fps": round(float(timing.average), 6),
                "duration": timing.duration,
                "rotation": self.rotation,
                "audio": [asdict(sound) for sound in self.sound],
                "damage": self.damage,
            },
            "classes": self.statistics.classes(self.words, class_colors(len(self.words)), compact=compact),
            "unlabelled": self.statistics.unlabelled,
            "timeline": timeline if len(timeline) == self.labelled else None,
            "seconds": round(self.seconds, 3),
        }
