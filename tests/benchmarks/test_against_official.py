"""The comparison with the official code, on a checkout that only looks like one."""

import sys
from pathlib import Path

import pytest

from benchmarks import against_official, machine
from benchmarks.against_official import (
    WORDS,
    measured,
    peak_memory,
)
from benchmarks.compared_calls import Kind, Setting
from segvoc.errors import SegvocError
from tests.benchmarks.official_stand_in import make_checkout


@pytest.fixture
def steady_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Rates that need no measuring, and a folder for results."""
    rates = {"float32_gflops": 100.0, "bfloat16_gflops": 400.0}
    monkeypatch.setattr(against_official, "matrix_rates", lambda dtype: dict(rates))
    monkeypatch.setattr(machine, "matrix_rate", lambda: 100.0)
    monkeypatch.setattr(machine, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "network" else pytest.mark.slow) for kind in WORDS]
)
def test_codes_that_agree_are_measured(kind: Kind, tmp_path: Path, steady_machine: Path, small: None):
    row = measured(make_checkout(tmp_path), Setting("cat-seg-b", 3, kind), "float32", 2)
    assert float(str(row["difference"])) < 1e-5
    assert (row["model"], row["words"], row["kind"], row["repeats"]) == ("cat-seg-b", 3, kind, 2)
    assert row["equal_labels"] == (None if kind.startswith("training") else pytest.approx(1.0, abs=1e-3))
    seconds, gigamacs = float(str(row["seconds"])), float(str(row["gigamacs"]))
    assert row["share"] == pytest.approx(2 * gigamacs / seconds / 100)
    assert float(str(row["official_gigamacs"])) > 0


@pytest.mark.parametrize("kind", ["network", pytest.param("training-cached", marks=pytest.mark.slow)])
def test_codes_that_disagree_are_not_measured(kind: Kind, tmp_path: Path, steady_machine: Path, small: None):
    with pytest.raises(SegvocError, match=rf"cat-seg-b, {kind}, 3 words: our results differ from the official ones by"):
        measured(make_checkout(tmp_path, scale=1 / 0.999), Setting("cat-seg-b", 3, kind), "float32", 1)


def test_what_is_not_exact_is_checked_before_it_is_chosen(tmp_path: Path, steady_machine: Path, small: None):
    row = measured(make_checkout(tmp_path), Setting("cat-seg-b", 3, keep=2), "bfloat16", 1)
    assert float(str(row["difference"])) < 1e-5
    assert (row["keep"], row["dtype"]) == (2, "bfloat16")
    assert 0 < float(str(row["equal_labels"])) < 1
    assert row["bfloat16_gflops"] == 400.0


@pytest.mark.parametrize("side", ["official", "ours"])
def test_the_memory_of_one_code_is_that_of_its_process(side: against_official.Side, tmp_path: Path, small: None):
    assert peak_memory(make_checkout(tmp_path), Setting("cat-seg-b", 2), "float32", side) > 0.1
    assert not any(name.startswith(("cat_seg", "detectron2")) for name in sys.modules)
