"""The loop on small networks: steps, resuming, what goes wrong; parts and timm's encoders in it."""

import errno
import json
import os
import random
import signal
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.training_set import IGNORED, TrainingBatch
from segvoc.errors import InputError, OutputError, TrainingError, UsageError
from segvoc.inference.protocols import Protocol
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.part_cat_seg import PART_CAT_SEG, PCA_PART
from segvoc.runtime.distributed import Processes
from segvoc.runtime.process_settings import float32_products
from segvoc.training import run_folder
from segvoc.training.loop import Training
from segvoc.training.monitor import Monitor
from segvoc.training.objectives import PartObjective
from segvoc.training.run import train
from segvoc.training.run_folder import RunFolder
from tests.hardening.faults import Killed
from tests.images import one_line_error
from tests.inference.small_network import small_network
from tests.networks.contract import NoDeviceWaits
from tests.timm_clips import ALL, small_network_on
from tests.training.runs import RECIPE, drawn_images, drawn_parts, kill, losses, open_parts, open_run, part_network


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return drawn_images(tmp_path_factory.mktemp("images"))


def opened(images, out, **options) -> Training:
    """A run with dropout, whose random numbers have to go on where they were."""
    network = small_network()
    network.aggregation.embed_cost = nn.Sequential(network.aggregation.embed_cost, nn.Dropout(0.3))
    return open_run(images, out, network=network, **options)


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    training = opened(images, out)
    training.run()
    return losses(out), training.weights()


def batch_of(training: Training) -> TrainingBatch:
    samples = [training.task.training_set[place] for place in range(4)]
    return TrainingBatch(torch.stack([s.image for s in samples]), torch.stack([s.labels for s in samples]), ())


def test_one_step_is_what_the_papers_equations_say(images, tmp_path):
    """In float64: Adam's first step divides each gradient by its own size, rounding included."""
    reference = small_network(2).double().train()
    changes = {"color_jitter": False, "weight_decay": 0.1, "class_chunk_size": 2, "activation_checkpointing": True}
    training = open_run(images, tmp_path / "run", network=small_network(2), dtype=torch.float64, **changes)
    batch = batch_of(training)
    pixels, labels = batch.images, batch.labels.long()
    streams = []
    logits = reference.requires_grad_(True)(
        pixels.float(), training.task.words, observe=lambda _, *pair: streams.append(F.cosine_similarity(*pair, dim=-1))
    )
    scores = F.interpolate(logits, size=(32, 32), mode="bilinear")
    known = labels != IGNORED
    targets = F.one_hot(labels.where(known, 0), 3).permute(0, 3, 1, 2).double()
    entropy = -(targets * F.logsigmoid(scores) + (1 - targets) * F.logsigmoid(-scores))
    segmentation = entropy.permute(0, 2, 3, 1)[known].mean()
    fod = 0.01 * torch.stack([cosine.square().mean() for cosine in streams]).mean()
    (segmentation + fod).backward()
    named = {n: p for n, p in reference.named_parameters() if not n.startswith("text_encoder")}
    norm = torch.stack([p.grad.norm() for p in named.values()]).norm()
    expected, kinds = {}, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d
    norms = {n for n, m in reference.named_modules() if isinstance(m, kinds)}
    for name, value in named.items():
        gradient = value.grad * min(1, 0.01 / (norm + 1e-6))
        rate = 1e-2 * (0.1 if name.startswith("image_encoder") else 1)
        decay = 0 if name.rpartition(".")[0] in norms else 0.1
        # AdamW's first step: both moments, without their bias, are g and g^2
        expected[name] = value * (1 - rate * decay) - rate * gradient / (gradient.abs() + 1e-8)
    training.run_step(iter([batch]))
    training.folder.close()
    ours = dict(training.network.named_parameters())
    torch.testing.assert_close({name: ours[name] for name in expected}, expected, rtol=1e-6, atol=1e-6)
    (line,) = training.folder.read_lines("metrics.jsonl")
    numbers = {"loss": segmentation + fod, "segmentation": segmentation, "fod": fod, "gradient_norm": norm}
    numbers |= {"fod_2": streams[1].square().mean(), "cosine_2": streams[1].mean()}
    assert {name: line[name] for name in numbers} == pytest.approx({n: x.item() for n, x in numbers.items()}, rel=1e-4)


@pytest.mark.parametrize("step", [1, pytest.param(4, marks=pytest.mark.slow), 5])
def test_a_run_that_is_killed_goes_on_with_the_same_numbers(images, whole, tmp_path, step):
    kill(opened(images, tmp_path / "run"), step)
    torch.manual_seed(99)
    again = opened(images, tmp_path / "run", resume=True)
    assert again.step == (step - 1) // 2 * 2
    again.run()
    assert losses(tmp_path / "run") == whole[0]
    weights = again.weights()
    assert all(torch.equal(value, weights[name]) for name, value in whole[1].items())


