"""Tracks: objects keep their number from frame to frame of a video, also over frames in which they aren't found.

In each frame, the objects of a word are assigned to its tracks so that the sum of their similarities is greatest. A
track is expected where it is by now at the speed of its last sightings. Numbers depend on the last frames alone, so a
video can be continued from its maps.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, UInt16

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED

GAP = 30
"""Default number of frames that an object may be missing from and keep its number."""

CELLS = 192
"""Number of cells along the longer side of a frame; masks are compared on them."""

REACH = 0.5
"""How much a box is widened on each side, as a share of its size, so that objects compare that don't overlap."""

LEAST_SIMILARITY = 0.05
"""Minimum similarity of a track and an object."""

INSIDE = 0.7
"""Minimum share of a track's mask inside an object that is divided among its tracks."""

SPEED = 12
"""Minimum number of last frames that tracks are remembered for, so that a speed is a mean over several frames."""

KNOWN = 4
"""Minimum sightings of a track, among the last frames, to get a part of an object that several are in."""


class Sighting(NamedTuple):
    """An object in a frame."""

    number: int
    """Its number in the map, and once it is assigned that of its track."""
    label: int
    box: Float64[np.ndarray, " 4"]
    """Top, left, bottom and right [cells]."""
    inside: Bool[np.ndarray, "h w"]
    """The cells of its box."""

    @property
    def center(self) -> Float64[np.ndarray, " 2"]:
        """Row and column of the center of its box [cells]."""
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def size(self) -> Float64[np.ndarray, " 2"]:
        """Height and width of its box [cells]."""
        return self.box[2:] - self.box[:2]


@dataclass(frozen=True, kw_only=True)
class ExpectedTrack:
    """A track in the next frame."""

    last: Sighting
    moved: Float64[np.ndarray, " 2"]
    """Rows and columns from its last sighting to where it is expected [cells]."""
    size: Float64[np.ndarray, " 2"]
    """Height and width of the largest box among its last sightings, since it may be hidden in part [cells]."""
    sightings: int
    """Number of the last frames that it is in."""

    def placed(self, seen: Sighting) -> Bool[np.ndarray, "h w"]:
        """The cells of an object's box where the track is expected."""
        one, found = self.last.inside, np.zeros(seen.inside.shape, bool)
        shift = (np.round(self.moved) + np.floor(self.last.box[:2]) - np.floor(seen.box[:2])).astype(int)
        start, stop = np.maximum(shift, 0), np.minimum(shift + one.shape, found.shape)
        if (stop > start).all():
            rows, columns = (slice(*ends) for ends in zip(start, stop, strict=True))
            from_rows, from_columns = (slice(*ends) for ends in zip(start - shift, stop - shift, strict=True))
            found[rows, columns] = one[from_rows, from_columns]
        return found

    def similarity(self, seen: Sighting) -> float:
        """The mean of two overlaps (intersection over union), in [0, 1]: of the masks, and of the widened boxes."""
        both = np.count_nonzero(self.placed(seen) & seen.inside)
        either = np.count_nonzero(self.last.inside) + np.count_nonzero(seen.inside) - both
        boxes = _widened(self.last.box + np.tile(self.moved, 2), self.size), _widened(seen.box, seen.size)
        return (both / max(1, either) + _box_overlap(*boxes)) / 2


