"""What follows a training is told of everything and can't end it: callbacks, trackers, validation, curves."""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.checkpoints.files import read_weights
from segvoc.errors import UsageError
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.task import EvaluationTask
from segvoc.models.opening import load_network
from segvoc.training.callbacks import Callback, CallbackList, RunEnd, RunStart
from segvoc.training.monitor import draw_curves
from segvoc.training.recipes import finetune
from segvoc.training.run import train
from segvoc.training.start import Start
from segvoc.training.trackers import TRACKERS, TensorBoard, Wandb
from tests.inference.small_network import small_network
from tests.training.runs import RECIPE, drawn_images


class Recorder(Callback):
    """Notes what it is told; `stop_after` ends the run as a signal does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after, self.starts, self.steps, self.evaluations = stop_after, [], [], []
        self.ends = list[RunEnd]()
        self.on_evaluation, self.on_end = self.evaluations.append, self.ends.append

    def on_start(self, run: RunStart) -> None:
        self.starts.append(run)
        run.keep("recorder", f"after {run.done}")

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        self.steps.append(metrics)
        if metrics["step"] == self.stop_after:
            raise SystemExit(143)


class OnAFullDisk(Callback):
    def on_step(self, metrics: Mapping[str, Any]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def scalars(run: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    curves = {name: {one.step: one.value for one in board.Scalars(name)} for name in board.Tags()["scalars"]}
    assert board.Tags()["images"] == ["images/0", "images/1", "images/2"]
    return curves


def test_callbacks_follow_a_run_that_was_stopped_and_resumed(tmp_path, small_preset, undrawn, capsys):
    images, run = drawn_images(tmp_path / "set", 3), tmp_path / "run"
    call: Any = {"device": "cpu", "start": Start(weights="random"), "progress": False, "validation": images}
    recipe, first, second = RECIPE.with_settings(steps=4), Recorder(stop_after=3), Recorder()
    with pytest.raises(SystemExit):
        train(recipe, images, run, callbacks=[OnAFullDisk(), TensorBoard(), first], **call)
    trained = train(recipe, images, run, callbacks=[OnAFullDisk(), TensorBoard(), second], resume=True, **call)

    warning = "segvoc: warning: OnAFullDisk is disabled ([Errno 28] No space left on device)"
    assert capsys.readouterr().err.count(warning) == 2
    starts = [(start.done, start.steps, dict(start.kept)) for start in (*first.starts, *second.starts)]
    assert starts == [(0, 4, {}), (2, 4, {"recorder": "after 0"})]
    assert first.starts[0].config["recipe"]["optimizer"]["lr"] == recipe.optimizer.lr
    assert [line["step"] for line in first.steps] == [1, 2, 3] and [line["step"] for line in second.steps] == [3, 4]
    assert second.steps[-1].items() >= trained.metrics.items() and second.steps[-1]["gigabytes"] > 0
    assert not first.evaluations
    (evaluation,) = second.evaluations
    assert trained.validation is not None
    assert evaluation.step == 4 and evaluation.scores["mean_iou"] == trained.validation["mean_iou"]
    assert set(evaluation.iou) <= {"ground", "red disc", "blue disc"} and "ground" in evaluation.iou
    assert list(evaluation.images) == ["0", "1", "2"] and all(path.exists() for path in evaluation.images.values())
    assert first.ends == [RunEnd(status="stopped", step=3, weights=None)]
    assert second.ends == [RunEnd(status="finished", step=4, weights=trained.weights)]

    curves = scalars(run)
    losses = {line["step"]: line["loss"] for line in (*first.steps[:2], *second.steps)}
    assert curves["train/loss"] == pytest.approx(losses, rel=1e-6)
    assert curves["validation/mean_iou"] == pytest.approx({4: evaluation.scores["mean_iou"]}, rel=1e-6)
    assert "train/learning_rate" in curves and "validation/iou/ground" in curves


def test_a_training_that_fails_says_so_and_a_tracker_that_cant_start_is_left_out(tmp_path, monkeypatch, capsys):
    for name in ("torch.utils.tensorboard.SummaryWriter", "segvoc.training.run._write_model"):
        monkeypatch.setattr(name, Mock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO), "tensorboard")))
    images, recorder = drawn_images(tmp_path / "set", 3), Recorder()
    call: Any = {"device": "cpu", "start": Start(weights="random"), "progress": False}
    with pytest.raises(OSError, match="tensorboard"):
        train(RECIPE.with_settings(steps=1), images, tmp_path / "run", callbacks=[TensorBoard(), recorder], **call)
    assert recorder.ends == [RunEnd(status="failed", step=1, weights=None)]
    assert capsys.readouterr().err.count("TensorBoard is disabled") == 1


def test_wandb_has_one_run_with_all_numbers_and_images(tmp_path, small_preset, undrawn, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(name, value)
    rows, sessions = [], []
    log, finish = wandb.Run.log, wandb.Run.finish

    def ended(run, exit_code):
        sessions.append(((run.id, run.project, run.name, run.config["recipe"]["optimizer"]["lr"]), exit_code))
        finish(run, exit_code=exit_code)

    monkeypatch.setattr(wandb.Run, "log", lambda run, data: rows.append(dict(data)) or log(run, data))
    monkeypatch.setattr(wandb.Run, "finish", ended)
    images, recipe = drawn_images(tmp_path / "set", 3), RECIPE.with_settings(steps=4)
    call: Any = {"device": "cpu", "start": Start(weights="random"), "progress": False, "validation": images}
    recorders = Recorder(stop_after=3), Recorder()
    for recorder in recorders:
        with suppress(SystemExit):
            callbacks = [Wandb("discs"), recorder]
            train(recipe, images, tmp_path / "run", callbacks=callbacks, resume=recorder is recorders[1], **call)
    wandb.teardown()
    noted = [(line["step"], line["loss"]) for recorder in recorders for line in recorder.steps]
    assert [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row] == noted
    assert [step for step, _ in noted] == [1, 2, 3, 3, 4]
    (scored,) = (row for row in rows if "validation/mean_iou" in row)
    assert scored["validation/iou/ground"] == recorders[1].evaluations[0].iou["ground"]
    assert all(isinstance(scored[f"images/{number}"], wandb.Image) for number in range(3))
    (first, stopped), (second, finished) = sessions
    assert (stopped, finished) == (130, 0) and first == second  # two sessions of one run
    assert first[1:] == ("discs", "run", recipe.optimizer.lr)


def test_who_is_not_logged_in_at_wandb_is_told_so_and_not_asked(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "login", lambda *, prompt: prompt)
    warnings = list[str]()
    start = RunStart(folder=tmp_path, config={}, steps=1, done=0)
    with CallbackList([Wandb()], warnings.append).session(start, tmp_path):
        pass
    reason = "not logged in to W&B: run `wandb login`, or set WANDB_MODE=offline"
    assert warnings == [f"Wandb is disabled ({reason}); training continues"]


def test_what_a_missing_tracker_needs_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in TRACKERS:
        command = r'pip install ".*\[train\]"' if name == "tensorboard" else f"pip install {name}"
        with pytest.raises(UsageError, match=command):
            TRACKERS[name]()


pytestmark = pytest.mark.usefixtures("small_preset", "undrawn")


# a protocol and a class selection that depend on the configuration
ERR = ("side=128", "top=1", "crop_size=64", "short_sides=64,80", "num_workers=0", "steps=1", "batch_size=1")


@pytest.mark.parametrize("model", ["small", pytest.param("err-seg-b", marks=pytest.mark.slow)])
def test_the_last_validation_score_is_that_of_an_evaluation(tmp_path, model):
    images, run, start = drawn_images(tmp_path / "set", 3), tmp_path / "run", Start(weights="random")
    recipe = RECIPE.with_settings(steps=2) if model == "small" else finetune(model).with_settings(ERR)
    trained = train(recipe, images, run, start=start, validation=images, device="cpu", progress=False)
    assert (validation := trained.validation) is not None and validation["step"] == trained.metrics["step"]
    # copied, since weights of a file lie at other addresses in memory, where matrix products round otherwise
    model = deepcopy(load_network(trained.weights, device="cpu"))
    report = evaluate(model, EvaluationTask.of_images(images), tmp_path / "report")
    scores = report["miou"] / 100, report["pixel_accuracy"] / 100
    assert (validation["mean_iou"], validation["pixel_accuracy"]) == pytest.approx(scores, rel=1e-12)


def test_a_network_of_ones_own_is_trained_in_place_of_the_presets(tmp_path):
    images, recipe = drawn_images(tmp_path / "set", 3), RECIPE.with_settings(steps=1)
    with pytest.raises(UsageError, match="already has weights"):
        train(recipe, images, tmp_path / "no", network=small_network(), start=Start(), progress=False)
    with pytest.raises(UsageError, match="were rounded to bfloat16; train it loaded with dtype='float32'"):
        rounded = small_network().to(torch.bfloat16)
        train(recipe, images, tmp_path / "no", network=rounded, device="cpu", progress=False)
    own = small_network().requires_grad_(True)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    train(recipe, images, tmp_path / "run", network=own, validation=images, device="cpu", progress=False)
    file = read_weights(tmp_path / "run/model.safetensors")
    assert file.preset == "small" and file.record["custom"] is True
    assert file.tensors.keys() == before.keys()
    assert any(not torch.equal(value, file.tensors[name]) for name, value in before.items())


def test_without_matplotlib_a_run_has_no_curves_and_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("segvoc.training.monitor.importlib.util.find_spec", lambda name: None)
    images, run = drawn_images(tmp_path / "set", 3), tmp_path / "run"
    train(RECIPE.with_settings(steps=2), images, run, device="cpu", start=Start(weights="random"))
    assert (run / "model.safetensors").exists() and not (run / "curves.png").exists()
    assert capsys.readouterr().err.count("matplotlib is missing; pip install ") == 1


def orange(path):
    """Pixels in the color of the second line of a panel."""
    return (np.abs(np.asarray(Image.open(path).convert("RGB")).astype(int) - (255, 127, 14)).sum(-1) < 60).sum()


def test_a_single_look_at_images_can_be_seen(tmp_path):
    metrics = [{"step": step, "loss": 1 / step, "learning_rate": 1e-3, "gradient_norm": 1.0} for step in range(1, 50)]
    counts = []
    for accuracy in (None, 0.5):
        draw_curves(tmp_path / "c.png", metrics, [{"step": 49, "pixel_accuracy": 0.9, "mean_iou": accuracy}])
        counts.append(orange(tmp_path / "c.png"))
    assert counts[1] > counts[0]
    # zero or not finite: drawn in silence
    metrics = [{"step": 1, "loss": 0.0, "gradient_norm": None}, {"step": 2, "loss": None, "gradient_norm": None}]
    draw_curves(tmp_path / "c.png", metrics, [])