def test_sigterm_ends_the_step_saves_and_leaves(images, whole, tmp_path, monkeypatch):
    out, told = tmp_path / "run", []
    training = opened(images, out, save_every=100, warn=told.append)
    note, before = training.folder.note, signal.getsignal(signal.SIGTERM)

    def terminated(name, entry):
        note(name, entry)
        if entry["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) == before  # the second one has its usual effect

    monkeypatch.setattr(training.folder, "note", terminated)
    with pytest.raises(SystemExit) as end:
        training.run()
    assert end.value.code == 143 and "step 3 is saved" in told[-1]
    assert signal.getsignal(signal.SIGTERM) == before
    opened(images, out, save_every=100, resume=True).run()
    assert losses(out) == whole[0]


def test_a_full_disk_keeps_the_last_checkpoint(images, tmp_path, monkeypatch):
    out = tmp_path / "run"
    training = open_run(images, out, steps=2, save_every=1)
    writes = []

    def full(path, write):
        writes.append(path)
        if len(writes) == 2:
            raise OutputError(f"{path} can't be written: {os.strerror(errno.ENOSPC)}")
        original(path, write)

    original = run_folder.write_atomically
    monkeypatch.setattr(run_folder, "write_atomically", full)
    with pytest.raises(OutputError, match="No space left"):
        training.run()
    assert open_run(images, out, steps=2, save_every=1, resume=True).step == 1


def test_a_step_that_is_not_finite_is_named_and_skipped(images, tmp_path):
    told = []
    training = open_run(images, tmp_path / "run", warn=told.append, steps=3)
    whole = dict(training.network.state_dict())
    before = {name: value.clone() for name, value in whole.items()}
    conv = training.network.image_encoder.project
    handle = conv.register_forward_hook(lambda module, given, result: result * float("nan"))
    batch = batch_of(training)
    training.run_step(iter([batch]))
    assert "step 1 is skipped" in told[0] and "loss (nan)" in told[0]
    assert "outputs of network.image_encoder.project" in told[0] and "gradients of" in told[0]
    assert all(torch.equal(value, before[name]) for name, value in training.network.state_dict().items())
    handle.remove()
    training.run_step(iter([batch]))
    training.folder.close()
    assert training.bad_in_a_row == 0
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] is None and "not finite" in lines[0]["problem"]
    assert lines[1]["loss"] > 0 and "problem" not in lines[1]


def test_a_bad_step_does_not_replace_a_good_checkpoint_and_is_noted(images, tmp_path):
    """The step before it may have spoilt the weights."""
    training = open_run(images, tmp_path / "run", max_bad_steps=2, save_every=1)
    training.network.aggregation.decoder.head.register_forward_hook(
        lambda module, given, result: result * (float("inf") if training.step >= 2 else 1)
    )
    with pytest.raises(TrainingError, match=r"2 steps in a row were not finite .*the last good checkpoint stays"):
        training.run()
    assert RunFolder(tmp_path / "run").state()["step"] == 2
    lines = RunFolder(tmp_path / "run").read_lines("metrics.jsonl")
    assert ["problem" in line for line in lines] == [False, False, True, True]


@pytest.mark.parametrize("place", ["weight", "running_var"])
def test_weights_that_are_not_finite_at_the_end_are_not_saved(images, tmp_path, monkeypatch, place):
    """Nor are the statistics of batch norm, which training doesn't read, so that its losses stay finite."""
    training = open_run(images, tmp_path / "run", save_every=1, steps=3)
    step = training.optimizer.step
    value = next(value for name, value in training._state().items() if name.endswith(place))

    def spoil(*arguments, **keywords):
        step(*arguments, **keywords)
        if training.step >= 2:
            value.data[-1] = float("nan")

    monkeypatch.setattr(training.optimizer, "step", spoil)
    with pytest.raises(TrainingError, match="not finite after the last step; the last good checkpoint stays"):
        training.run()
    assert RunFolder(tmp_path / "run").state()["step"] == 1


def test_images_that_a_kill_kept_from_being_looked_at_are_looked_at(images, tmp_path):
    looked = []

    def killed(step):
        raise Killed

    for look in (killed, looked.append):
        training = open_run(images, tmp_path / "run", steps=2, resume=True)
        training.validate = look
        with suppress(Killed):
            training.run()
    assert looked == [2]


def test_passes_and_clipping_wait_for_no_device(images, tmp_path, monkeypatch):
    training = open_run(images, tmp_path / "run")
    batch = batch_of(training)
    monkeypatch.setattr(Processes, "mean", Mock(side_effect=Killed))  # the only wait of a step
    with NoDeviceWaits(), pytest.raises(Killed):
        training.run_step(iter([batch]))
    training.folder.close()


