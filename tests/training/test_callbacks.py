"""Callbacks of a training, TensorBoard's among them, are told of everything, and can't end it."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from segvoc.errors import UsageError
from segvoc.training.callbacks import Callback, RunEnd, RunStart, TensorBoard, default_callbacks
from segvoc.training.run import train
from segvoc.training.start import Start
from tests.training.runs import RECIPE, drawn_images


class Recorder(Callback):
    """Notes what it is told; `stop_after` ends the run as a signal does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after, self.starts, self.steps, self.evaluations = stop_after, [], [], []
        self.ends = list[RunEnd]()
        self.on_evaluation, self.on_end = self.evaluations.append, self.ends.append

    def on_start(self, run: RunStart) -> None:
        self.starts.append(run)

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        self.steps.append(metrics)
        if metrics["step"] == self.stop_after:
            raise SystemExit(143)


class OnAFullDisk(Callback):
    """Fails at the first step."""

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
    assert [(start.done, start.steps) for start in (*first.starts, *second.starts)] == [(0, 4), (2, 4)]
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


def test_a_training_that_fails_tells_so_and_a_tracker_that_cant_start_is_left_out(
    tmp_path, small_preset, undrawn, monkeypatch, capsys
):
    for name in ("torch.utils.tensorboard.SummaryWriter", "segvoc.training.run._write_model"):
        monkeypatch.setattr(name, Mock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO), "tensorboard")))
    images, recorder = drawn_images(tmp_path / "set", 3), Recorder()
    call: Any = {"device": "cpu", "start": Start(weights="random"), "progress": False}
    with pytest.raises(OSError, match="tensorboard"):
        train(RECIPE.with_settings(steps=1), images, tmp_path / "run", callbacks=[TensorBoard(), recorder], **call)
    assert recorder.ends == [RunEnd(status="failed", step=1, weights=None)]
    assert capsys.readouterr().err.count("TensorBoard is disabled") == 1


def test_what_tensorboard_needs_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert default_callbacks() == []
    with pytest.raises(UsageError, match=r'pip install "segvoc\[train\]"'):
        TensorBoard()
