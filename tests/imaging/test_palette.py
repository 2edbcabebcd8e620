"""The colours of classes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segvoc.imaging.palette import class_colors


def test_colors_are_different_and_never_grey() -> None:
    colors = class_colors(10_000)
    assert len(np.unique(colors, axis=0)) == 10_000
    assert (np.ptp(colors.astype(int), axis=1) > 15).all()


def test_first_colors_are_far_apart() -> None:
    colors = class_colors(20).astype(int)
    distances = np.abs(colors[:, None] - colors[None]).sum(axis=-1)
    assert distances[~np.eye(20, dtype=bool)].min() > 60


@given(st.integers(0, 70_000), st.integers(0, 70_000))
@settings(max_examples=30, deadline=None)
def test_color_of_a_class_does_not_depend_on_their_number(few: int, many: int) -> None:
    few, many = sorted((few, many))
    assert np.array_equal(class_colors(few), class_colors(many)[:few])


def test_colors_are_the_same_in_every_version() -> None:
    # Users know classes by their colours: a change belongs into the changelog.
    assert class_colors(3).tolist() == [[230, 60, 60], [40, 130, 220], [60, 180, 75]]
    assert class_colors(1000)[[20, 255, 256, 999]].tolist() == [
        [168, 108, 144],
        [144, 144, 228],
        [0, 56, 192],
        [112, 40, 160],
    ]