def test_images_that_cant_be_read_are_passed_over_named_and_counted_and_all_of_them_end_the_run(tmp_path):
    images, told = drawn_images(tmp_path), []
    (tmp_path / "images/3.png").write_bytes(b"no image")
    open_run(images, tmp_path / "run", warn=told.append, steps=3).run()
    assert len(told) == 1 and "passed over" in told[0] and "images/3.png" in told[0]
    lines = RunFolder(tmp_path / "run").read_lines("metrics.jsonl")
    assert len(lines) == 3 and lines[-1]["unreadable_images"] == 1
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"no image")
    with one_line_error(InputError, match=r"none of the 5 images can be read; .*images/"):
        open_run(images, tmp_path / "none").run()


def test_half_precision_stays_near(images, tmp_path):
    for precision in (precisions := ("float32", "bfloat16", "float16")):
        open_run(images, tmp_path / precision, precision=precision, steps=2).run()
    exact, *rough = (losses(tmp_path / precision) for precision in precisions)
    for found in rough:
        assert [loss for _, loss, _ in found] == pytest.approx([loss for _, loss, _ in exact], rel=0.05)


def test_the_best_weights_are_saved_with_the_buffers_that_were_validated_with_them(images, tmp_path):
    """Also after a kill between the best validation and the end: not the best parameters beside the last statistics."""
    options = {"steps": 6, "eval_every": 1, "patience": 9, "save_every": 1}
    seen = []
    training = open_run(images, tmp_path / "run", **options)

    def validate(step: int) -> float:
        seen.append({name: value.detach().clone() for name, value in training._state().items()})
        return 0.9 if step == 2 else 0.1 * step

    training.validate = validate
    kill(training, 5)
    again = open_run(images, tmp_path / "run", resume=True, **options)
    again.validate = lambda step: 0.1 * step
    again.run()
    best, last = seen[1], RunFolder(tmp_path / "run").state()["weights"]
    assert any("running_mean" in name for name in best) and again.step == 6
    for kept in (again.weights(), again.network.state_dict()):
        assert all(torch.equal(kept[name], value) for name, value in best.items())
    assert any(not torch.equal(best[name], last[name]) for name in best if "running_" in name)


def test_a_network_in_memory_gets_the_weights_of_the_file(images, tmp_path, small_preset, undrawn, monkeypatch):
    """The best ones, with their buffers, not those of the last step."""
    states = {}

    def validate(monitor: Monitor, step: int) -> float | None:
        states[step] = {name: value.clone() for name, value in network.state_dict().items()}
        return {2: 0.9, 3: 0.9, 4: 0.1}.get(step)  # an equal score keeps the earlier weights

    monkeypatch.setattr(Monitor, "validate", validate)
    network, recipe = small_network(), RECIPE.with_settings(steps=4, eval_every=1, patience=9)
    result = train(recipe, images, tmp_path / "run", network=network, device="cpu", progress=False)
    stored, ours = load_file(result.weights), network.state_dict()
    assert stored.keys() == ours.keys()
    for name, value in ours.items():
        assert torch.equal(stored[name], value) and torch.equal(states[2][name], value), name
    different = [name for name, value in ours.items() if not torch.equal(states[4][name], value)]
    assert any("running_mean" in name for name in different) and any("weight" in name for name in different)


def random_states() -> tuple[list[int], object, object, int]:
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate(), torch.initial_seed()


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_training_leaves_random_numbers_as_they_were(images, tmp_path, small_preset, undrawn, as_users_call, workers):
    """Without the checks of annotations, which draw some."""
    torch.manual_seed(1234)
    network = small_network()
    network.aggregation.embed_cost = nn.Sequential(network.aggregation.embed_cost, nn.Dropout(0.3))
    recipe = RECIPE.with_settings(steps=2, num_workers=workers, save_every=1)
    options = {"network": network, "device": "cpu", "progress": False}
    torch.rand(3), np.random.rand(3), random.random()
    before = random_states()
    train(recipe, images, tmp_path / "run", **options)
    assert random_states() == before
    network.aggregation.decoder.head.register_forward_hook(lambda module, given, result: result * float("nan"))
    with pytest.raises(TrainingError):
        train(recipe.with_settings(max_bad_steps=1), images, tmp_path / "bad", **options)
    assert random_states() == before


def test_precision_of_products_is_put_back_after_a_validation_that_fails(images, tmp_path):
    training = open_run(images, tmp_path / "run", steps=1)

    def validate(step: int) -> float:
        assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
        raise Killed

    training.validate = validate
    with float32_products(tf32=True):
        with pytest.raises(Killed):
            training.run()
        assert torch.get_float32_matmul_precision() == "high" and torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("loss", ["masked", "competing", "cross-entropy"])
