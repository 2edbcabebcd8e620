"""Ablation grids on a network of a few thousand parameters."""

import json
from dataclasses import replace

import pytest

from papers import ablation_runs
from papers.ablation import GRIDS, ablation_table, table_markdown, write_table
from papers.ablation_runs import Ablation, read_results, run_grids
from segvoc.checkpoints.files import read_weights
from segvoc.errors import OutputError, TrainingError
from segvoc.evaluation.task import EvaluationSettings
from segvoc.imaging.reading import read_image
from segvoc.models.presets import PRESETS
from segvoc.models.weights import shipped_weights
from segvoc.training.recipes import RECIPES
from segvoc.training.start import Start, build
from tests.training.runs import RECIPE, drawn_images

AGGREGATION = {"aggregation": GRIDS["aggregation"]}


@pytest.fixture
def ablation(tmp_path, small_preset, undrawn):
    return Ablation(
        recipe=RECIPE.with_settings(steps=2),
        images=drawn_images(tmp_path / "set", 5),
        seeds=2,
        folds=2,
        evaluation=EvaluationSettings(limit=2),
        start=Start(weights="random"),
    )


def test_parts_are_disjoint_and_whole(ablation):
    stems = [[image.stem for image in ablation.held_out(fold).images] for fold in range(2)]
    assert sorted(stems[0] + stems[1]) == ["0", "1", "2", "3", "4"]
    for fold in range(2):
        assert {image.stem for image in ablation.training_images(fold).images} == set(stems[1 - fold])


def test_every_cell_is_a_network_that_differs_from_the_others_of_its_grid(ablation):
    """Also on tiny: names and values of all settings are read by its recipe."""
    for recipe in (ablation.recipe, RECIPES["tiny-aggregation"]()):
        for name, grid in GRIDS.items():
            recipes = [recipe.with_settings(cell.settings) for cell in grid.cells]
            assert len({ablation.key(one, 0, 0) for one in recipes}) == len(recipes), name
            for one in recipes:
                PRESETS["small"].build(one.network_config())
    same = {
        ablation.key(ablation.recipe.with_settings(GRIDS[n].cells[i].settings), 0, 0)
        for n, i in (("5a", 1), ("5c", 3), ("5e", 4))
    }
    assert len(same) == 1  # three tables hold this row, one run serves them


def test_a_grid_is_trained_scored_and_compared_and_nothing_is_done_twice(ablation, tmp_path):
    out, lines, ablation = tmp_path / "out", [], replace(ablation, seeds=1)
    results = run_grids(ablation, AGGREGATION, out, device="cpu", log=lines.append)
    assert len(lines) == 3 * 2 and read_results(out) == results
    assert all(run["unreadable"] == 0 and 0 <= run["miou"] <= 100 for run in results.values())
    kept = {entry.name for folder in (out / "runs").iterdir() for entry in folder.iterdir()}
    assert kept == {"config.json", "metrics.jsonl"}
    table = ablation_table(ablation, AGGREGATION, results)
    none, serial, parallel = table["grids"]["aggregation"]["cells"]
    assert none["miou"]["difference"] is None
    assert none["trainable"] < serial["trainable"] < parallel["trainable"]
    assert serial["squared_cosine"] is None and 0 <= parallel["squared_cosine"] <= 1
    assert run_grids(ablation, AGGREGATION, out, device="cpu", log=pytest.fail) == results
    write_table(out, table)
    assert json.loads((out / "ablation.json").read_text()) == table
    page = (out / "ablation.md").read_text()
    assert f"| parallel | 2 | {parallel['miou']['mean']:.2f} ± {parallel['miou']['se']:.2f} |" in page
    assert read_image(out / "ablation.png").shape[1] > 300


def _result(job):
    scores = {"miou": 1.0, "pixel_accuracy": 1.0, "losses": {}, "trainable": 1, "on": "cpu"}
    return {"key": job.key, "seed": job.seed, "fold": job.fold, "seconds": {"train": 1.0, "evaluate": 1.0}, **scores}


