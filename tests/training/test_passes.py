"""Passes of a step: what autograd stores is counted, and where no graph can be recorded a step runs as it is.

Graphs themselves need a GPU: tests/test_cuda.py.
"""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from segvoc.errors import CheckpointError
from segvoc.training.loop import SavedTensors, StepPasses, without_recomputation
from segvoc.training.objectives import Objective
from tests.inference.small_network import small_network
from tests.training.runs import RECIPE, drawn_images, open_run
from tests.training.test_chunks import assert_same, computed


def test_saved_tensors_count_each_memory_once_and_no_weights():
    linear = nn.Linear(8, 16)
    x = torch.randn(4, 8, requires_grad=True)
    with (counted := SavedTensors(linear)):
        y = linear(x)  # saves x; the weight is a parameter
        z = y.sigmoid() * y  # saves the sigmoid's output, once for both, and y
    assert counted.bytes == 4 * (4 * 8 + 2 * 4 * 16)
    with pytest.raises(RuntimeError, match="counted, not stored"):
        z.sum().backward()


def test_recomputation_stores_less():
    stored = {}
    for recompute in (True, False):
        recipe = RECIPE.with_settings(resize_crop_to=64, activation_checkpointing=recompute)
        objective = Objective(small_network(2).requires_grad_(True).train(), recipe)
        images, labels = torch.zeros(2, 3, 64, 64), torch.zeros(2, 48, 48, dtype=torch.int64)
        with (counted := SavedTensors(objective)):
            objective(images, labels, torch.randn(5, 1, objective.network.image_encoder.channels))
        stored[recompute] = counted.bytes
    assert 0 < stored[True] < 0.7 * stored[False]


def test_auto_recomputes_until_memory_is_known():
    recipe = RECIPE.with_settings(["activation_checkpointing=auto", "class_chunk_size=3"])
    assert recipe.runtime.recomputes and recipe.runtime.activation_checkpointing == "auto"
    plain = without_recomputation(recipe).runtime
    assert (plain.recomputes, plain.class_chunk_size) == (False, 0)
    changes = {"class_chunk_size": 2, "fod_weight": 0.01}
    auto = computed(small_network(2), activation_checkpointing="auto", **changes)
    assert_same(auto, computed(small_network(2), activation_checkpointing=True, **changes))


def test_steps_that_can_not_be_recorded_run_as_they_are(monkeypatch):
    class Doubled(nn.Linear):
        def forward(self, x):
            return {"loss": super().forward(x).sum()}

    def refuse(*arguments):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("segvoc.training.loop.CapturedFunction", refuse)
    objective, x = Doubled(3, 1), torch.ones(2, 3)
    passes = StepPasses(objective, nullcontext, torch.amp.GradScaler("cpu", enabled=False), [*objective.parameters()])
    for number in range(6):
        objective.zero_grad(set_to_none=True)
        loss = passes([x])["loss"]
        assert loss == objective(x)["loss"] and torch.equal(objective.weight.grad, torch.full((1, 3), 2.0))
        assert passes.fails == (number >= 3) and passes.graph is None


def test_a_checkpoint_that_lacks_learned_weights_is_refused(tmp_path):
    images = drawn_images(tmp_path / "set")
    training = open_run(images, tmp_path / "run")
    training.save()
    state = torch.load(tmp_path / "run/checkpoint.pt", weights_only=False)
    name = next(iter(training.learning))
    del state["weights"][name]
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        training.restore(state)
