"""The trackers' own libraries, without a network: what they have of a run that was stopped and resumed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.errors import UsageError
from segvoc.training.callbacks import Callback, Followers, RunEvaluation, RunStart
from segvoc.training.trackers import TRACKERS, default_callbacks, named_tracker

CONFIG = {"recipe": {"optimizer": {"lr": 0.1}, "data": {"short_sides": [40, 48]}}, "start": {"weights": None}}


def tracked(folder: Path, follow: Callable[[], Callback]) -> None:
    """Two sessions of a run: stopped after step 2, resumed from step 1, finished after step 3."""
    Image.fromarray(np.full((8, 12, 3), 90, np.uint8)).save(folder / "0.png")
    kept: dict[str, str] = {}
    for done, steps, status in ((0, (1, 2), "stopped"), (1, (2, 3), "finished")):
        warnings = list[str]()
        followers = Followers([follow()], warnings.append)
        before = dict(kept)
        start = RunStart(folder=folder, config=CONFIG, steps=3, done=done, kept=before, keep=kept.__setitem__)
        try:
            with followers.session(start, folder / "model.safetensors"):
                for step in steps:
                    followers.step({"step": step, "loss": 1 / step, "problem": "none", "learning_rates": [0.1]})
                    scores, iou, images = {"mean_iou": step / 10}, {"café (au lait)": 0.5}, {"a/0": folder / "0.png"}
                    followers.evaluation(RunEvaluation(step=step, scores=scores, iou=iou, images=images))
                if status == "stopped":
                    raise SystemExit(143)
        except SystemExit:
            assert status == "stopped"
        assert warnings == []
        assert not before or before == kept


def test_wandb_has_one_run_with_all_numbers_and_images(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(name, value)
    rows, ends, begun = [], [], []
    log, finish = wandb.Run.log, wandb.Run.finish
    monkeypatch.setattr(wandb.Run, "log", lambda run, data: rows.append(dict(data)) or log(run, data))
    monkeypatch.setattr(
        wandb.Run,
        "finish",
        lambda run, exit_code: (
            begun.append((run.id, run.project, run.name, dict(run.config))),
            ends.append(exit_code),
            finish(run, exit_code=exit_code),
        ),
    )
    tracked(tmp_path, lambda: named_tracker("wandb", "discs"))
    wandb.teardown()
    losses = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    assert losses == [(1, 1), (2, 0.5), (2, 0.5), (3, pytest.approx(1 / 3))]
    scored = [row for row in rows if "validation/mean_iou" in row]
    assert [row["validation/iou/café (au lait)"] for row in scored] == [0.5] * 4
    assert all(isinstance(row["images/a/0"], wandb.Image) for row in scored)
    assert ends == [130, 0] and begun[0] == begun[1]  # two sessions of one run
    _, project, name, config = begun[0]
    assert (project, name) == ("discs", tmp_path.name) and config.items() >= CONFIG.items()


def test_who_is_not_logged_in_at_wandb_is_told_so_and_not_asked(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "login", lambda *, prompt: prompt)
    warnings = list[str]()
    with Followers([named_tracker("wandb")], warnings.append).session(
        RunStart(folder=tmp_path, config=CONFIG, steps=1, done=0), tmp_path
    ):
        pass
    assert warnings == [
        "Wandb is disabled (not logged in to W&B: run `wandb login`, or set WANDB_MODE=offline); training continues"
    ]


def test_what_a_missing_tracker_needs_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert default_callbacks() == []
    for name in TRACKERS:
        command = r'pip install "segvoc\[train\]"' if name == "tensorboard" else f"pip install {name}"
        with pytest.raises(UsageError, match=command):
            named_tracker(name)
