"""A short cut of `make rehearsal`: one recipe, two benchmarks."""

import json
import os
from pathlib import Path

import pytest

from papers.rehearsal.trials import Trial
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
