"""`papers.reproduce`, on replicas of benchmarks, with weights of a small network from a hub on loopback."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

import segvoc
from papers import reproduce as reproduction
from papers import verdicts
from papers.tables import find_rows
from segvoc.checkpoints.published import PUBLISHED
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.errors import UsageError
from segvoc.evaluation import report_page
from segvoc.evaluation.runner import TaskSegmenter
from segvoc.models.presets import PRESETS
from segvoc.training import training_data
from tests.cli.command import Command, make_script
from tests.data.original_files import pack
from tests.data.replicas import replica
from tests.data.scene_originals import write_originals
from tests.loopback_hub import LoopbackHub, use_hub
from tests.papers.small_networks import small_preset, write_small_weights

SMALL = ("crop_size=32", "short_sides=32", "batch_size=1", "num_workers=0", "num_sampled_classes=4", "steps=1")
BOTH = ("cat-seg-b", "--data", "data", "--out", "report", "--jobs", "1", "--device", "cpu")
"""All benchmarks with a published score, see `scores`."""

CALL = (*BOTH, "--benchmark", "pas-20")
TRAIN = (*CALL, "--train", *(part for setting in SMALL for part in ("--set", setting)))

Scores = Callable[..., None]


@pytest.fixture(autouse=True)
def small_reproduction(hub: LoopbackHub, undrawn: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small cat-seg-b in the table, and the downloads that its training and PAS-20 need in "data"."""
    monkeypatch.chdir(tmp_path)
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    monkeypatch.setattr(report_page, "MAX_EXAMPLES", 1)
    monkeypatch.setattr(training_data, "LOOKED_AT", 1)
    small = small_preset(PRESETS["cat-seg-b"])
    monkeypatch.setitem(PRESETS, "cat-seg-b", small)
    weights = write_small_weights("cat-seg-b", tmp_path / "small.safetensors").read_bytes()
    for name in ("openai-clip-b", "cat-seg-b"):
        monkeypatch.setitem(PUBLISHED, name, hub.publish(PUBLISHED[name], weights))
    encoders, network = (PUBLISHED[name] for name in ("openai-clip-b", "cat-seg-b"))
    monkeypatch.setitem(PRESETS, "cat-seg-b", replace(small, encoders=(encoders,), published=network))
    for name in ("coco-stuff-train", "coco-stuff", "pas-20"):
        replica(name, tmp_path / "data")
    for name in ("coco-stuff-train", "coco-stuff", "pas-20", "pas-20b"):
        # None: however many there are, so that the few images of a replica are all
        monkeypatch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], image_count=None))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return make_script("reproduce", monkeypatch, capfd)


@pytest.fixture
def joining(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return make_script("join", monkeypatch, capfd)


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Scores:
    """Lets a paper report other scores of cat-seg-b: `scores(pas_20=94.6)`."""
    rows = find_rows("cat-seg-b")

    def publish(**scores: float) -> None:
        printed = {name.replace("_", "-"): {"miou": score} for name, score in scores.items()}
        changes = {"table": "Table 1", "scores": printed, "source": "https://example.org/readme"}
        changed = tuple(replace(row, **changes) for row in rows)
        for module in ("segvoc.data.benchmarks", "papers.reproduce"):
            monkeypatch.setattr(f"{module}.PUBLISHED_ROWS", changed)

    publish(pas_20=94.6, pas_20b=77.3)
    return publish


def report(folder: str = "report") -> dict[str, Any]:
    return json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))


def rows() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in report()["models"][0]["benchmarks"]}


