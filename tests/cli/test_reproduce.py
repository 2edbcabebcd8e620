"""`segvoc reproduce`, on replicas of benchmarks, with weights of a small network from a hub on loopback."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from segvoc.checkpoints.published import PUBLISHED
from segvoc.data import published_scores
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.data.preparation import prepare as preparation
from segvoc.data.published_scores import find_rows
from segvoc.evaluation.report import report as reports
from segvoc.evaluation.runner import TaskSegmenter
from segvoc.models.presets import PRESETS
from segvoc.reproduction import reproduce as reproduction
from segvoc.reproduction import subjects
from segvoc.training import training_data
from segvoc.training.start import Start
from tests.cli.command import Command
from tests.data.original_files import pack
from tests.data.replicas import replica
from tests.loopback_hub import LoopbackHub, use_hub
from tests.small_published import use_small_published

SMALL = ("crop_size=96", "short_sides=96", "batch_size=1", "num_workers=0", "num_sampled_classes=4")
CALL = ("cat-seg-b", "--benchmark", "pas-20", "--data", "data", "--out", "report", "--jobs", "1", "--device", "cpu")
TRAIN = (*CALL, "--train", "--steps", "1", *(part for setting in SMALL for part in ("--set", setting)))
BOTH = ("cat-seg-b", "--data", "data", "--out", "report", "--jobs", "1", "--device", "cpu")
"""All benchmarks with a published score, see `scores`."""

ROWS = (*find_rows("cat-seg-b"), *find_rows("cat-seg-l"))

Scores = Callable[..., None]


@pytest.fixture(autouse=True)
def small_reproduction(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A small cat-seg-b in the table, and the downloads that its training and PAS-20 need in "data"."""
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    use_small_published(hub, monkeypatch, "cat-seg-b")
    monkeypatch.setattr(reports, "MAX_EXAMPLES", 1)
    monkeypatch.setattr(training_data, "LOOKED_AT", 1)
    small = PRESETS["cat-seg-b"]
    protocols = small.protocols_of(small.configuration)
    quick = protocols | {"official": replace(protocols["official"], loader=None, sliding=None, size=32)}
    monkeypatch.setitem(PRESETS, "cat-seg-b", replace(small, protocols_of=lambda configuration: quick))
    for name in ("coco-stuff-train", "coco-stuff", "pas-20"):
        replica(name, tmp_path / "data")
    for name in ("coco-stuff-train", "coco-stuff", "pas-20", "pas-20b"):
        # None: however many there are, so that the few images of a replica are all
        monkeypatch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], image_count=None))


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Scores:
    """Lets a paper report other scores of cat-seg-b: `scores(pas_20=94.6)`."""

    def publish(**scores: float) -> None:
        printed = {name.replace("_", "-"): {"miou": score} for name, score in scores.items()}
        changes = {"table": "Table 1", "scores": printed, "source": "https://example.org/readme"}
        rows = [replace(row, **changes) for row in ROWS]
        monkeypatch.setattr(published_scores, "PUBLISHED_ROWS", tuple(rows))

    publish(pas_20=94.6, pas_20b=77.3)
    return publish


def report(folder: str = "report") -> dict[str, Any]:
    return json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))


def rows() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in report()["models"][0]["benchmarks"]}


