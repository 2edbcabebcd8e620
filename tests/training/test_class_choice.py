"""Which classes a step looks at."""

import torch

from segvoc.selection_rules import Voted
from segvoc.training.ground_truth_selection import GroundTruthFirst
from segvoc.training.tasks import chosen_words


def test_words_of_a_step_are_those_of_its_images_and_random_others():
    labels = torch.tensor([[[7, 7, 2]], [[20, 65535, 2]]])  # 20 is the background's label: there are 20 classes
    relabeled, chosen = chosen_words(labels, classes=20, words=6, seed=3)
    assert len(chosen) == 6 and chosen.tolist() == sorted(set(chosen.tolist()))
    known = labels < 20
    assert torch.equal(chosen[relabeled[known]], labels[known])
    assert relabeled[~known].tolist() == [20, 65535]
    assert torch.equal(chosen_words(labels, 20, 6, 3)[1], chosen)
    assert len({tuple(chosen_words(labels, 20, 6, seed)[1].tolist()) for seed in range(20)}) > 10


def test_more_words_in_the_images_than_asked_for_are_all_looked_at():
    labels = torch.arange(10).view(1, 2, 5)
    relabeled, chosen = chosen_words(labels, classes=12, words=4, seed=0)
    assert chosen.tolist() == list(range(10)) and torch.equal(relabeled, labels)


def test_as_many_words_as_classes_change_nothing():
    labels = torch.tensor([[[0, 4, 65535]]])
    relabeled, chosen = chosen_words(labels, classes=5, words=99, seed=0)
    assert chosen.tolist() == [0, 1, 2, 3, 4] and torch.equal(relabeled, labels)


def test_pixels_of_no_class_select_none():
    cost = torch.rand(1, 1, 6, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[6, 5], [65535, 5]]])
    kept = GroundTruthFirst(labels, Voted(3), 65535)(cost)
    assert kept.shape == (1, 3) and 5 in kept[0] and kept.max() < 6
