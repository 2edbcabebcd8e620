"""Tracks of "CVAT for video 1.1": the shapes of its frames, which are images of a folder."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from segvoc.data.datasets.places import visible_files
from segvoc.data.datasets.shapes import Polygons, Shape
from segvoc.errors import UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class TrackedShape:
    """A shape of a track in a frame."""

    frame: int
    """Number of the frame."""
    depth: int
    """Its z order."""
    shape: Shape | None
    """The shape; None: the object isn't seen from this frame on."""


@dataclass
class Track:
    """An object from frame to frame."""

    label: str
    shapes: list[TrackedShape] = field(default_factory=list)

    def at(self, frame: int) -> TrackedShape | None:
        """The shape in a frame; None where the object isn't seen.

        CVAT writes a shape for each frame. Where there is none between two others, shapes of four corners, such as
        boxes, are between these; others stay as they were.
        """
        shapes = self._ordered
        after = bisect_right(shapes, frame, key=lambda shape: shape.frame)
        if not after or shapes[after - 1].shape is None:
            return None
        before = shapes[after - 1]
        if before.frame == frame or after == len(shapes):
            return before
        return _between(before, shapes[after], (frame - before.frame) / (shapes[after].frame - before.frame))

    @cached_property
    def _ordered(self) -> list[TrackedShape]:
        """The shapes by their frames; from the first call on no shape may be added."""
        return sorted(self.shapes, key=lambda shape: shape.frame)


def _between(before: TrackedShape, after: TrackedShape, share: float) -> TrackedShape:
    first, last = before.shape, after.shape
    if not isinstance(first, Polygons) or not isinstance(last, Polygons):
        return before
    if [len(ring) for ring in first.corners] != [len(ring) for ring in last.corners] or len(first.corners[0]) != 8:
        return before
    corners = [
        tuple(one + share * (other - one) for one, other in zip(ring, later, strict=True))
        for ring, later in zip(first.corners, last.corners, strict=True)
    ]
    return replace(before, shape=replace(first, corners=corners))


def frame_files(xml: Path, images: Path | None) -> dict[int, Path]:
    """The images of the frames of a video by their numbers, which are at the end of their names.

    Args:
        xml: the file with the tracks, beside which `images/` has the frames.
        images: the folder of the frames, if they are elsewhere.

    Raises:
        UsageError: there are none, one has no number, or two have the same.
    """
    folder = xml.parent / "images" if images is None else images
    files = visible_files(folder, lambda path: path.suffix.lower() in IMAGE_SUFFIXES) if folder.is_dir() else []
    numbers = {file: re.search(r"(\d{1,9})$", file.stem) for file in files}
    if not any(numbers.values()):
        raise UsageError(
            f"{str(xml)!r} is of a video, and {str(folder)!r} has no frames (frame_000000.png, ...); export the task "
            "with its images, or give the folder of the frames with --images"
        )
    found: dict[int, Path] = {}
    for file, number in numbers.items():
        other = None if number is None else found.get(int(number[1]))
        if number is None or other is not None:
            wrong = "no number of a frame" if other is None else f"the number of {other.name!r}"
            raise UsageError(f"{str(file)!r} has {wrong} at the end of its name (frame_000000.png); rename or move it")
        found[int(number[1])] = file
    return found


def shapes_of_frame(tracks: Sequence[Track], frame: int) -> tuple[Shape, ...]:
    """The shapes of a frame; those of a higher z order come later."""
    found = [shape for track in tracks if (shape := track.at(frame)) is not None]
    return tuple(one.shape for one in sorted(found, key=lambda one: one.depth) if one.shape is not None)
