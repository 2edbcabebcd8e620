"""Views of objects; annotate/web/tests/clicks.test.ts has the same cases."""

import numpy as np

from segvoc.clicks.view import ViewBox, box_of, next_view, resampled, view_around


def box(*sides: float) -> ViewBox:
    return ViewBox(*map(float, sides))


IMAGE = box(0, 0, 1000, 600)


def test_a_view_has_room_around_an_object_and_stays_in_the_image() -> None:
    assert view_around(box(400, 200, 500, 300), IMAGE) == box(378, 178, 522, 322)
    assert view_around(box(950, 560, 1000, 600), IMAGE) == box(856, 456, 1000, 600)
    # at most twice as long as high
    assert view_around(box(100, 300, 500, 310), IMAGE) == box(20, 165, 580, 445)
    assert view_around(box(100, 50, 900, 550), IMAGE) == IMAGE


def test_small_objects_are_looked_at_closely_and_cut_ones_from_farther_away() -> None:
    near = box(378, 178, 522, 322)
    assert next_view(IMAGE, box(400, 200, 500, 300), IMAGE) == near
    assert next_view(near, box(400, 200, 500, 300), IMAGE) == near
    assert next_view(near, box(378, 200, 500, 300), IMAGE) == box(353, 178, 524, 322)
    assert next_view(near, box(100, 200, 500, 300), IMAGE) == box(20, 110, 580, 390)


def test_a_mask_moves_from_view_to_view() -> None:
    values = np.array([[0, 4], [8, 12]], np.float32)
    small, large = box(0, 0, 4, 4), box(0, 0, 8, 4)
    assert resampled(values, small, small, (2, 4), -9.0).tolist() == [[0, 1, 3, 4], [8, 9, 11, 12]]
    assert resampled(values, small, large, (2, 4), -9.0).tolist() == [[0, 4, -9, -9], [8, 12, -9, -9]]
    assert box_of(values > 5, large) == box(0, 2, 8, 4)
    assert box_of(values > 50, large) is None
