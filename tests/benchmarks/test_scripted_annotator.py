"""The scripted annotator takes the cheapest tool, and leaves what is right or small alone."""

import numpy as np

from benchmarks.scripted_annotator import Annotator, Effort
from segvoc.imaging.label_maps import UNLABELED


def test_whole_regions_take_one_click_and_islands_are_erased() -> None:
    truth = np.zeros((100, 100), np.uint16)
    truth[:, 50:] = 1
    truth[:3] = UNLABELED
    draft = truth.copy()
    draft[:, 50:] = 2  # a region with a wrong word
    draft[40:60, 10:30] = 3  # an island where nothing is
    draft[90:93, 10:13] = 3  # a speck
    draft[:3] = 4  # where nobody knows what is right
    annotator = Annotator(np.zeros((100, 100, 3), np.uint8), truth)
    labels, effort = annotator.corrected(draft)
    assert effort == Effort(
        clicks=2, words=1, regions=2, wrong=1, left=0, tools={"region": 1, "eraser": 1}, by_word={1: 2, 0: 1}
    )
    wrong = (labels != truth) & (truth != UNLABELED)
    assert wrong.sum() == 9
    assert annotator.corrected(truth)[1] == Effort(regions=2)
