"""`segvoc analyze` as people use it."""

import json

import pytest

from segvoc.presets import PRESETS
from segvoc.training import watching
from segvoc.training.recipes import RECIPES
from tests.analysis.small_preset import SMALL
from tests.training.runs import RECIPE, drawn_pictures


@pytest.fixture
def small_ablations(monkeypatch):
    """The recipe that is taken where none is named is that of the small network."""
    monkeypatch.setitem(PRESETS, "small", SMALL)
    monkeypatch.setitem(RECIPES, "tiny-aggregation", lambda: RECIPE)
    monkeypatch.setattr(watching, "draw_curves", lambda *_: None)  # twice a run, a second each


@pytest.fixture
def folders(tmp_path):
    drawn_pictures(tmp_path / "set", 4)
    return ["--images", "set/images", "--labels", "set/labels", "--classes", "set/classes.json"]


def test_the_help_lists_the_analyses_without_importing_them(segvoc_command):
    outcome = segvoc_command("analyze", "--help")
    assert outcome.code == 0 and "ablation  Train every cell" in outcome.out
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
        "segvoc analyze ablation --grid aggregation --images DIR --labels DIR --classes FILE --background ground "
        "--steps 1 --seeds 1 --scored 1 --weights random --out FOLDER"
    )
    for name in ("json", "md", "png"):
        (tmp_path / f"out/ablation.{name}").unlink()
    again = segvoc_command(*call, "--only-table")
    assert again.code == 0 and again.err == ""
    assert (tmp_path / "out/ablation.json").read_text() == written
    assert (tmp_path / "out/ablation.md").exists() and (tmp_path / "out/ablation.png").exists()


def test_wrong_calls_are_refused_in_one_line(segvoc_command, folders):
    def ablation(*arguments):
        return segvoc_command("analyze", "ablation", *arguments, "--out", "out")

    ablation(*folders[:4]).refused("Missing option '--classes'")
    ablation(*folders, "--recipe", "tinny").refused("recipe 'tinny' is unknown; it is one of cat-seg-b,")
    ablation(*folders, "--grid", "9").refused("grid '9' is unknown; it is one of aggregation, 5a")
    ablation(*folders, "--folds", 5).refused("folds=5 of 4 pictures")
    ablation(*folders, "--set", "lr=1").refused("'lr' is no setting")
    ablation(*folders, "--grid", "5a", "--recipe", "err-seg-b", "--weights", "random").refused(
        "ERR-Seg has the options"
    )
