"""What training and evaluation take besides folders: Hugging Face datasets, and a transform of the user's own."""

import json
from pathlib import Path

import datasets
import pytest

from segvoc.data.training.augmentations import named_transform
from segvoc.errors import UsageError
from tests.data.datasets.test_huggingface import NAMES, rows
from tests.training.runs import drawn_images


def test_the_commands_take_saved_folders(segvoc_command, tmp_path: Path) -> None:
    datasets.DatasetDict(train=rows(2), validation=rows(1)).save_to_disk(tmp_path / "pets")
    call = ["evaluate", "tiny", "--dataset", "pets", "--out", "report", "--device", "cpu"]
    outcome = segvoc_command(*call, "--split", "validation")
    assert outcome.code == 2 and "classes.json or id2label.json" in outcome.err
    (tmp_path / "pets/id2label.json").write_text(json.dumps(dict(enumerate(NAMES))))
    outcome = segvoc_command(*call)
    assert outcome.code == 2 and "train, validation; choose one with --split" in outcome.err
    outcome = segvoc_command(*call, "--split", "validation").ok()
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert report["data"]["evaluated"] == 1 and [one["name"] for one in report["classes"]] == NAMES
    # the same again is done already
    assert segvoc_command(*call, "--split", "validation").code == 0
    again = json.loads((tmp_path / "report/report.json").read_text())
    assert again["run"]["resumed_images"] == 1
    for measured in ("run", "peak_memory_gb"):
        del again[measured], report[measured]
    assert again == report
    (tmp_path / "pets/validation/dataset_info.json").write_text("{")
    outcome = segvoc_command(*call, "--split", "validation")
    assert outcome.code == 2 and "can't be read by datasets" in outcome.err


def test_the_command_trains_with_a_transform_of_the_working_directory(
    segvoc_command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run records it, and goes on with no other."""
    monkeypatch.setattr("segvoc.training.monitor.draw_curves", lambda *_: None)
    drawn_images(tmp_path, 2)
    mine = "def gray(image, labels, rng):\n    return image // 2 + 64, labels\n"
    (tmp_path / "mine_for_the_test.py").write_text(mine)
    call = ["train", "finetune", "--model", "tiny", "--images", "images", "--labels", "labels", "--classes"]
    call += ["classes.json", "--out", "run", "--steps", 1, "--set", "views=1", "--set", "crop_size=64"]
    outcome = segvoc_command(*call, "--transform", "mine_for_the_test:gray").ok()
    assert json.loads((tmp_path / "run/config.json").read_text())["images"]["transform"] == "mine_for_the_test:gray"
    outcome = segvoc_command(*call, "--resume")
    assert outcome.code == 2 and "transform" in outcome.err
    problems = {"mine_for_the_test": "MODULE:FUNCTION", "mine_for_the_test:blue": "no function", "nope:f": "nope"}
    for name, problem in problems.items():
        with pytest.raises(UsageError, match=problem):
            named_transform(name)
