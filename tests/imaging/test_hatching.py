"""Hatching of regions that touch others of nearly the same color."""

import numpy as np

from segvoc.imaging.color_vision import stripe_color
from segvoc.imaging.hatching import draw_hatching, with_hatching
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.legend import LegendEntry, draw_legend
from segvoc.imaging.palette import packed
from segvoc.imaging.regions import Regions, class_regions

RED, NEARLY_RED, BLUE = (200, 60, 30), (205, 66, 30), (40, 60, 220)


def _regions(labels: np.ndarray, *colors: tuple[int, int, int]) -> Regions:
    words = [f"word {index}" for index in range(len(colors))]
    return with_hatching(class_regions(labels.astype(np.uint16), words, np.array(colors, np.uint8)))


def _hatching(labels: np.ndarray, *colors: tuple[int, int, int]) -> dict[int, int]:
    return {entry.region: entry.hatching for entry in _regions(labels, *colors).entries}


def _columns(*widths: int) -> np.ndarray:
    return np.tile(np.repeat(np.arange(len(widths)), widths), (40, 1))


def test_the_smaller_of_two_touching_regions_that_look_alike_is_hatched() -> None:
    assert _hatching(_columns(30, 50), RED, NEARLY_RED) == {0: 1, 1: 0}
    assert _hatching(_columns(50, 30), RED, NEARLY_RED) == {0: 0, 1: 1}


def test_regions_that_look_different_or_do_not_touch_are_not_hatched() -> None:
    assert _hatching(_columns(50, 30), RED, BLUE) == {0: 0, 1: 0}
    assert _hatching(_columns(50, 30, 20), RED, BLUE, NEARLY_RED) == {0: 0, 1: 0, 2: 0}
    assert _hatching(_columns(50), RED) == {0: 0}


def test_of_three_each_looks_different() -> None:
    assert _hatching(_columns(20, 50, 30), RED, NEARLY_RED, RED) == {0: 1, 1: 0, 2: 1}  # the outer two don't touch
    labels = _columns(50, 30)
    labels[20:, 40:60] = 2
    assert _hatching(labels, RED, NEARLY_RED, RED) == {0: 0, 1: 1, 2: -1}


def test_a_corner_is_no_border() -> None:
    labels = _columns(50, 30)
    labels[:, 48:52] = 2
    labels[:2, 48:52] = 1
    assert _hatching(labels, RED, NEARLY_RED, BLUE) == {0: 0, 1: 0, 2: 0}


def test_unlabeled_pixels_are_never_hatched() -> None:
    labels = _columns(50, 30)
    labels[:, 50:] = UNLABELED
    assert _hatching(labels, (10, 10, 10)) == {0: 0, UNLABELED: 0}


def test_stripes_fill_a_third_of_the_region_and_nothing_else() -> None:
    regions = _regions(_columns(120, 60), RED, NEARLY_RED)
    painted = np.zeros(regions.labels.shape, np.uint32)
    draw_hatching(painted, regions, 9)
    striped = painted == packed(stripe_color(NEARLY_RED))
    assert abs(striped[:, 120:].mean() - 1 / 3) < 0.02
    assert not painted[:, :120].any()
    assert np.array_equal(striped[1:, 120:-1], striped[:-1, 121:])  # they run up and to the right


def test_legend_shows_the_hatching() -> None:
    def swatch(hatching: int) -> np.ndarray:
        entry = LegendEntry(region=0, name="cat", color=RED, fraction=0.5, hatching=hatching)
        panel = draw_legend([entry], 2000, 300, 80)
        return (np.asarray(panel)[..., :3] == stripe_color(RED)).all(axis=-1)

    assert not swatch(0).any()
    assert swatch(1).any()
    assert not np.array_equal(swatch(1), swatch(-1))
