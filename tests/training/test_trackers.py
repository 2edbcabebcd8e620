"""The trackers' own libraries, without a network: what they have of a run that was stopped and resumed."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


def wandb_records(path: Path) -> Iterator[Any]:
    """The records in a file of W&B: LevelDB's log format, in blocks of 32 KiB, after seven bytes of its own."""
    from wandb.proto import wandb_internal_pb2

    record: Any = vars(wandb_internal_pb2)["Record"]  # made when the module is imported
    content, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := -place % 2**15) and left < 7:
            place += left
            continue
        size, kind = struct.unpack_from("<HB", content, place + 4)
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last piece
            yield record.FromString(whole)
            whole = b""


def test_wandb_has_one_run_with_all_numbers_and_images(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(name, value)
    tracked(tmp_path, lambda: named_tracker("wandb", "discs"))
    wandb.teardown()  # its process writes the end of its files after `finish`, at the latest when it ends
    files = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 2 and len({file.name for file in files}) == 1  # two sessions of one run
    records = [record for file in files for record in wandb_records(file)]
    rows = [{"/".join(one.nested_key): json.loads(one.value_json) for one in record.history.item} for record in records]
    losses = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    assert losses == [(1, 1), (2, 0.5), (2, 0.5), (3, pytest.approx(1 / 3))]
    scored = [row for row in rows if "validation/mean_iou" in row]
    assert [row["validation/iou/café (au lait)"] for row in scored] == [0.5] * 4
    assert all(row["images/a/0/_type"] == "image-file" for row in scored)
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [130, 0]
    begun = [record.run for record in records if record.HasField("run")]
    assert {(run.project, run.display_name) for run in begun} == {("discs", tmp_path.name)}
    config = {one.key: json.loads(one.value_json) for one in begun[0].config.update}
    assert config.items() >= CONFIG.items()


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
        "Wandb is disabled (not logged in to W&B: run `wandb login`, or set WANDB_MODE=offline); "
        "training continues"
    ]


def test_what_a_missing_tracker_needs_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert default_callbacks() == []
    for name in TRACKERS:
        command = r'pip install "segvoc\[train\]"' if name == "tensorboard" else f"pip install {name}"
        with pytest.raises(UsageError, match=command):
            named_tracker(name)
