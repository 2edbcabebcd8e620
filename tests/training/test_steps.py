"""Steps: which classes they look at; the same numbers in chunks, stored or recomputed, with any number of threads."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from segvoc.data.training.training_set import ShardedSampler, TrainingBatch
from segvoc.errors import CheckpointError, UsageError
from segvoc.layers.class_selection import GroundTruthFirst, kept_classes
from segvoc.layers.selection import ClassSelection
from segvoc.training.cuda_passes import RecordedPass, SavedTensors
from segvoc.training.objectives import Objective
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import RunFolder
from segvoc.training.training_data import LabelTask, chosen_words
from tests.built import built
from tests.inference.small_network import small_network
from tests.networks.contract import NoDeviceWaits, torch_threads
from tests.networks.test_err_seg import small as small_err_seg
from tests.training.runs import RECIPE, RUNS, drawn_images, open_run


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
    assert relabeled[~known].tolist() == [6, 65535]


@pytest.mark.parametrize("fill", ["strongest", "released"])
def test_classes_are_chosen_by_labels_then_by_votes_without_waiting_for_the_device(fill):
    votes = torch.tensor([4.0, 0.0, 3.0, 1.0, 5.0, 2.0])
    cost = votes.view(1, 1, 6, 1, 1).expand(1, 1, 6, 2, 2).contiguous()

    def kept(labels, keep):
        return kept_classes(ClassSelection(keep=keep), cost, GroundTruthFirst(torch.tensor([labels]), fill))

    with NoDeviceWaits(), pytest.raises(AssertionError, match="_unique2 waits for the device"):
        votes.unique()
    with NoDeviceWaits():
        few = kept([[1, 255], [3, 1]], 4)
        many = kept([[5, 1], [3, 2]], 3)
        none = kept([[6, 5], [65535, 5]], 3)
    assert {1, 3} <= set(few[0].tolist()) and few.shape == (1, 4)
    assert 5 in none[0] and none.max() < 6 and none.shape == (1, 3)  # pixels of no class select none
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


def test_blocks_without_two_streams_are_refused():
    with torch.device("meta"):
        network = built("err-seg-b")
    for setting in ("fod_weight=0.01", "log_stream_similarity=true"):
        with pytest.raises(UsageError, match="don't have two streams"):
            Objective(network, Recipe(model="err-seg-b").with_settings([setting]))
    assert Objective(network, Recipe(model="err-seg-b")).two_streams is False


def computed(network, **changes):
    """Losses, gradients and buffers of a step."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (2, 3, 64, 64), generator=generator).double()
    labels = torch.randint(6, (2, 48, 48), generator=generator)
    labels[:, :5] = 65535
    recipe = RECIPE.with_settings(resize_crop_to=64, **changes)
    objective = Objective(network.double().requires_grad_(True).train(), recipe)
    words = torch.randn(5, 1, network.image_encoder.channels, generator=generator)
    torch.manual_seed(5)
    losses = objective(images, labels, torch.nn.functional.normalize(words, dim=-1).double())
    losses["loss"].backward()
    gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    return losses, gradients, dict(network.named_buffers())