def test_verdicts_follow_the_difference_and_a_finished_benchmark_is_not_repeated(call, scores, monkeypatch):
    done = call(*BOTH)
    assert done.code == 1 and Path("report/report.json").exists(), done.err
    here = {name: row["miou"] for name, row in rows().items()}
    assert [row["verdict"] for row in rows().values()] == ["outside", "outside"]
    assert "segvoc: cat-seg-b: PAS-20b: outside\n" in done.err
    assert {name: row["images"] for name, row in rows().items()} == {"pas-20": 2, "pas-20b": 3}
    assert rows()["pas-20"]["source"]["left_out"] == 1 and len(rows()["pas-20"]["source"]["sha256"]) == 64
    protocol, (model,) = rows()["pas-20"]["protocol"], report()["models"]
    assert (protocol["window"], protocol["kept_classes"], protocol["deviations"]) == ("official", None, [])
    weights, file = model["weights"], PUBLISHED["cat-seg-b"]
    assert (weights["sha256"], weights["revision"]) == (file.sha256, file.record()["revision"])
    assert "float32" in model["machine"]

    def again(*_: object, **__: object) -> None:
        pytest.fail("a finished benchmark was evaluated again")

    monkeypatch.setattr(TaskSegmenter, "score", again)
    scores(pas_20=here["pas-20"] + 0.1, pas_20b=here["pas-20b"] - 0.09)
    done = call(*BOTH).ok()
    assert [row["verdict"] for row in rows().values()] == ["within", "within"]
    mean = sum(here.values()) / 2
    assert done.out.splitlines()[-2:] == [
        "cat-seg-b: 2 of 2 benchmarks within 0.1 mIoU of the published score; "
        f"on average {mean:.2f} mIoU, published {mean + 0.005:.2f}",
        "-> report",
    ]
    scores(pas_20=here["pas-20"] + 0.11, pas_20b=here["pas-20b"])
    assert call(*BOTH).code == 1
    assert [row["verdict"] for row in rows().values()] == ["outside", "within"]
    (first, second) = csv.DictReader(Path("report/scores.csv").read_text().splitlines())
    assert (first["benchmark"], first["verdict"]) == ("PAS-20", "outside")
    assert (float(second["difference"]), second["source"]) == (0.0, "https://example.org/readme")
    page = Path("report/index.html").read_text(encoding="utf-8")
    for shown in ('<a href="pas-20/index.html">', "outside", "CAT-Seg, Table 1", "SHA-256", model["machine"]):
        assert shown in page
    assert "python -m papers.reproduce cat-seg-b --data data --out report" in page
    assert rows()["pas-20"]["source"]["sha256"] in page and Path("report/pas-20/index.html").exists()


def test_missing_data_is_named_with_archive_folder_and_page(call: Command, scores: Scores, hub: LoopbackHub) -> None:
    scores(a_847=12.0, pas_20=94.6)
    pack("pas-20", Path("data"))
    done = call(*BOTH)
    lines = done.err.splitlines()
    assert lines[0].startswith("segvoc: a-847 missing: A-847 is incomplete in 'data': ")
    assert "download ADE20K_2021_17_01.zip from https://groups.csail.mit.edu" in lines[0]
    assert lines[1] == "segvoc: pas-20 prepared: 2 images"
    assert [row["verdict"] for row in rows().values()] == ["not run", "outside"]
    assert rows()["a-847"]["scores"][0]["published"] == 12.0 and "put it into 'data'" in rows()["a-847"]["why"]
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert '<a href="https://groups.csail.mit.edu/vision/datasets/ADE20K/request_data/">' in page
    # a missing benchmark is a failure only if it was asked for
    assert "segvoc: cat-seg-b: A-847" not in done.err
    assert "segvoc: cat-seg-b: A-847: not run; " in call(*BOTH, "--benchmark", "a-847", "pas-20").err
    shutil.rmtree("report")
    shutil.rmtree("data/coco-stuff/images/train2017")
    transfers = hub.transfers()
    call(*TRAIN).failed(2, "training needs coco-stuff-train", "train2017.zip", "https://cocodataset.org/#download")
    assert hub.transfers() == transfers and not Path("report").exists()


def test_a_damaged_image_is_named_and_nothing_is_scored(call: Command) -> None:
    Path("data/VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg").write_bytes(b"no image")
    call(*CALL).failed(2, "none of pas-20 can be evaluated", "2007_000033", "--partial")
    assert not Path("report").exists()


def test_wrong_calls_are_refused_before_any_transfer(call: Command, scores: Scores, hub: LoopbackHub) -> None:
    Path("empty").mkdir()
    Path("file").touch()
    for arguments, said in (
        (("cat-seg-x", *BOTH[1:]), "'cat-seg-x' is unknown"),
        (("cat-seg-x", *BOTH[1:], "--train"), "recipe 'cat-seg-x' is unknown"),
        (("tiny", *BOTH[1:], "--train"), "train it with `segvoc train tiny`"),
        (("pca-seg-b", *BOTH[1:]), "pca-seg-b has no published weights that segvoc can fetch"),
        ((*BOTH, "--seeds", "1"), "need --train; add it"),
        ((*BOTH, "--captions", "file"), "need --train; add it"),
        ((*BOTH, "--train", "--seeds", "1,2,1"), "seeds=(1, 2, 1) are not distinct"),
        ((*BOTH, "--train", "--set", "step=3"), "'step'"),
        ((*BOTH, "--weights", "missing"), "the file of weights 'missing' does not exist"),
        ((*BOTH, "--benchmark", "pas-21"), "'pas-21' is unknown"),
        (("cat-seg-b", "--out", "report"), "--data is missing"),
        (("cat-seg-b", "--data", "nowhere", "--out", "report"), "data folder 'nowhere' does not exist; create it"),
        (("cat-seg-b", "--data", "empty", "--out", "report"), "none of pas-20, pas-20b can be evaluated from 'empty'"),
        (("cat-seg-b", "--data", "empty", "--out", "file"), "the folder of the report 'file' is a file"),
    ):
        call(*arguments).failed(2, said)
        assert hub.asked == [] and not Path("report").exists()


