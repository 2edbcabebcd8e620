"""Benchmarks against the official code, in small."""

import math
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import against_official, machine
from benchmarks.against_official import WORDS, measured, peak_memory
from benchmarks.official.calls import Kind, Setting, clear_words, difference, equal_labels
from benchmarks.official.checkout import CLIP_FILE, ERR_FILE, USED, find_model, official_code, official_file
from segvoc.errors import SegvocError, UsageError
from segvoc.layers.aggregation import cost_volume
from segvoc.layers.class_selection import count_votes
from segvoc.layers.selection import DROPPED, PUBLISHED_VOTES
from segvoc.models.presets import PRESETS
from tests.benchmarks.official_stand_in import make_checkout
from tests.official_checkpoints import small_preset


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a network of few channels into the table."""
    monkeypatch.setitem(PRESETS, "cat-seg-b", small_preset("cat-seg-b"))


def test_a_checkout_is_known_by_its_files(tmp_path: Path):
    assert find_model(make_checkout(tmp_path / "cat")) == "cat-seg-b"
    assert official_file(tmp_path / "cat") == tmp_path / "cat" / CLIP_FILE
    make_checkout(tmp_path / "pca")
    (tmp_path / "pca" / CLIP_FILE).write_text("class DualFeatureMoE: ...")
    assert find_model(tmp_path / "pca") == "pca-seg-b"
    (tmp_path / "err" / ERR_FILE).parent.mkdir(parents=True)
    (tmp_path / "err" / ERR_FILE).touch()
    assert find_model(tmp_path / "err") == "err-seg-b"
    with pytest.raises(UsageError, match="give a checkout of CAT-Seg, PCA-Seg or ERR-Seg"):
        find_model(tmp_path)


def test_missing_libraries_are_replaced_while_importing_and_named_when_called(tmp_path: Path):
    before = dict(sys.modules)
    with official_code(make_checkout(tmp_path)) as find:
        code = find("cat_seg.modeling.transformer.model")
        assert "cca_zoo.models" in sys.modules
    assert not [name for name in sys.modules if name.startswith(("cca_zoo", "cat_seg", "detectron2", "xformers"))]
    assert {name: sys.modules[name] for name in before} == before
    with pytest.raises(UsageError, match=r"calls cca_zoo\.models\.CCA; install cca_zoo"):
        code.Aggregator.correlate(None)


def test_fused_attention_is_that_of_xformers():
    q, k, v = torch.randn(3, 2, 5, 4, 8)
    weights = torch.einsum("blnc,bmnc->bnlm", q, k) * 0.3
    found = USED["memory_efficient_attention"](q, k, v, p=0.0, scale=0.3, attn_bias=None)
    assert torch.allclose(found, torch.einsum("bnlm,bmnc->blnc", weights.softmax(-1), v), atol=1e-6)
    causal = weights.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
    found = USED["memory_efficient_attention"](q, k, v, p=0.0, scale=0.3, attn_bias=USED["LowerTriangularMask"]())
    assert torch.allclose(found, torch.einsum("bnlm,bmnc->blnc", causal, v), atol=1e-6)


def test_dropped_words_count_only_if_one_code_kept_them():
    official = torch.tensor([[1.0, 2.0], [DROPPED, DROPPED]])[None, :, None]
    assert difference(official, official.clone()) == 0
    changed = official.clone()
    changed[0, 0] += 0.5
    assert difference(official, changed) == 0.25
    changed[0, 1] = 0.0
    assert difference(official, changed) == math.inf
    assert equal_labels(torch.tensor([[3, 1]]), torch.tensor([[3, 2]])) == 0.5


def test_clear_words_leave_no_doubt_which_are_kept():
    kept, map_ = Setting("err-seg-b", 60).kept, torch.randn(1, 640, 40, 40) + 0.5
    votes = count_votes(cost_volume(map_, clear_words(map_, 60, kept)[None]), PUBLISHED_VOTES)[0]
    assert kept == 16
    assert votes[:16].min() > 10 * votes[16:].max()


@pytest.fixture
def steady_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Rates that need no measuring, and a folder for results."""
    rates = {"float32_gflops": 100.0, "bfloat16_gflops": 400.0}
    monkeypatch.setattr(against_official, "matrix_rates", lambda dtype, device: dict(rates))
    monkeypatch.setattr(machine, "matrix_rate", lambda device: 100.0)
    monkeypatch.setattr(machine, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "network" else pytest.mark.slow) for kind in WORDS]
)
def test_codes_that_agree_are_measured(kind: Kind, tmp_path: Path, steady_machine: Path, small: None):
    row = measured(make_checkout(tmp_path), Setting("cat-seg-b", 3, kind), "float32", 2)
    assert float(str(row["difference"])) < 1e-5
    assert (row["model"], row["words"], row["kind"], row["repeats"]) == ("cat-seg-b", 3, kind, 2)
    assert row["equal_labels"] == (None if kind == "training" else pytest.approx(1.0, abs=1e-3))
    seconds, gigamacs = float(str(row["seconds"])), float(str(row["gigamacs"]))
    assert row["share"] == pytest.approx(2 * gigamacs / seconds / 100)
    assert float(str(row["official_gigamacs"])) > 0


@pytest.mark.parametrize("kind", ["network", pytest.param("training", marks=pytest.mark.slow)])
def test_codes_that_disagree_are_not_measured(kind: Kind, tmp_path: Path, steady_machine: Path, small: None):
    with pytest.raises(SegvocError, match=rf"cat-seg-b, {kind}, 3 words: our results differ from the official ones by"):
        measured(make_checkout(tmp_path, scale=1 / 0.999), Setting("cat-seg-b", 3, kind), "float32", 1)


@pytest.mark.slow
def test_what_is_not_exact_is_checked_before_it_is_chosen(tmp_path: Path, steady_machine: Path, small: None):
    row = measured(make_checkout(tmp_path), Setting("cat-seg-b", 3, keep=2), "bfloat16", 1)
    assert float(str(row["difference"])) < 1e-5
    assert (row["keep"], row["dtype"]) == (2, "bfloat16")
    assert 0 < float(str(row["equal_labels"])) < 1
    assert row["bfloat16_gflops"] == 400.0


@pytest.mark.parametrize("side", ["official", pytest.param("ours", marks=pytest.mark.slow)])
def test_the_memory_of_one_code_is_that_of_its_process(side: against_official.Side, tmp_path: Path, small: None):
    assert peak_memory(make_checkout(tmp_path), Setting("cat-seg-b", 2), "float32", side) > 0.1
    assert not any(name.startswith(("cat_seg", "detectron2")) for name in sys.modules)
