"""The annotator clicks where most is wrong, counts its clicks, and stops when the labels are good or patience ends."""

from unittest.mock import Mock

import numpy as np
import pytest

from benchmarks.annotation import MOST_CLICKS, clicks_after_words


@pytest.mark.parametrize(("is_right", "clicks"), [(True, 2), (False, MOST_CLICKS)])
def test_the_largest_error_is_clicked_until_the_labels_are_right_or_patience_ends(is_right: bool, clicks: int) -> None:
    truth = np.zeros((20, 30), np.uint8)
    truth[2:6, 2:6], truth[8:18, 10:28], truth[0] = 1, 2, 255
    image = Mock(
        clicked=lambda click, guess: truth == truth[int(click.y), int(click.x)],
        mask=lambda guess: guess if is_right else np.zeros_like(guess),
    )
    assert clicks_after_words(truth, np.zeros_like(truth), image) == clicks
