"""`segvoc analyze` as people use it."""

import json
import re

import pytest

from segvoc.analysis import ablation
from segvoc.errors import TrainingError
from segvoc.models.presets import PRESETS
from segvoc.training import monitor
from segvoc.training.recipes import RECIPES
from tests.analysis.small_preset import SMALL
from tests.training.runs import RECIPE, drawn_images


@pytest.fixture
def small_ablations(monkeypatch):
    """The recipe that is taken where none is named is that of the small network."""
    monkeypatch.setitem(PRESETS, "small", SMALL)
    monkeypatch.setitem(RECIPES, "tiny-aggregation", lambda: RECIPE)
    monkeypatch.setattr(monitor, "draw_curves", lambda *_: None)  # twice a run, a second each


@pytest.fixture
def folders(tmp_path):
    drawn_images(tmp_path / "set", 4)
    return ["--images", "set/images", "--labels", "set/labels", "--classes", "set/classes.json"]


def test_the_help_lists_the_analyses_without_importing_them(segvoc_command):
    outcome = segvoc_command("analyze", "--help")
    assert outcome.code == 0 and re.search(r"ablation +Train every row", outcome.out)
    assert "analyze" in segvoc_command("--help").out
    segvoc_command("analyze", "ablations").refused("No such command 'ablations'", "segvoc analyze --help")


def test_an_ablation_writes_a_table_and_makes_it_again_without_training(
    segvoc_command, folders, tmp_path, small_ablations
):
    call = ["analyze", "ablation", "--grid", "aggregation", *folders, "--background", "ground", "--out", "out"]
    call += ["--steps", 1, "--seeds", 1, "--scored", 1, "--weights", "random", "--device", "cpu"]
    outcome = segvoc_command(*call)
    assert outcome.code == 0, outcome.err
    assert outcome.out == "out/ablation.md\n"
    assert outcome.err.count("mIoU") == 6
    written = (tmp_path / "out/ablation.json").read_text()
    cells = json.loads(written)["grids"]["aggregation"]["cells"]
    assert [(cell["name"], len(cell["runs"])) for cell in cells] == [("none", 2), ("serial", 2), ("parallel", 2)]
    command = json.loads(written)["command"]
    assert command == (
        "segvoc analyze ablation --grid aggregation --images DIR --labels DIR --classes FILE "
        "--steps 1 --seeds 1 --scored 1 --background ground --weights random --out FOLDER"
    )
    for name in ("json", "md", "png"):
        (tmp_path / f"out/ablation.{name}").unlink()
    again = segvoc_command(*call, "--only-table")
    assert again.code == 0 and again.err == ""
    assert (tmp_path / "out/ablation.json").read_text() == written
    assert (tmp_path / "out/ablation.md").exists() and (tmp_path / "out/ablation.png").exists()


def test_a_run_that_fails_is_told_and_the_table_is_of_the_others(
    segvoc_command, folders, tmp_path, small_ablations, monkeypatch
):
    def failing(job):
        if job.seed == job.fold == 0:
            raise TrainingError("not finite")
        scores = {"miou": 1.0, "pixel_accuracy": 1.0, "losses": {}, "trainable": 1, "on": "cpu"}
        seconds = {"train": 1.0, "evaluate": 1.0}
        return {"key": job.key, "seed": job.seed, "fold": job.fold, "seconds": seconds, **scores}

    monkeypatch.setattr(ablation, "train_and_score", failing)
    outcome = segvoc_command("analyze", "ablation", "--grid", "5d", *folders, "--out", "out", "--seeds", 2)
    assert outcome.code == 1
    assert "5d 0.001, seed 0, fold 0 failed: not finite" in outcome.err
    assert "segvoc: 5 runs failed" in outcome.err
    assert "| 0.001 | 3 | 1.00 ± 0.00 |" in (tmp_path / "out/ablation.md").read_text()


def test_wrong_calls_are_refused_in_one_line(segvoc_command, folders):
    def analyze(*arguments):
        return segvoc_command("analyze", "ablation", *arguments, "--out", "out")

    analyze(*folders[:4]).refused("Missing option '--classes'")
    analyze(*folders, "--recipe", "tinny").refused("recipe 'tinny' is unknown; it is one of cat-seg-b,")
    analyze(*folders, "--grid", "9").refused("grid '9' is unknown; it is one of aggregation, 5a")
    analyze(*folders, "--grid", "9", "--only-table").refused("grid '9' is unknown")
    analyze(*folders, "--folds", 5).refused("folds=5 don't work for 4 images")
    analyze(*folders, "--set", "speed=1").refused("no setting 'speed'")
    call = (*folders, "--grid", "5a", "--recipe", "err-seg-b", "--weights", "random")
    analyze(*call).refused("a recipe for err-seg-b has no setting")