def err_seg():
    """With a drop path, whose draws must be the same the second time."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return small_err_seg(drop_path=0.3)


def test_drop_paths_are_drawn_for_all_classes_at_once():
    changes = {"fod_weight": 0.0, "num_kept_classes": 4}
    expected = computed(err_seg(), class_chunk_size=0, activation_checkpointing=False, **changes)
    for size, recompute in ((1, False), (3, True)):
        found = computed(err_seg(), class_chunk_size=size, activation_checkpointing=recompute, **changes)
        assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_a_learning_text_tower_is_computed_twice_with_the_same_result(monkeypatch):
    monkeypatch.setattr("segvoc.training.objectives.PROMPTS", 2)
    tokens = torch.randint(256, (5, 1, 7), generator=torch.Generator().manual_seed(0))
    gradients = []
    for recompute in (False, True):
        network = small_network(1).double().requires_grad_(True).train()
        objective = Objective(network, RECIPE.with_settings(resize_crop_to=64, activation_checkpointing=recompute))
        images, labels = torch.full((1, 3, 64, 64), 9.0).double(), torch.zeros(1, 8, 8, dtype=torch.int64)
        objective(images, labels, tokens)["loss"].backward()
        gradients.append({name: value.grad for name, value in network.text_encoder.named_parameters()})
    assert gradients[0]["table.weight"].abs().max() > 0
    assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-11)


def test_recomputation_stores_less():
    stored = {}
    for recompute in (True, False):
        recipe = RECIPE.with_settings(resize_crop_to=64, activation_checkpointing=recompute)
        objective = Objective(small_network(2).requires_grad_(True).train(), recipe)
        images, labels = torch.zeros(2, 3, 64, 64), torch.zeros(2, 48, 48, dtype=torch.int64)
        with (counted := SavedTensors(objective)):
            losses = objective(images, labels, torch.randn(5, 1, objective.network.image_encoder.channels))
        stored[recompute] = counted.bytes
        with pytest.raises(RuntimeError, match="counted, not stored"):
            losses["loss"].backward()
    assert 0 < stored[True] < 0.7 * stored[False]


def test_auto_recomputes_until_memory_is_known():
    recipe = RECIPE.with_settings(["activation_checkpointing=auto", "class_chunk_size=3"])
    assert recipe.runtime.recomputes and recipe.runtime.activation_checkpointing == "auto"
    changes = {"class_chunk_size": 2, "fod_weight": 0.01}
    auto, always = (computed(small_network(2), activation_checkpointing=how, **changes) for how in ("auto", True))
    assert_close(auto, always, rtol=1e-9, atol=1e-11)


def test_steps_that_can_not_be_recorded_run_as_they_are(monkeypatch):
    class Doubled(nn.Linear):
        def forward(self, x):
            return {"loss": super().forward(x).sum()}

    def refuse(*arguments):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("segvoc.training.cuda_passes.CapturedFunction", refuse)

    def plain(x):
        losses = objective(x)
        losses["loss"].backward()
        return losses

    objective, x = Doubled(3, 1), torch.ones(2, 3)
    passes = RecordedPass(plain, objective, [*objective.parameters()])
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


FAST = ("kept classes", "parts", "captions")
TOLERANCE = 2e-6
"""Of the largest number of its kind: float32 has 24 bits, and every number of threads adds in an order of its own."""
OF_CAPTIONS = 1e-4
"""Their losses divide differences of cosines by a temperature, and so multiply what rounding makes of them."""


def numbers_of_a_step(kind: str, threads: int, folder, **changes) -> dict[str, Tensor]:
    """Losses (the terms of the orthogonality loss among them), gradients and running statistics of the first step."""
    training = RUNS[kind](folder / "set", folder / f"run-{threads}", **changes)
    batch = training.recipe.optimizer.batch_size
    sampler = ShardedSampler(batch=batch, passes=1, rank=0, ranks=1, first_step=0, steps=1)
    training._training_mode()
    with torch_threads(threads):
        torch.manual_seed(0)
        loader = iter(training.task.batches(sampler, 0, pinned=False))
        (inputs,) = training.passes.read(loader, 0, lambda problems: None)
        losses = training.objective(*inputs)
        losses["loss"].backward()
    training.folder.close()
    numbers = {f"loss {name}": value.detach() for name, value in losses.items()}
    numbers |= {f"gradient {name}": p.grad for name, p in training.network.named_parameters() if p.grad is not None}
    return numbers | {f"buffer {name}": value for name, value in training.network.named_buffers()}


@pytest.mark.parametrize(
    ("kind", "recompute"),
    [
        pytest.param(kind, recompute, marks=() if recompute and kind in FAST else pytest.mark.slow)
        for kind in RUNS
        for recompute in (True, False)
    ],
)
def test_a_step_has_the_same_numbers_with_any_number_of_threads(kind, recompute, tmp_path):
    chunks = {"activation_checkpointing": recompute, "class_chunk_size": 2}
    changes = {} if kind == "captions" else chunks
    expected = numbers_of_a_step(kind, 1, tmp_path)
    largest = max(value.abs().max().item() for name, value in expected.items() if name.startswith("gradient"))
    tolerance = OF_CAPTIONS if kind == "captions" else TOLERANCE
    found = numbers_of_a_step(kind, 3, tmp_path, **changes)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        unit = largest if name.startswith("gradient") else value.abs().max().clamp(min=1e-3).item()
        worst = (found[name].double() - value.double()).abs().max().item()
        assert worst <= tolerance * unit, f"{name}: {worst / unit:.1e}"
