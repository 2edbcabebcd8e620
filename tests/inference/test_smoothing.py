"""Smoothing of the logits of a video's frames."""

import numpy as np

from segvoc.inference.protocols import Protocol
from segvoc.inference.smoothing import FORGOTTEN, Smoothing
from segvoc.inference.windows import ViewLogits


def test_a_dropped_class_is_forgotten_once_it_is_improbable_in_all_cells() -> None:
    """Classes 0 and 2 of the first frame, and 1 of the later ones, which class selection keeps alone."""
    smoothing, image, protocol = Smoothing(0.5), np.full((4, 8, 3), 100, np.uint8), Protocol(size=1)
    first = np.array([[[[0.0, -20.0]], [[-6.0, -6.0]]]], np.float32)  # probabilities 1/2 and 0, and 0.0025 twice
    smoothing(ViewLogits(first, np.array([[0, 2]]), 3), protocol, image)
    remembered = []
    for _ in range(10):
        output = ViewLogits(np.full((1, 1, 1, 2), -9.0, np.float32), np.array([[1]]), 3)
        smoothed = smoothing(output, protocol, image)
        assert smoothing.state is not None and smoothed.kept is not None
        assert smoothed.kept[0].tolist() == smoothing.state.classes.tolist()
        remembered.append(smoothed.kept[0].tolist())
    # the mean halves with each frame: 1/2 falls below `FORGOTTEN` with the ninth, 0.0025 with the second
    assert 0.5**9 > FORGOTTEN > 0.5**10 and 0.0025 / 2 > FORGOTTEN > 0.0025 / 4
    assert remembered == [[0, 1, 2], *[[0, 1]] * 7, [1], [1]]
