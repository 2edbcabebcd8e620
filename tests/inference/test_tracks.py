"""Tracks of drawn objects that cross, leave, hide, and come together."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from jaxtyping import UInt16

from segvoc.errors import UsageError
from segvoc.imaging.connected_regions import connected_regions
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.tracks import Tracks

HEIGHT, WIDTH = 180, 240

Map = UInt16[np.ndarray, "H W"]


class Disc(NamedTuple):
    label: int
    start: tuple[float, float]
    speed: tuple[float, float]
    radius: float = 12
    is_seen: Callable[[int], bool] = lambda frame: True


def drawn(discs: list[Disc], frames: int) -> Iterator[tuple[Map, Map, Map]]:
    """Labels, objects as connected components, and the number of the disc that each pixel is of."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for frame in range(frames):
        labels = np.full((HEIGHT, WIDTH), UNLABELED, np.uint16)
        truth, objects = np.zeros_like(labels), np.zeros_like(labels)
        for number, disc in enumerate(discs, 1):
            row, column = np.array(disc.start) + frame * np.array(disc.speed)
            if disc.is_seen(frame):
                inside = (y - row) ** 2 + (x - column) ** 2 <= disc.radius**2
                labels[inside], truth[inside] = disc.label, number
        for number, region in enumerate(connected_regions(labels, 2), 1):
            objects[region.place][region.inside] = number
        yield labels, objects, truth


def numbers(tracks: Tracks, discs: list[Disc], frames: int) -> list[dict[int, int]]:
    """For each frame, the track that most pixels of each disc have; pixels of an object are always of one track."""
    found = []
    for labels, objects, truth in drawn(discs, frames):
        followed = tracks.follow(labels, objects)
        assert ((followed > 0) == (objects > 0)).all()
        present = np.unique(truth[truth > 0]).tolist()
        found.append({disc: int(np.bincount(followed[truth == disc]).argmax()) for disc in present})
    return found


def test_objects_keep_their_numbers_where_words_cross_and_objects_leave_and_come() -> None:
    discs = [
        Disc(0, (60, 20), (0, 4)),
        Disc(1, (60, 220), (0, -4)),  # crosses the first
        Disc(0, (130, 40), (0, -3)),  # leaves
        Disc(0, (-20, 215), (3, 0)),  # comes
        Disc(1, (140, 120), (0, 2), is_seen=lambda frame: frame % 7 < 2),  # is missed for 5 frames
    ]
    tracks = Tracks(5)
    found = numbers(tracks, discs, 40)
    for disc in range(1, 6):
        assert len({frame[disc] for frame in found if disc in frame}) == 1
    assert tracks.started == Counter({0: 3, 1: 2})


def test_an_object_that_is_missed_for_longer_gets_a_new_number() -> None:
    hidden = Disc(0, (60, 60), (0, 1), is_seen=lambda frame: not 10 <= frame < 14)
    for gap, count in ((4, 1), (3, 2), (0, 2)):
        assert len({frame[1] for frame in numbers(Tracks(gap), [hidden], 20) if frame}) == count


def test_objects_that_touch_stay_two() -> None:
    discs = [Disc(0, (60, 60), (0, 2), 15), Disc(0, (60, 140), (0, -2), 15)]
    tracks = Tracks()
    found = numbers(tracks, discs, 16)  # from the 13th frame on they are a single component
    assert tracks.started == Counter({0: 2})
    assert all(frame == found[0] for frame in found)


@pytest.mark.parametrize("seed", range(2))
def test_a_video_goes_on_from_its_maps_with_the_same_numbers(seed: int) -> None:
    draw = np.random.default_rng(seed)

    def drawn_disc() -> Disc:
        start, speed, missed = draw.uniform(0, (HEIGHT, WIDTH)), draw.uniform(-4, 4, 2), draw.random(30) < 0.2
        label, radius = int(draw.integers(2)), float(draw.uniform(6, 20))
        return Disc(label, (start[0], start[1]), (speed[0], speed[1]), radius, lambda frame: not missed[frame])

    frames = [(labels, objects) for labels, objects, _ in drawn([drawn_disc() for _ in range(8)], 30)]
    whole, stopped, tracks = Tracks(2), Tracks(2), Tracks(2)
    followed = [(labels, whole.follow(labels, objects)) for labels, objects in frames]
    for frame in frames[:17]:
        stopped.follow(*frame)
    tracks.restore(stopped.started, followed[17 - tracks.remembered : 17])
    for frame, (_, expected) in zip(frames[17:], followed[17:], strict=True):
        np.testing.assert_array_equal(tracks.follow(*frame), expected)
    assert tracks.started == whole.started


def test_frames_may_be_empty_or_tiny() -> None:
    tracks = Tracks()
    for shape in ((1, 1), (1, 2000), (3, 5)):
        nothing = np.full(shape, UNLABELED, np.uint16)
        assert not tracks.follow(nothing, np.zeros(shape, np.uint16)).any()
        assert tracks.follow(np.zeros(shape, np.uint16), np.ones(shape, np.uint16)).all()
    with pytest.raises(UsageError, match="track_gap=-1"):
        Tracks(-1)
