"""The colors of classes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segvoc.imaging.palette import _palette, class_colors, oklab


def test_colors_are_different_and_never_gray() -> None:
    colors = class_colors(10_000)
    assert len(np.unique(colors, axis=0)) == 10_000
    assert (np.ptp(colors.astype(int), axis=1) > 15).all()


@given(st.integers(0, 70_000), st.integers(0, 70_000))
@settings(max_examples=30, deadline=None)
def test_color_of_a_class_does_not_depend_on_their_number(few: int, many: int) -> None:
    few, many = sorted((few, many))
    assert np.array_equal(class_colors(few), class_colors(many)[:few])


def test_colors_are_the_same_in_every_version():
    # Users know classes by their colors: a change belongs into the changelog.
    assert class_colors(3).tolist() == [[238, 52, 18], [49, 65, 205], [255, 184, 46]]
    assert class_colors(1000)[[20, 255, 256, 999]].tolist() == [
        [132, 252, 0],
        [144, 96, 204],
        [0, 24, 208],
        [8, 136, 192],
    ]


def test_no_color_hangs_on_the_rounding_of_a_processor(monkeypatch):
    # in float32 two candidates were equally far, and AMD and Intel chose different ones
    colors, random = class_colors(2000), np.random.default_rng(0)

    def rounded_otherwise(rgb):
        exact = oklab(rgb)
        return exact * (1 + 1e-9 * random.standard_normal(exact.shape))

    monkeypatch.setattr("segvoc.imaging.palette.oklab", rounded_otherwise)
    assert np.array_equal(_palette.__wrapped__()[:2000], colors)


def test_the_first_colors_are_far_apart() -> None:
    colors = oklab(class_colors(20))
    distances = np.linalg.norm((colors[:, None] - colors) * (0.6, 1, 1), axis=-1)
    assert distances[np.triu_indices(20, 1)].min() > 0.1