def test_seeds_have_a_mean_and_a_report_belongs_to_one_call(call: Command) -> None:
    done = call(*TRAIN, "--seeds", "3,4")
    assert done.code == 1 and Path("report/report.json").exists(), done.err
    whole = [model["benchmarks"][0]["miou"] for model in report()["models"]]
    (mean,) = report()["means"]
    (score,) = mean["benchmarks"][0]["scores"]
    assert (mean["name"], mean["seeds"], score["runs"]) == ("cat-seg-b", [3, 4], whole)
    assert score["here"] == pytest.approx(fmean(whole)) and score["deviation"] == pytest.approx(stdev(whole))
    assert score["published"] == 94.6 and "steps=1" in mean["benchmarks"][0]["deviations"]
    assert "mean of 2 seeds" in done.out and "± " in Path("report/index.html").read_text(encoding="utf-8")
    assert Path("report/scores.csv").read_text(encoding="utf-8").count('"cat-seg-b, mean of 2 seeds",PAS-20') == 1

    # your own weights are scored as what trained them was, and a folder of one call isn't that of another
    weights = ("--weights", "report/seed-3/run/model.safetensors")
    assert call("cat-seg-b", *BOTH[1:3], "--out", "own", *BOTH[5:], "--benchmark", "pas-20", *weights).code == 1
    (row,) = report("own")["models"][0]["benchmarks"]
    assert row["miou"] == whole[0] and row["deviations"] == ["weights of your own, model.safetensors"]
    call(*CALL, *weights).failed(2, "is the report of another call", "choose another --out")
    call(*TRAIN, "--set", "lr=0.5").failed(2, "is the report of another call")
    evaluated = ("cat-seg-b", *BOTH[1:3], "--out", "own/pas-20", *BOTH[5:], "--benchmark", "pas-20")
    call(*evaluated).failed(2, "is the report of another call")
    Path("report/report.json").unlink()
    call(*TRAIN, "--seeds", "3", "--set", "lr=0.5").failed(2, "recipe.optimizer.lr", "a new --out")


def test_reports_of_seeds_from_several_machines_are_joined(call: Command, joining: Command) -> None:
    assert call(*("one" if word == "report" else word for word in TRAIN), "--seeds", "4").code == 1
    content = report("one")
    assert content["means"] == []
    shutil.copytree("one", "two")  # as if another machine had run another seed
    (model,) = content["models"]
    (row,) = model["benchmarks"]
    model["seed"], row["miou"] = 3, row["miou"] + 2
    row["scores"][0]["here"] = row["miou"]
    Path("two/report.json").write_text(json.dumps(content), encoding="utf-8")
    done = joining("one", "two", "--out", "joined/all")
    assert done.code == 1 and "cat-seg-b: PAS-20: outside" in done.err
    joined = report("joined/all")
    assert [model["seed"] for model in joined["models"]] == joined["means"][0]["seeds"] == [3, 4]
    values = [report(name)["models"][0]["benchmarks"][0]["miou"] for name in ("two", "one")]
    (mean,) = joined["means"][0]["benchmarks"]
    (score,) = mean["scores"]
    assert (mean["miou"], score["here"], score["runs"]) == (fmean(values), fmean(values), values)
    assert score["deviation"] == pytest.approx(stdev(values)) and score["published"] == 94.6
    for seed in joined["models"]:
        assert Path("joined/all", seed["benchmarks"][0]["page"]).is_file()
    assert "mean of 2 seeds" in Path("joined/all/scores.csv").read_text(encoding="utf-8")

    joining("one", "--out", "joined").refused("name two or more")
    joining("one", "two", "--out", "two").refused("'two' is one of the reports")
    joining("one", "one", "--out", "joined").refused("seed 4 is in 'one' and 'one'")
    joining("one", "data", "--out", "joined").failed(1, "'data/report.json' is not a report of papers.reproduce")
    for change, said in (
        ({"call": content["call"] | {"deviations": ["steps=2"]}}, "differ in deviations: ['steps=1"),
        ({"models": [model | {"seed": None}]}, "has no seeds; only reports made with --train"),
    ):
        Path("two/report.json").write_text(json.dumps(content | change), encoding="utf-8")
        joining("one", "two", "--out", "joined").refused(said)
    for change, said in (
        ({"images": 7}, "differ in PAS-20, images: 2 and 7"),
        ({"protocol": row["protocol"] | {"window": "single"}}, "differ in PAS-20, window: official and single"),
        ({"verdict": "waiting"}, "'two' is unfinished (PAS-20)"),
    ):
        model["benchmarks"] = [row | change]
        Path("two/report.json").write_text(json.dumps(content), encoding="utf-8")
        joining("one", "two", "--out", "joined").refused(said)
    assert not Path("joined/report.json").exists()


