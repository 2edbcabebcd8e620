"""`segvoc evaluate` on the command line; --network, also of `segvoc segment`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import segvoc
from segvoc.evaluation import report_page
from tests.cli.command import Command, read_json
from tests.data.replicas import replica
from tests.evaluation.drawn_sets import arguments, draw_set, scores_of
from tests.processes import free_port
from tests.training.runs import drawn_images


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return draw_set(tmp_path / "set", count=3)


@pytest.fixture
def evaluated(segvoc_command: Command, small_tiny: None, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`segvoc evaluate` with a small `tiny`."""
    monkeypatch.setattr(report_page, "MAX_EXAMPLES", 1)
    return lambda *arguments: segvoc_command("evaluate", *arguments)


def test_prints_a_table_and_writes_the_report(evaluated, drawn):
    done = evaluated("tiny", *arguments(drawn), "--out", "report").ok()
    head, row, page = done.out.splitlines()
    assert head.split()[:3] == ["data", "images", "mIoU"]
    assert row.split()[:3] == ["set", "3", f"{read_json('report/report.json')['miou']:.2f}"]
    assert page == "-> report/index.html"
    files = {path.name for path in Path("report").iterdir()}
    assert files == {"report.json", "classes.csv", "row.md", "index.html", "images", "journal"}


def test_damaged_images_are_reported_and_the_exit_code_is_1(evaluated, drawn):
    (drawn / "images/1.png").write_bytes(b"")
    done = evaluated("tiny", *arguments(drawn), "--out", "report")
    done.failed(1, "1.png' is empty")
    assert "1 image failed" in done.err
    assert "set" in done.out
    assert read_json("report/report.json")["data"]["failed"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --benchmark NAME --data ROOT"),
        (["--benchmark", "pas-20"], "--benchmark needs --data ROOT"),
        (["--benchmark", "pas-20", "--data", "d", "--images", "i"], "can't be combined"),
        (["--benchmark", "pas-20", "pas-20", "--data", "d"], "'pas-20' is given twice"),
        (["--benchmark", "pas-20", "--data", "d", "--background", "x"], "benchmarks define theirs"),
        (["--benchmark", "voc", "--data", "d"], "benchmark 'voc' is unknown"),
        (["--images", "i", "--labels", "l"], "--classes is missing; give all of --images, --labels, --classes"),
        (["--images", "i", "--labels", "l", "--classes", "c", "--data", "d"], "--data is for benchmarks"),
    ],
)
def test_wrong_calls_are_refused(evaluated, options, said):
    evaluated("tiny", *options, "--out", "report").refused(said)
    assert not Path("report").exists()


def test_a_report_among_the_images_is_refused(evaluated, drawn):
    for out in (drawn / "images", drawn / "labels/report"):
        evaluated("tiny", *arguments(drawn), "--out", out).refused("would be inside the image folder")
    evaluated("tiny", *arguments(drawn), "--out", drawn / "classes.json").refused("is a file")


@pytest.mark.slow
def test_several_benchmarks_get_a_folder_each_and_a_summary(evaluated, segvoc_command, tmp_path):
    for name in ("pas-20", "pascal-part-116"):
        replica(name, tmp_path / "data")
        assert segvoc_command("prepare", name, "--data", "data", "--jobs", "1", "--partial").code == 0
    done = evaluated("tiny", "--benchmark", "pas-20", "pascal-part-116", "--data", "data", "--out", "report").ok()
    assert "PAS-20" in done.out
    assert "Oracle-Obj" in done.out
    whole = read_json("report/report.json")
    assert [entry["name"] for entry in whole["benchmarks"]] == ["pas-20", "pascal-part-116"]
    for entry in whole["benchmarks"]:
        assert read_json(f"report/{entry['report']}")["miou"] == entry["miou"]
    assert Path("report/row.md").read_text().count("---") == 10 + 12
    again = evaluated("tiny", "--benchmark=pas-20", "pascal-part-116", "--data", "data", "--out", "report")
    assert (again.code, again.out) == (0, done.out)


@pytest.mark.slow
def test_two_processes_give_the_same_report(tmp_path):
    photographs, out = draw_set(tmp_path / "set", count=4), tmp_path / "shared"
    call = [sys.executable, "-m", "segvoc", "evaluate", "tiny", *arguments(photographs), "--device", "cpu", "--out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*call, tmp_path / "whole"], check=True, env=environment, stdout=subprocess.DEVNULL)
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen([*call, out], env=environment | group | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    texts = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert texts[1] == ""
    assert "set" in texts[0]
    counts = [len((out / f"journal/rank-{rank}.jsonl").read_bytes().splitlines()) for rank in range(2)]
    assert counts == [1 + 2, 1 + 2]
    report = read_json(out / "report.json")
    assert report["run"]["processes"] == 2
    assert scores_of(report) == scores_of(read_json(tmp_path / "whole/report.json"))


OWN_NETWORK = """
import segvoc
from torch import nn

class Sum(nn.Module):
    def forward(self, maps, text, guidance, context):
        from segvoc.layers.aggregation import cost_volume
        return cost_volume(maps[0], text).sum(dim=1), None

def build():
    model = segvoc.load("small", weights="random", device="cpu")
    model.network.aggregation = Sum()
    return model

def nothing():
    return None
"""


def test_a_network_of_ones_own_is_segmented_and_evaluated_by_command(segvoc_command, small_preset, tmp_path):
    drawn_images(tmp_path / "set", 2)
    (tmp_path / "mine.py").write_text(OWN_NETWORK)
    names: dict = {}
    exec(OWN_NETWORK, names)
    model = names["build"]()
    segvoc.save(model, tmp_path / "mine.safetensors")
    call = ["segment", "set/images/0.png", "--words", "ground, red disc", "--model", "mine.safetensors"]
    segvoc_command(*call, "--out", "no").refused("--network FILE.py:FUNCTION")
    segvoc_command(*call, "--network", "mine.py:absent", "--out", "no").refused("AttributeError")
    segvoc_command(*call, "--network", "mine.py", "--out", "no").refused("for example mine.py:build")
    segvoc_command(*call, "--network", "mine.py:nothing", "--out", "no").refused("gives a NoneType")
    segvoc_command(*call, "--network", "mine.py:build", "--out", "out").ok()
    expected = model.segment(tmp_path / "set/images/0.png", ["ground", "red disc"])
    assert (segvoc.read_label_map(tmp_path / "out/0.png") == expected.labels).all()
    folders = ["--images", "set/images", "--labels", "set/labels", "--classes", "set/classes.json"]
    evaluate = ["evaluate", "mine.safetensors", "--network", "mine.py:build", *folders, "--device", "cpu"]
    segvoc_command(*evaluate, "--out", "report").ok()
    assert 0 <= read_json("report/report.json")["miou"] <= 100
