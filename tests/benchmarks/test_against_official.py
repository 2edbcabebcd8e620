"""Benchmarks against the official code, and the runs of the papers on a GPU, in small."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import against_official, gpu_runs, machine
from benchmarks.against_official import WORDS, measured, peak_memory
from benchmarks.compared_calls import Inputs, Kind, Setting, clear_words, difference, equal_labels
from benchmarks.gpu_runs import RUNS, Place, Progress, Run, run_piece, work
from benchmarks.official_code import CLIP_FILE, ERR_FILE, USED, find_model, official_code, official_file
from segvoc.errors import SegvocError, UsageError
from segvoc.layers.aggregation import cost_volume
from segvoc.layers.class_selection import count_votes
from segvoc.layers.selection_rules import DROPPED, PUBLISHED_VOTES
from segvoc.models.presets import PRESETS
from tests.benchmarks.official_stand_in import make_checkout
from tests.data.scene_originals import write_originals
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
    setting = Setting("err-seg-b", 60, "aggregation")
    maps = Inputs(setting).maps
    votes = count_votes(cost_volume(maps[0], clear_words(maps[0], setting)[None]), PUBLISHED_VOTES)[0]
    assert setting.kept == 16
    assert votes[:16].min() > 10 * votes[16:].max()
    assert [tuple(one.shape) for one in maps] == [(1, 640, 40, 40), (1, 640, 20, 20)]


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


SMALL = (
    "steps=12 batch_size=2 crop_size=96 short_sides=96 num_sampled_classes=8 num_workers=0 eval_every=0 save_every=1000"
)
ENDED = "import sys; print('segvoc: error: {}', file=sys.stderr); sys.exit({})"


def never() -> bool:
    return False


def ending(said: str, code: int) -> tuple[str, ...]:
    """A program that says something and ends."""
    return "-c", ENDED.format(said, code)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "data").mkdir()
    return Place(data=tmp_path / "data", files=tmp_path / "files", out=tmp_path / "out", device="cpu")


# starts two processes that train a small network: nothing less shows that a piece goes on with the last one's step
@pytest.mark.slow
def test_a_piece_that_is_cut_off_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(gpu_runs.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{root}:{root / 'src'}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_originals(["coco-stuff-train", "coco-stuff", "pas-20"], place.data)
    words = "cat-seg-b --train --benchmark pas-20 --weights random --jobs 1"
    run = Run("small", " --set ".join((words, *SMALL.split())), "")
    small = Place(**{**vars(place), "program": ("-m", "papers.rehearsal.networks")})
    metrics = place.out / "small/seed-0/run/metrics.jsonl"
    first = run_piece(run, small, lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 2, Progress())
    steps = metrics.read_bytes().count(b"\n")
    assert (first.state, first.pieces) == ("unfinished", 1) and 2 <= steps < 12
    second = run_piece(run, small, never, first)
    assert (second.state, second.pieces) == ("finished", 2) and second.seconds > first.seconds > 0
    assert "0 of 1 benchmark within 0.1 mIoU" in second.told[0]
    found = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert found == list(range(1, 13))
    sessions = json.loads((metrics.parent / "config.json").read_text())["sessions"]
    assert len(sessions) == 2


def test_what_a_run_lacks_is_a_line_and_the_others_go_on(place, monkeypatch, capsys):
    lacking = Place(**{**vars(place), "program": ending("the training needs coco-stuff-train: put it there", 2)})
    by_name = work(RUNS, lacking, minutes=5)
    assert [progress.state for progress in by_name.values()] == ["missing"] * len(RUNS)
    assert by_name["cat-seg-b"].told == ["the training needs coco-stuff-train: put it there"]
    (line,) = by_name["err-seg"].told
    assert "err-seg-b.pth' is missing" in line and "https://huggingface.co/lchen1019/ERR-Seg" in line
    kept = json.loads((place.out / "progress.json").read_text())
    assert kept["cat-seg-b"]["pieces"] == 1 and kept["err-seg"]["pieces"] == 0
    failing = Place(**{**vars(place), "program": ending("the disk is full", 1)})
    assert work(RUNS[:1], failing, minutes=5)["cat-seg-b"].state == "failed"
    # the time is over before anything begins
    assert work(RUNS[2:3], failing, minutes=0)["cat-seg-b-trained"].state == "missing"