def test_a_row_of_a_table_is_trained_with_its_settings() -> None:
    subject = reproduction.trained_subject("PCA-Seg, Table 5a, baseline", ("fod_weight=0.1", "steps=7"))
    assert subject.recipe is not None and "concatenation" in str(subject.recipe.network)
    assert (subject.benchmarks, subject.deviations) == (("a-150", "pas-20b"), ("steps=7", "fod_weight=0.1"))
    assert [score["scores"] for score in subject.published("a-150")] == [{"miou": 36.4}]
    whole = reproduction.trained_subject("pca-seg-b")
    assert whole.deviations == () and whole.published("a-150")[0]["scores"] == {"miou": 38.1}
    with pytest.raises(UsageError, match="trained with fod_weight=0 fusion=concatenation"):
        reproduction.scored_subject("PCA-Seg, Table 5a, baseline", weights=None)
    options, settings = reproduction.scored_subject("ERR-Seg, Table 8, P = 16", __file__).evaluation()
    assert (options, settings.options) == ({}, {"keep_classes": 16})


def test_a_mean_within_two_deviations_is_within_the_spread() -> None:
    def run(here: float) -> list[dict[str, Any]]:
        return [{"score": "mIoU", "published": 38.1, "here": here}]

    (score,) = verdicts.mean_scores([run(37.4), run(38.0)])
    assert (score["difference"], score["deviation"]) == (-0.4, pytest.approx(stdev([37.4, 38.0])))
    assert verdicts.verdict([score], incomplete=False) == "within the spread"
    assert verdicts.verdict([score], incomplete=True) == "incomplete"
    assert verdicts.verdict(verdicts.mean_scores([run(37.4), run(37.5)]), incomplete=False) == "outside"
    assert verdicts.verdict(verdicts.mean_scores([run(38.0)]), incomplete=False) == "within"
    assert verdicts.verdict(verdicts.mean_scores([run(37.9)]), incomplete=False) == "outside"


@pytest.mark.slow
def test_two_processes_prepare_train_and_score(tmp_path: Path) -> None:
    """By `torchrun`, from archives to the report."""
    shutil.rmtree("data")
    Path("data").mkdir()
    write_originals(["coco-stuff-train", "coco-stuff", "pas-20"], tmp_path / "data")
    settings = "batch_size=2 eval_every=0 crop_size=96 short_sides=96 num_workers=0 num_sampled_classes=8 steps=1"
    words = [*CALL, "--train", "--seeds", "0,1", "--weights", "random"]
    words += [f"--set={setting}" for setting in settings.split()]
    root = Path(segvoc.__file__).parents[2]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [sys.executable, *torchrun, "papers.rehearsal.networks", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(root), str(root / "src"))), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    # torchrun tells the exit code 1 of a score that isn't the published one
    assert done.returncode == 1 and "cat-seg-b: PAS-20: outside" in done.stderr, done.stderr
    assert "segvoc: error: " not in done.stderr
    models = report()["models"]
    assert [model["seed"] for model in models] == [0, 1]
    assert [model["benchmarks"][0]["processes"] for model in models] == [2, 2]
    config = json.loads(Path("report/seed-1/run/config.json").read_text(encoding="utf-8"))
    assert [session["machine"]["processes"] for session in config["sessions"]] == [2]
