"""A short cut of `make rehearsal`: one recipe, two benchmarks; and what its scenes and files are made of."""

import json
import os
from pathlib import Path

import pytest

from papers.rehearsal.trials import REHEARSED, Trial
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.training.recipes import RECIPES
from tests.data.scene_originals import WRITERS
from tests.processes import printed

ROOT = Path(__file__).parents[2]


# a process that imports PyTorch and trains a small network: from archives to the verdict
@pytest.mark.slow
def test_one_recipe_learns(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    call = ("--recipes", "cat-seg-b", "--benchmarks", "pas-20,a-150", "--steps", "30", "--jobs", "1")
    shown = printed("-m", "papers.rehearsal", *call, "--out", tmp_path / "out", env=environment)
    assert "learned" in shown and "1 recipes" in shown
    report = json.loads((tmp_path / "out/cat-seg-b/report/report.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in report["models"][0]["benchmarks"]] == ["pas-20", "a-150"]


def test_every_recipe_of_a_paper_and_every_benchmark_is_rehearsed() -> None:
    docs = {name: recipe.__doc__ or "" for name, recipe in RECIPES.items()}
    papers = {name for name, doc in docs.items() if "Row: " in doc and "Row: none" not in doc}
    assert papers <= set(REHEARSED)
    trials = [Trial.of(name, Path(), Path()) for name in REHEARSED]
    scored = {benchmark for trial in trials for benchmark in trial.benchmarks}
    learned = {trial.recipe.data.dataset for trial in trials} - {""}
    assert scored | learned | {"coco-stuff"} >= set(BENCHMARKS) == set(WRITERS)


def test_unmet_expectations_are_named(tmp_path, monkeypatch):
    trial = Trial(name="a", folder=tmp_path, start=tmp_path, benchmarks=("pas-20",))
    assert trial.shortfalls() == [f"ended with exit code None; see {tmp_path / 'log'}"]
    facts = {"finished": True, "losses": [2.0] * 20, "scores": {"pas-20": 20.0}, "chance": 10.0}
    for name in facts:
        monkeypatch.setattr(Trial, name, lambda self, name=name: facts[name])
    flat = "the loss went from 2.000 to 2.000, not below 0.95 times that"
    assert trial.shortfalls() == ["mean score 20.0 is below 3 x chance, 10.0", flat]
    facts |= {"losses": [2.0] * 10 + [1.0] * 10, "scores": {"pas-20": 60.0}}
    assert trial.shortfalls() == []
    facts["scores"] = {"pas-20": None}
    assert trial.shortfalls() == ["a benchmark has no score"]