def test_unevenly_labeled_passes_add_up_to_the_batch(images, tmp_path, loss):
    """The sum over all labeled pixels divided by their number, not the mean of the passes' means."""
    found = []
    for passes in (1, 2):
        changes = {"fod_weight": 0.0, "loss": loss, "grad_accum_steps": passes, "dtype": torch.float64}
        training = open_run(images, tmp_path / f"{passes}", network=small_network(0), **changes)
        whole = batch_of(training)
        labels = whole.labels.clone()
        labels[2:, 1:] = IGNORED  # a thirtieth of the second pass
        halves = zip(whole.images.chunk(passes), labels.chunk(passes), strict=True)
        training.run_step(iter([TrainingBatch(*half, ()) for half in halves]))
        training.folder.close()
        found.append([*losses(tmp_path / f"{passes}")[0]])
    assert found[1] == pytest.approx(found[0], rel=1e-6)
    with pytest.raises(UsageError, match="batch_size=4 does not divide into 1 processes with grad_accum_steps=3"):
        open_run(images, tmp_path / "3", grad_accum_steps=3)


@pytest.fixture
def part_images(tmp_path):
    return drawn_parts(tmp_path / "set")


TERMS = {"loss", "segmentation", "specific", "part", "object", "compositional"}


@pytest.mark.parametrize(("config", "loss"), [(PART_CAT_SEG, "released"), (PCA_PART, "competing")])
def test_every_term_of_parts_is_told(part_images, tmp_path, config, loss):
    open_parts(part_images, tmp_path / "run", config, fod_weight=0.01 * (config is PCA_PART), steps=2, loss=loss).run()
    streams = {"fod", "fod_1", "fod_2", "cosine_1", "cosine_2"} if config is PCA_PART else set()
    for line in RunFolder(tmp_path / "run").read_lines("metrics.jsonl"):
        told = {name for name in line if name in TERMS or name.startswith(("fod", "cosine"))}
        assert told == TERMS | streams
        parts = sum(line[name] for name in TERMS - {"loss", "segmentation"})
        assert line["segmentation"] == pytest.approx(parts, rel=1e-4)
        assert line["loss"] == pytest.approx(line["segmentation"] + line.get("fod", 0), rel=1e-4)


def test_its_own_rule_takes_the_background(part_images, tmp_path):
    """A network that has learned where no part is needs no threshold; with one, that counts."""
    training = open_parts(part_images, tmp_path / "run", PART_CAT_SEG, steps=1)
    training.run()
    protocols = {"auto": Protocol(size=64)}
    own = NetworkSegmenter(name="own", network=training.network, protocols=protocols, templates=("{}",))
    image = part_images.read(0).image
    with torch.no_grad():
        training.network.aggregation.none.fill_(1)
    result = own.segment(image, part_images.vocabulary, background="ground", return_probabilities=True)
    assert result.words == part_images.vocabulary.words
    assert (result.probabilities.argmax(0) == result.labels).all()
    never = own.segment(image, part_images.vocabulary, background="ground", threshold=0.0)
    assert not (never.labels == 0).any()
    added = own.segment(image, ["sign's red disc", "sign's blue disc"], background="nothing")
    assert added.words == ("sign's red disc", "sign's blue disc", "nothing")


def test_chosen_classes_and_classes_without_any_part_are_refused(part_images, tmp_path):
    for name in ("num_sampled_classes", "num_kept_classes"):
        with pytest.raises(UsageError, match="at 0"):
            PartObjective(part_network(PART_CAT_SEG), RECIPE.with_settings(**{name: 2}))
    plain = LabeledImages.from_folders(tmp_path / "set/images", tmp_path / "set/labels", tmp_path / "set/classes.json")
    with pytest.raises(UsageError, match="none of the classes is a part of an object"):
        open_parts(plain, tmp_path / "run", PART_CAT_SEG).run()


@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=pytest.mark.slow if place else ()) for place, family in enumerate(ALL)]
)
def test_what_is_published_as_fine_tuned_learns_and_nothing_else_of_an_encoder(family: str, tmp_path: Path) -> None:
    network, before = small_network_on(family), small_network_on(family).state_dict()
    images, changes = drawn_images(tmp_path / "data", 3), {"steps": 2, "batch_size": 2, "fod_weight": 0.0}
    changes |= {"crop_size": 64, "short_sides": (64,), "trainable": "published", "trainable_encoders": "both"}
    open_run(images, tmp_path / "run", network=network, **changes).run()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    tuned = {f"image_encoder.{name}" for name in network.image_encoder.fine_tuned_parameters()}
    assert {name for name in changed if name.startswith("image_encoder.")} == tuned