def test_a_killed_grid_goes_on_and_a_cut_line_is_mended(ablation, tmp_path, monkeypatch):
    done = []

    def killed_at_the_third(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.key)
        return _result(job)

    monkeypatch.setattr(ablation_runs, "train_and_score", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_grids(ablation, AGGREGATION, tmp_path)
    with (tmp_path / "runs.jsonl").open("ab") as file:
        file.write(b'{"key": "half')
    assert set(read_results(tmp_path)) == set(done)
    monkeypatch.setattr(ablation_runs, "train_and_score", lambda job: done.append(job.key) or _result(job))
    results = run_grids(ablation, AGGREGATION, tmp_path)
    assert len(done) == len(set(done)) == 12
    assert read_results(tmp_path) == results and set(results) == set(done)


def test_a_run_that_fails_is_told_and_the_others_go_on(ablation, tmp_path, monkeypatch):
    def failing(job):
        if job.recipe.network_config().aggregation.order == "serial":
            raise TrainingError("5 steps in a row were not finite")
        return _result(job)

    monkeypatch.setattr(ablation_runs, "train_and_score", failing)
    lines = []
    results = run_grids(ablation, AGGREGATION, tmp_path / "out", log=lines.append)
    assert len(results) == 8
    failed = [line for line in lines if "failed" in line]
    assert len(failed) == 4 and "aggregation serial, seed 0, fold 0 failed: 5 steps in a row" in failed[0]
    cells = ablation_table(ablation, AGGREGATION, results)["grids"]["aggregation"]["cells"]
    assert [len(cell["runs"]) for cell in cells] == [4, 0, 4]
    nothing = {"mean": None, "se": None}
    assert cells[1]["miou"] == {**nothing, "difference": {**nothing, "pairs": 0, "better": 0}}
    write_table(tmp_path / "out", ablation_table(ablation, AGGREGATION, results))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        run_grids(ablation, AGGREGATION, tmp_path / "file")


@pytest.mark.slow
def test_tinys_projections_are_fitted_anew_to_the_images_that_are_not_held_out(tmp_path, monkeypatch):
    sizes = {"crop_size": 32, "short_sides": (40,), "num_workers": 0, "num_sampled_classes": 2, "batch_size": 1}
    settings = {**sizes, "class_chunk_size": 0, "activation_checkpointing": False}
    recipe = RECIPES["tiny-aggregation"]().with_settings(**settings, steps=1)
    tiny = Ablation(recipe=recipe, images=drawn_images(tmp_path / "set", 4), seeds=1, align=2)
    alignments, starts, align = [], [], ablation_runs.align
    monkeypatch.setattr(ablation_runs, "align", alignments.append)
    monkeypatch.setattr(ablation_runs, "train_and_score", lambda job: starts.append(job.start) or _result(job))
    run_grids(tiny, AGGREGATION | {"5a": GRIDS["5a"]}, tmp_path / "out", device="cpu")
    assert len(alignments) == 2  # one for each part, whatever the cells
    none, serial, parallel = starts[:3]
    job = alignments[0]
    file = ablation_runs.aligned_file(job)
    assert none.weights == serial.encoder_weights == parallel.encoder_weights == str(file)
    assert none.encoder_weights is None and serial.weights is None
    assert job.recipe.optimizer.steps == 2 and job.recipe.network_config().aggregation.kind == "none"
    assert job.training_images == tiny.training_images(0) and job.start == Start()
    align(job)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    fitted, shipped = read_weights(none.weights).tensors, shipped_weights("tiny", PRESETS["tiny"]).tensors
    moved = {name for name, value in fitted.items() if not value.equal(shipped[name])}
    projections = {f"image_encoder.project_{part}.{kind}" for part in ("head", "stages") for kind in ("weight", "bias")}
    assert projections <= moved <= projections | {name for name in shipped if name.startswith("aggregation.")}
    ours, before = (tensors["image_encoder.project_head.weight"].float() for tensors in (fitted, shipped))
    assert (ours - before).std() > 0.5 * before.std()  # not those that ship, changed by two steps

    for cell in GRIDS["aggregation"].cells:
        network = build(tiny.recipe_of(cell), starts[0] if cell.name == "none" else starts[1], 0).network
        weights = network.aggregation.state_dict()
        assert all(weights[name].equal(fitted[f"aggregation.{name}"]) for name in weights if name.startswith("skip."))
        assert (cell.name == "none") == all(name.startswith(("skip.", "synthesized.")) for name in weights)


def test_the_page_marks_what_exceeds_two_standard_errors(ablation, tmp_path, monkeypatch):
    scores = {"none": (1.0, 2.0, 3.0, 4.0), "serial": (5.0, 1.0, 4.0, 3.0), "parallel": (3.0, 4.5, 5.0, 6.5)}
    cells = GRIDS["aggregation"].cells

    def scored(job):
        (name,) = [cell.name for cell in cells if ablation.recipe_of(cell) == job.recipe]
        return _result(job) | {"miou": scores[name][2 * job.seed + job.fold]}

    monkeypatch.setattr(ablation_runs, "train_and_score", scored)
    results = run_grids(ablation, AGGREGATION, tmp_path)
    page = table_markdown(ablation_table(ablation, AGGREGATION, results, "segvoc it"))
    assert "| none | 4 | 2.50 ± 0.65 |  |  |" in page
    assert "| serial | 4 | 3.25 ± 0.85 | +0.75 ± 1.18 | 2 of 4 |" in page
    assert "| parallel | 4 | 4.75 ± 0.72 | **+2.25 ± 0.14** | 4 of 4 |" in page
    assert "```\nsegvoc it\n```" in page
