"""The long runs on a GPU, in small on a CPU: a piece that is cut off, the one that goes on, and what is missing."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu_runs
from benchmarks.gpu_runs import RUNS, Place, Progress, Run, run_piece, work
from tests.data.scene_originals import write_originals

SMALL = "batch_size=2 crop_size=96 short_sides=96 num_sampled_classes=8 num_workers=0 eval_every=0 save_every=1000"
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
    words = ("reproduce", "cat-seg-b", "--train", "--benchmark", "pas-20", "--steps", "12", "--start-weights", "random")
    settings = tuple(part for setting in SMALL.split() for part in ("--set", setting))
    run = Run(name="small", words=(*words, *settings, "--jobs", "1"), purpose="")
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
    assert by_name["cat-seg-b"].told == ("the training needs coco-stuff-train: put it there",)
    (line,) = by_name["err-seg"].told
    assert "err-seg-b.pth' is missing" in line and "https://huggingface.co/lchen1019/ERR-Seg" in line
    kept = json.loads((place.out / "progress.json").read_text())
    assert kept["cat-seg-b"]["pieces"] == 1 and kept["err-seg"]["pieces"] == 0
    failing = Place(**{**vars(place), "program": ending("the disk is full", 1)})
    assert work(RUNS[:1], failing, minutes=5)["cat-seg-b"].state == "failed"
    # the time is over before anything begins
    assert work(RUNS[2:3], failing, minutes=0)["cat-seg-b-trained"].state == "missing"
