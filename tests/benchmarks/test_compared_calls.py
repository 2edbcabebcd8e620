"""Inputs of the calls that are compared, and how results are."""

import math

import torch

from benchmarks.compared_calls import Inputs, Setting, clear_words, difference, equal_labels
from segvoc.layers.aggregation import cost_volume
from segvoc.layers.class_selection import count_votes
from segvoc.selection_rules import DROPPED, PUBLISHED_VOTES


def test_dropped_words_count_only_if_one_code_kept_them():
    official = torch.tensor([[1.0, 2.0], [DROPPED, DROPPED]])[None, :, None]
    assert difference(official, official.clone()) == 0
    changed = official.clone()
    changed[0, 0] += 0.5
    assert difference(official, changed) == 0.25
    changed[0, 1] = 0.0
    assert difference(official, changed) == math.inf
    assert equal_labels(torch.tensor([[3, 1]]), torch.tensor([[3, 2]])) == 0.5


def test_clear_words_leave_no_doubt_which_are_kept():
    setting = Setting("err-seg-b", 60, "aggregation")
    maps = Inputs(setting).maps
    votes = count_votes(cost_volume(maps[0], clear_words(maps[0], setting)[None]), PUBLISHED_VOTES)[0]
    assert setting.kept == 16
    assert votes[:16].min() > 10 * votes[16:].max()
    assert [tuple(one.shape) for one in maps] == [(1, 640, 40, 40), (1, 640, 20, 20)]
