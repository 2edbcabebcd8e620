"""The annotator clicks where most is wrong, counts its actions, and stops when the labels are good or patience ends."""

from unittest.mock import Mock

import numpy as np
import pytest

from benchmarks.annotator import MOST, Annotation


@pytest.mark.parametrize("is_right", [True, False])
def test_the_largest_error_is_clicked_until_the_labels_are_right_or_patience_ends(is_right: bool) -> None:
    truth = np.zeros((20, 30), np.int64)
    truth[2:6, 2:6], truth[8:18, 10:28], truth[0] = 1, 2, 255
    work = Annotation(truth, np.zeros_like(truth))
    wanted = truth == 2
    image = Mock(mask=lambda guess: wanted if is_right else np.zeros_like(wanted))
    assert 0.2 < work.miou < 0.3
    work.correct(image)
    click = image.clicked.call_args_list[0].args[0]
    assert wanted[int(click.y), int(click.x)] and click.adds
    if is_right:
        assert work.actions == 1 and (work.labels[wanted] == 2).all() and not work.is_done
        return
    while not work.is_done:
        work.correct(image)
    assert work.actions == MOST and (work.labels == 0).all()
