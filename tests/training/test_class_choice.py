"""Which classes a step looks at."""

from types import SimpleNamespace

import pytest
import torch

from segvoc.data.training.training_set import TrainingBatch
from segvoc.selection_rules import Voted
from segvoc.training.loop import StepInfo
from segvoc.training.objectives.segmentation import GroundTruthFirst
from segvoc.training.training_data import LabelTask, chosen_words
from tests.device_waits import NoDeviceWaits


def test_words_of_a_step_are_those_of_its_images_and_random_others():
    labels = torch.tensor([[[7, 7, 2]], [[20, 65535, 2]]])  # 20 is the background's label: there are 20 classes
    chosen = chosen_words(labels, classes=20, words=6, seed=3)
    assert len(chosen) == 6 and chosen.tolist() == sorted(set(chosen.tolist())) and {2, 7} <= set(chosen.tolist())
    assert torch.equal(chosen_words(labels, 20, 6, 3), chosen)
    assert len({tuple(chosen_words(labels, 20, 6, seed).tolist()) for seed in range(20)}) > 10


def test_labels_count_the_words_of_their_step(as_users_call):
    words = torch.arange(20.0)[:, None, None]
    labels = torch.tensor([[[7, 7, 2]], [[20, 65535, 2]]], dtype=torch.int32)
    task = LabelTask(training_set=SimpleNamespace(), words=words, chosen=6, seed=3)  # type: ignore[arg-type]
    batch = TrainingBatch(torch.zeros(2, 3, 1, 3, dtype=torch.uint8), labels, ())
    _, relabeled, chosen = task.inputs(batch, StepInfo(0, 0, 0), torch.device("cpu"))
    known = labels < 20
    assert relabeled.dtype == torch.int64 and len(chosen) == 6
    assert torch.equal(chosen[relabeled[known], 0, 0], labels[known].float())
    assert relabeled[~known].tolist() == [20, 65535]


def test_pixels_of_no_class_select_none():
    cost = torch.rand(1, 1, 6, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[[6, 5], [65535, 5]]])
    kept = GroundTruthFirst(labels, Voted(3), 65535)(cost)
    assert kept.shape == (1, 3) and 5 in kept[0] and kept.max() < 6


@pytest.mark.parametrize("fill", ["strongest", "released"])
def test_classes_are_chosen_by_labels_then_by_votes_without_waiting_for_the_device(fill):
    votes = torch.tensor([4.0, 0.0, 3.0, 1.0, 5.0, 2.0])
    cost = votes.view(1, 1, 6, 1, 1).expand(1, 1, 6, 2, 2).contiguous()
    with NoDeviceWaits():
        few = GroundTruthFirst(torch.tensor([[[1, 255], [3, 1]]]), Voted(4), 255, fill)(cost)
        many = GroundTruthFirst(torch.tensor([[[5, 1], [3, 2]]]), Voted(3), 255, fill)(cost)
    assert {1, 3} <= set(few[0].tolist()) and few.shape == (1, 4)
    assert many.tolist() == [[1, 2, 3]]  # those with the lowest indices