@pytest.mark.slow
def test_verdicts_follow_the_difference_and_a_finished_benchmark_is_not_repeated(
    segvoc_command: Command, scores: Scores, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = segvoc_command("reproduce", *BOTH)
    assert done.code == 1, done.err
    here = {name: row["miou"] for name, row in rows().items()}
    assert report()["models"][0]["machine"]["precision"] == "float32"
    assert [row["verdict"] for row in rows().values()] == ["outside", "outside"]
    assert "segvoc: cat-seg-b: PAS-20b: not within 0.1 of the published score\n" in done.err

    def again(*_: object, **__: object) -> None:
        pytest.fail("a finished benchmark was evaluated again")

    monkeypatch.setattr(TaskSegmenter, "score", again)
    repeated = segvoc_command("reproduce", *BOTH)
    assert (repeated.code, repeated.out) == (1, done.out)
    assert {name: row["images"] for name, row in rows().items()} == {"pas-20": 2, "pas-20b": 3}
    assert rows()["pas-20"]["left_out"] == 1 and len(rows()["pas-20"]["labels_sha256"]) == 64
    protocol = rows()["pas-20"]["protocol"]
    assert (protocol["window"], protocol["kept_classes"], protocol["deviations"]) == ("official", None, [])
    weights, file = report()["models"][0]["weights"], PUBLISHED["cat-seg-b"]
    assert weights["sha256"] == file.sha256 and weights["revision"] == file.record()["revision"]
    assert set(here) == {"pas-20", "pas-20b"}


@pytest.mark.slow
def test_scores_within_a_tenth_are_reproduced(segvoc_command: Command, scores: Scores) -> None:
    segvoc_command("reproduce", *BOTH)
    here = {name: row["miou"] for name, row in rows().items()}
    scores(pas_20=here["pas-20"] + 0.1, pas_20b=here["pas-20b"] - 0.09)
    done = segvoc_command("reproduce", *BOTH).ok()
    assert [row["verdict"] for row in rows().values()] == ["within", "within"]
    mean = sum(here.values()) / 2
    assert done.out.splitlines()[-3:] == [
        "published scores of cat-seg-b: CAT-Seg, Table 1 (https://example.org/readme)",
        "cat-seg-b: 2 of 2 benchmarks within 0.1 mIoU of the published score; "
        f"on average {mean:.2f} mIoU, published {mean + 0.005:.2f}",
        "-> report/index.html",
    ]
    scores(pas_20=here["pas-20"] + 0.11, pas_20b=here["pas-20b"])
    assert segvoc_command("reproduce", *BOTH).code == 1
    assert [row["verdict"] for row in rows().values()] == ["outside", "within"]
    (first, second) = csv.DictReader(Path("report/scores.csv").read_text().splitlines())
    assert (first["benchmark"], first["verdict"]) == ("PAS-20", "not within 0.1")
    assert (second["difference"], second["source"]) == ("+0.00", "https://example.org/readme")
    page = Path("report/index.html").read_text(encoding="utf-8")
    for shown in ('<a href="pas-20/index.html">', "within 0.1", "not within 0.1", "CAT-Seg, Table 1", "SHA-256"):
        assert shown in page
    assert "segvoc reproduce cat-seg-b --data data --out report" in page
    assert rows()["pas-20"]["labels_sha256"] in page
    assert Path("report/pas-20/index.html").exists()


@pytest.mark.slow
def test_what_is_there_is_said_before_any_transfer_and_the_rest_goes_on(segvoc_command, scores, hub, monkeypatch):
    scores(a_847=12.0, pas_20=94.6, pas_20b=77.3)
    pack("pas-20", Path("data"))
    asked: list[int] = []
    fetch = reproduction.fetch
    monkeypatch.setattr(reproduction, "fetch", lambda file: asked.append(len(hub.asked)) or fetch(file))
    done = segvoc_command("reproduce", *BOTH)
    assert asked == [0]
    lines = done.err.splitlines()
    assert lines[0] == "segvoc: benchmarks in 'data':"
    assert lines[1].startswith("segvoc:   a-847    missing: A-847 is incomplete in 'data': ")
    assert "download ADE20K_2021_17_01.zip from https://groups.csail.mit.edu" in lines[1]
    assert lines[2] == "segvoc:   pas-20   downloaded, will be prepared first"
    assert lines[4].startswith("segvoc: weights of cat-seg-b: model_base.pth of hamacojr/CAT-Seg-weights, ")
    assert lines[4].endswith(", license MIT, to be fetched")
    assert [row["verdict"] for row in rows().values()] == ["not run", "outside", "outside"]
    assert rows()["a-847"]["scores"][0]["published"] == 12.0 and "put it into 'data'" in rows()["a-847"]["why"]
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert '<a href="https://groups.csail.mit.edu/vision/datasets/ADE20K/request_data/">' in page
    # a missing benchmark is a failure only if it was asked for
    assert not any("A-847" in line for line in report()["models"][0]["failures"])
    segvoc_command("reproduce", *BOTH, "--benchmark", "a-847", "pas-20")
    assert any(line.startswith("A-847: not run: ") for line in report()["models"][0]["failures"])


def test_wrong_calls_are_refused_before_any_transfer(segvoc_command: Command, scores: Scores, hub: LoopbackHub) -> None:
    Path("empty").mkdir()
    Path("file").touch()
    for arguments, said in (
        ((*BOTH[1:],), "give names of models, for example cat-seg-b, or --all"),
        ((*BOTH, "--all"), "or --all"),
        (("cat-seg-x", *BOTH[1:]), "'cat-seg-x' is unknown"),
        (("pca-seg-b", *BOTH[1:]), "pca-seg-b has no published weights that segvoc can fetch"),
        (("tiny", *BOTH[1:]), "give --weights FILE, or train it with --train"),
        ((*BOTH, "--train", "--seeds", "1,2,1"), "seed 1 is given twice"),
        ((*BOTH, "--train", "--weights", "file"), "--weights and --train can't be combined"),
        ((*BOTH, "--train", "--set", "step=3"), "'step'"),
        ((*BOTH, "--train", "--captions", "file"), "cat-seg-b learns from label maps"),
        (("cat-seg-b", "cat-seg-l", "--weights", "file", *BOTH[1:]), "leave it out for 2 networks"),
        ((*BOTH, "--benchmark", "pas-21"), "'pas-21' is unknown"),
        (("cat-seg-b", "--data", "nowhere", "--out", "report"), "data folder 'nowhere' does not exist; create it"),
        (("cat-seg-b", "--data", "empty", "--out", "report"), "none of pas-20, pas-20b can be evaluated from 'empty'"),
        (("cat-seg-b", "--data", "empty", "--out", "file"), "the folder of the report 'file' is a file"),
    ):
        segvoc_command("reproduce", *arguments).refused(said)
        assert hub.asked == [] and not Path("report").exists()


# ---- missing or damaged data, and folders of other calls: one line, and nothing that was there is lost


def files(folder: str = ".") -> dict[str, bytes]:
    """All files but those of the cache."""
    found = {path.relative_to(folder).as_posix(): path for path in Path(folder).rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("home/")}


def test_missing_data_is_named_with_archive_folder_and_page(segvoc_command: Command, hub: LoopbackHub) -> None:
    voc = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/"
    Path("data/VOCdevkit").rename("elsewhere")
    for call in (CALL, TRAIN):
        segvoc_command("reproduce", *call).failed(2, "VOCtrainval_11-May-2012.tar", voc, "put it into 'data'")
    Path("elsewhere").rename("data/VOCdevkit")
    shutil.rmtree("data/coco-stuff/images/train2017")
    done = segvoc_command("reproduce", *TRAIN)
    done.failed(2, "training needs coco-stuff-train", "train2017.zip", "https://cocodataset.org/#download", "'data'")
    assert hub.transfers() == [] and not Path("report").exists()


def test_a_preparation_that_was_stopped_is_finished(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def stopped(*_: object) -> object:
            raise KeyboardInterrupt

        patch.setattr(preparation, "_sources", stopped)
        assert segvoc_command("reproduce", *CALL).code == 130
    assert Path("data/segvoc/pas-20.journal").exists() and not Path("report").exists()
    done = segvoc_command("reproduce", *CALL)
    assert done.code == 1 and "downloaded, will be prepared first" in done.err
    assert Path("report/report.json").exists() and not Path("data/segvoc/pas-20.journal").exists()


@pytest.mark.parametrize("kind", ["archive", "image", "manifest"])
def test_damaged_data_is_one_line(segvoc_command: Command, kind: str) -> None:
    if kind == "archive":
        pack("pas-20", Path("data"))
        shutil.rmtree("data/VOCdevkit")
        archive = Path("data/VOCtrainval_11-May-2012.tar")
        archive.write_bytes(archive.read_bytes()[:700])
    elif kind == "image":
        Path("data/VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg").write_bytes(b"no image")
    else:
        Path("data/segvoc").mkdir()
        Path("data/segvoc/pas-20.json").write_text("{")
    before = files()
    done = segvoc_command("reproduce", *CALL)
    assert done.code == 2 and "Traceback" not in done.err
    last = done.err.splitlines()[-1]
    named = {"archive": "VOCtrainval_11-May-2012.tar", "image": "2007_000033", "manifest": "pas-20.json"}[kind]
    assert last.startswith("segvoc: error: none of pas-20 can be evaluated") and named in last
    assert {name: content for name, content in files().items() if name in before} == before
    assert not Path("report").exists()


def test_a_folder_of_another_call_keeps_its_files(segvoc_command: Command) -> None:
    assert segvoc_command("reproduce", *CALL).code == 1
    before = files()
    evaluated = (*CALL[:5], "--out", "report/pas-20")
    segvoc_command("reproduce", *evaluated).refused("is not a report of `segvoc reproduce`", "choose another --out")
    segvoc_command("reproduce", *TRAIN).refused(
        "has results of another call (training: none, now ", "choose another --out"
    )
    Path("report/report.json").write_text("[]")
    segvoc_command("reproduce", *CALL).refused("is not a report of `segvoc reproduce`")
    Path("report/report.json").write_bytes(before["report/report.json"])
    assert files() == before


# ---- --train and --weights


@pytest.mark.slow
def test_seeds_have_a_mean(segvoc_command: Command) -> None:
    done = segvoc_command("reproduce", *TRAIN, "--seeds", "3,4")
    assert done.code == 1 and Path("report/report.json").exists(), done.err
    whole = [model["benchmarks"][0]["miou"] for model in report()["models"]]
    (mean,) = report()["means"]
    (score,) = mean["benchmarks"][0]["scores"]
    assert (mean["name"], mean["seeds"], score["runs"]) == ("cat-seg-b", [3, 4], whole)
    assert score["here"] == pytest.approx(fmean(whole))
    assert score["deviation"] == pytest.approx(stdev(whole))
    assert score["published"] == 94.6 and "steps=1" in mean["benchmarks"][0]["deviations"]
    assert "mean of 2 seeds" in done.out and "± " in Path("report/index.html").read_text(encoding="utf-8")
    assert Path("report/scores.csv").read_text(encoding="utf-8").count("cat-seg-b,mean,PAS-20") == 1


def test_weights_of_ones_own_are_scored_beside_the_published_score(segvoc_command: Command) -> None:
    done = segvoc_command("reproduce", *TRAIN)
    assert done.code == 1, done.err
    (trained,) = report()["models"]
    own = (*CALL[:-6], "--out", "own", *CALL[-4:], "--weights", "report/seed-0/run/model.safetensors")
    done = segvoc_command("reproduce", *own)
    assert done.code == 1, done.err
    (model,) = report("own")["models"]
    assert model["benchmarks"][0]["miou"] == trained["benchmarks"][0]["miou"] and len(model["weights"]["sha256"]) == 64
    assert model["benchmarks"][0]["deviations"] == ["weights of your own, model.safetensors"]
    segvoc_command("reproduce", *own[:-1], "missing.safetensors").refused("'missing.safetensors' does not exist")
    # a folder of one call isn't that of another
    other = (*CALL, "--weights", "report/seed-0/run/model.safetensors")
    segvoc_command("reproduce", *other).refused("has results of another call (", "choose another --out")
    changed = ("--set", "lr=0.5")
    segvoc_command("reproduce", *TRAIN, *changed).refused("has results of another call (training.settings: ", "lr=0.5")
    Path("report/report.json").unlink()
    segvoc_command("reproduce", *TRAIN, *changed).failed(2, "recipe.optimizer.lr", "a new --out")


def test_a_row_of_a_table_is_trained_with_its_settings() -> None:
    subject = subjects.trained_subject("PCA-Seg, Table 5a, baseline", Start(), ("fod_weight=0.1",), 7)
    assert subject.recipe is not None and subject.folder == "pca-seg-table-5a-baseline"
    assert subject.recipe.network is not None and "concatenation" in str(subject.recipe.network)
    assert (subject.benchmarks, subject.deviations) == (("a-150", "pas-20b"), ("steps=7", "fod_weight=0.1"))
    assert [score["scores"] for score in subject.published("a-150")] == [{"miou": 36.4}]
    whole = subjects.trained_subject("pca-seg-b", Start(), (), None)
    assert whole.deviations == () and whole.published("a-150")[0]["scores"] == {"miou": 38.1}
    kept = subjects.scored_subject("ERR-Seg, Table 8, P = 16", weights="file", named_benchmarks=False)
    assert kept.settings.options == {"keep_classes": 16}
