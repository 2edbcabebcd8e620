"""What a step looks at: its classes, and the streams of the blocks."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from segvoc.data.training.training_set import TrainingBatch
from segvoc.errors import UsageError
from segvoc.layers.selection_rules import Voted
from segvoc.training.objectives import GroundTruthFirst, Objective
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import RunFolder
from segvoc.training.training_data import LabelTask, chosen_words
from tests.built import built
from tests.device_waits import NoDeviceWaits
from tests.inference.small_network import small_network
from tests.training.runs import drawn_images, open_run


def test_words_of_a_step_are_those_of_its_images_and_random_others():
    labels = torch.tensor([[[7, 7, 2]], [[20, 65535, 2]]])  # 20 is the background's label: there are 20 classes
    chosen = chosen_words(labels, classes=20, words=6, seed=3)
    assert len(chosen) == 6 and chosen.tolist() == sorted(set(chosen.tolist())) and {2, 7} <= set(chosen.tolist())
    assert torch.equal(chosen_words(labels, 20, 6, 3), chosen)
    assert len({tuple(chosen_words(labels, 20, 6, seed).tolist()) for seed in range(20)}) > 10


def test_labels_count_the_words_of_their_step(as_users_call):
    words = torch.arange(20.0)[:, None, None]
    labels = torch.tensor([[[7, 7, 2]], [[20, 65535, 2]]], dtype=torch.int32)
    training_set: Any = SimpleNamespace(seed=3)  # the only field that is read
    task = LabelTask(training_set=training_set, words=words, chosen=6)
    batch = TrainingBatch(torch.zeros(2, 3, 1, 3, dtype=torch.uint8), labels, ())
    _, relabeled, chosen = task.inputs(batch, (0, 0, 0), torch.device("cpu"))
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
    with NoDeviceWaits(), pytest.raises(AssertionError, match="_unique2 waits for the device"):
        votes.unique()
    with NoDeviceWaits():
        few = GroundTruthFirst(torch.tensor([[[1, 255], [3, 1]]]), Voted(4), 255, fill)(cost)
        many = GroundTruthFirst(torch.tensor([[[5, 1], [3, 2]]]), Voted(3), 255, fill)(cost)
    assert {1, 3} <= set(few[0].tolist()) and few.shape == (1, 4)
    assert many.tolist() == [[1, 2, 3]]  # those with the lowest indices


def test_logged_streams_do_not_change_the_training(tmp_path):
    images, weights = drawn_images(tmp_path / "images"), []
    for name, log in (("plain", False), ("logged", True)):
        changes = {"fod_weight": 0.0, "steps": 2, "log_stream_similarity": log}
        training = open_run(images, tmp_path / name, network=small_network(2), **changes)
        training.run()
        weights.append(training.weights())
    plain, logged = (RunFolder(tmp_path / name).read_lines("metrics.jsonl") for name in ("plain", "logged"))
    for unseen, seen in zip(plain, logged, strict=True):
        # a mean square is at least the square of the mean
        assert all(0 < seen[f"cosine_{block}"] ** 2 <= seen[f"fod_{block}"] < 1 for block in (1, 2))
        assert "fod" not in seen and not [name for name in unseen if name.startswith(("fod", "cosine"))]
        assert (seen["loss"], seen["gradient_norm"]) == (unseen["loss"], unseen["gradient_norm"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("setting", ["fod_weight=0.01", "log_stream_similarity=true"])
def test_blocks_without_two_streams_are_refused(setting):
    with torch.device("meta"):
        network = built("err-seg-b")
    with pytest.raises(UsageError, match="don't have two streams"):
        Objective(network, Recipe(model="err-seg-b").with_settings([setting]))
    assert Objective(network, Recipe(model="err-seg-b")).two_streams is False