class Tracks:
    """The tracks of a video, numbered from 1.

    Args:
        gap: number of frames that an object may be missing from and keep its number.
        divides: whether an object that several tracks are expected in is divided among these; each pixel belongs to the
            nearest one then.

    Raises:
        UsageError: the gap is negative.
    """

    def __init__(self, gap: int = GAP, *, divides: bool = True) -> None:
        if gap < 0:
            raise UsageError(f"track_gap={gap} is out of range; give a number of frames, 0 or more")
        self.gap, self._divides = gap, divides
        self.started: Counter[int] = Counter()
        """Number of tracks so far, by label."""
        self.remembered = max(gap + 2, SPEED)
        """The number of last frames that the next numbers depend on."""
        self._frames = deque[list[Sighting]](maxlen=self.remembered)

    def follow(
        self, labels: UInt16[np.ndarray, "H W"], objects: UInt16[np.ndarray, "H W"]
    ) -> UInt16[np.ndarray, "H W"]:
        """Number the objects (0: none) of the next frame by their tracks.

        Raises:
            UsageError: there are more than 65,535 tracks.
        """
        from scipy.optimize import linear_sum_assignment

        expected = self._expected()
        seen = sightings(labels, objects)
        divided = _divided(objects, seen, expected) if self._divides else objects
        if divided is not objects:
            objects, seen = divided, sightings(labels, divided)
        tracks = np.zeros(int(objects.max(initial=0)) + 1, np.uint16)
        for label in {one.label for one in seen}:
            found = [one for one in seen if one.label == label]
            known = [track for track in expected if track.last.label == label]
            alike = np.reshape([track.similarity(one) for track in known for one in found], (len(known), len(found)))
            for row, column in zip(*linear_sum_assignment(alike, maximize=True), strict=True):
                if alike[row, column] >= LEAST_SIMILARITY:
                    tracks[found[column].number] = known[row].last.number
        for one in seen:
            if not tracks[one.number]:
                self.started[one.label] += 1
                if (count := self.started.total()) > UNLABELED:
                    raise UsageError(f"there are more than {UNLABELED} tracks; follow larger objects (least_object)")
                tracks[one.number] = count
        numbered = [one._replace(number=int(tracks[one.number])) for one in seen]
        self._frames.append(sorted(numbered, key=lambda one: one.number))
        return tracks[objects]

    def restore(
        self, started: Counter[int], frames: Sequence[tuple[UInt16[np.ndarray, "H W"], UInt16[np.ndarray, "H W"]]]
    ) -> None:
        """Continue after other frames: `started` after them, and the last `remembered` maps of labels and tracks."""
        self.started = started
        self._frames.extend(sightings(labels, tracks) for labels, tracks in frames)

    def _expected(self) -> list[ExpectedTrack]:
        seen = dict[int, list[tuple[int, Sighting]]]()
        for ago, frame in enumerate(reversed(self._frames), 1):
            for one in frame:
                seen.setdefault(one.number, []).append((ago, one))
        found = list[ExpectedTrack]()
        for sightings_of_track in seen.values():
            (ago, last), (long_ago, first) = sightings_of_track[0], sightings_of_track[-1]
            if ago <= self.gap + 1:
                moved = ago * (last.center - first.center) / max(1, long_ago - ago)
                size = np.max([one.size for _, one in sightings_of_track], axis=0)
                found.append(ExpectedTrack(last=last, moved=moved, size=size, sightings=len(sightings_of_track)))
        return found


def sightings(labels: UInt16[np.ndarray, "H W"], objects: UInt16[np.ndarray, "H W"]) -> list[Sighting]:
    """The objects of a frame, in the order of their numbers."""
    from scipy.ndimage import find_objects

    scale = _scale(labels.shape)
    rows, columns = (
        np.minimum((np.arange(max(1, round(scale * side))) + 0.5) / scale, side - 1).astype(int)
        for side in labels.shape
    )
    cells = objects[rows[:, None], columns]
    found = list[Sighting]()
    for number, place in enumerate(find_objects(objects), 1):
        if place is not None:
            label = int(labels[place][objects[place] == number][0])
            box = scale * np.array([place[0].start, place[1].start, place[0].stop, place[1].stop], float)
            (top, left), (bottom, right) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
            found.append(Sighting(number, label, box, cells[top:bottom, left:right] == number))
    return found


def _divided(
    objects: UInt16[np.ndarray, "H W"], seen: Sequence[Sighting], expected: Sequence[ExpectedTrack]
) -> UInt16[np.ndarray, "H W"]:
    """The map with objects divided among the tracks in them; the map itself if there is nothing to divide."""
    from scipy.ndimage import distance_transform_edt, find_objects

    divided, scale, last = objects, _scale(objects.shape), int(objects.max(initial=0))
    for one in seen:
        inside = [mask for track in expected if (mask := _within(track, one)) is not None]
        if len(inside) < 2 or last + len(inside) > UNLABELED:
            continue
        divided = objects.copy() if divided is objects else divided
        distances: list[Any] = [distance_transform_edt(~mask) for mask in inside]
        nearest = np.argmin(distances, axis=0)
        place = find_objects(objects)[one.number - 1]
        rows, columns = (
            np.clip((np.arange(pixels.start, pixels.stop) * scale - np.floor(edge)).astype(int), 0, cells - 1)
            for pixels, edge, cells in zip(place, one.box[:2], nearest.shape, strict=True)
        )
        parts, pixels = nearest[rows[:, None], columns], divided[place]
        is_object = pixels == one.number
        for part in range(1, len(inside)):
            last += 1
            pixels[is_object & (parts == part)] = last
    return divided


def _within(track: ExpectedTrack, seen: Sighting) -> Bool[np.ndarray, "h w"] | None:
    """The cells of an object's box where a track is expected; None unless it is known and most of it in the object."""
    if track.last.label != seen.label or track.sightings < KNOWN:
        return None
    placed = track.placed(seen)
    inside = np.count_nonzero(placed & seen.inside)
    return placed if inside and inside >= INSIDE * np.count_nonzero(track.last.inside) else None


def _scale(shape: tuple[int, ...]) -> float:
    """Cells per pixel."""
    return min(1.0, CELLS / max(shape))


def _widened(box: Float64[np.ndarray, " 4"], size: Float64[np.ndarray, " 2"]) -> Float64[np.ndarray, " 4"]:
    more = REACH * size
    return np.concatenate([box[:2] - more, box[2:] + more])


def _box_overlap(one: Float64[np.ndarray, " 4"], other: Float64[np.ndarray, " 4"]) -> float:
    sides = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)
    both = float(sides.prod())
    return both / max(1e-9, float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - both)
