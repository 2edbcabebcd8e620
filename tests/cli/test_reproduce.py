"""`segvoc reproduce`, on replicas of benchmarks, with weights from a hub on loopback."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segvoc.checkpoints.fetching import cache_path
from segvoc.checkpoints.published import PUBLISHED, PublishedFile
from segvoc.data import published_scores
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.data.published_scores import find_rows
from segvoc.evaluation.report import examples
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import CLIP_TEMPLATE, PRESETS
from segvoc.reproduction import reproduce as reproduction
from tests.cli.command import Command
from tests.data.original_files import pack
from tests.data.replicas import replica
from tests.inference.small_network import small_segmenter
from tests.loopback_hub import LoopbackHub, use_hub

IMAGES = {"pas-20": 3, "pas-20b": 3, "voc-21": 3, "a-150": 2}
"""How many images the replicas have, with those that are left out."""

ROWS = (*find_rows("cat-seg-b"), *find_rows("cat-seg-l"))

Scores = Callable[..., None]


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


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with the downloads of PAS-20 and PAS-20b, which are complete with their few images."""
    for name, count in IMAGES.items():
        monkeypatch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], image_count=count))
    replica("pas-20", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def file(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PublishedFile:
    """The published file of cat-seg-b and cat-seg-l, with a few random bytes on the hub."""
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    file = hub.publish(PUBLISHED["cat-seg-b"])
    for name in ("cat-seg-b", "cat-seg-l"):
        monkeypatch.setitem(PRESETS, name, replace(PRESETS[name], published=file))
    return file


@pytest.fixture
def reproduce(segvoc_command: Command, file: PublishedFile, monkeypatch: pytest.MonkeyPatch, scores: Scores) -> Command:
    """`segvoc reproduce` with a small random network in place of the published one."""

    def load(name: str, *, weights: str, device: str, dtype: str, options: dict[str, object]) -> NetworkSegmenter:
        assert Path(weights) == cache_path(file)
        assert dtype == "float32" and not options  # scores are compared with published ones
        return small_segmenter(name=name, template=CLIP_TEMPLATE)

    monkeypatch.setattr(reproduction, "load_network", load)
    monkeypatch.setattr(examples, "MAX_EXAMPLES", 1)
    return lambda *arguments: segvoc_command("reproduce", *arguments, "--jobs", "1")


CALL = ("cat-seg-b", "--data", "data", "--out", "report")


def report() -> dict[str, Any]:
    return json.loads(Path("report/report.json").read_text(encoding="utf-8"))


def rows() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in report()["models"][0]["benchmarks"]}


@pytest.mark.slow
def test_verdicts_follow_the_difference_and_a_finished_benchmark_is_not_repeated(
    reproduce: Command, data: Path, scores: Scores, file: PublishedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = reproduce(*CALL)
    assert done.code == 1, done.err
    here = {name: row["miou"] for name, row in rows().items()}
    assert [row["verdict"] for row in rows().values()] == ["outside", "outside"]
    assert "segvoc: cat-seg-b: PAS-20b: not within 0.1 of the published score\n" in done.err

    def again(*_: object, **__: object) -> None:
        pytest.fail("a finished benchmark was evaluated again")

    monkeypatch.setattr(NetworkSegmenter, "segment", again)
    repeated = reproduce(*CALL)
    assert (repeated.code, repeated.out) == (1, done.out)
    assert {name: row["images"] for name, row in rows().items()} == {"pas-20": 2, "pas-20b": 3}
    assert rows()["pas-20"]["left_out"] == 1 and len(rows()["pas-20"]["labels_sha256"]) == 64
    protocol = rows()["pas-20"]["protocol"]
    assert (protocol["window"], protocol["kept_classes"], protocol["deviations"]) == ("official", None, [])
    weights = report()["models"][0]["weights"]
    assert weights["sha256"] == file.sha256 and weights["revision"] == file.record()["revision"]
    assert set(here) == {"pas-20", "pas-20b"}


@pytest.mark.slow
def test_scores_within_a_tenth_are_reproduced(reproduce: Command, data: Path, scores: Scores) -> None:
    reproduce(*CALL)
    here = {name: row["miou"] for name, row in rows().items()}
    scores(pas_20=here["pas-20"] + 0.1, pas_20b=here["pas-20b"] - 0.09)
    done = reproduce(*CALL).ok()
    assert [row["verdict"] for row in rows().values()] == ["within", "within"]
    mean = sum(here.values()) / 2
    assert done.out.splitlines()[-3:] == [
        "published scores of cat-seg-b: CAT-Seg, Table 1 (https://example.org/readme)",
        "cat-seg-b: 2 of 2 benchmarks within 0.1 mIoU of the published score; "
        f"on average {mean:.2f} mIoU, published {mean + 0.005:.2f}",
        "-> report/index.html",
    ]
    scores(pas_20=here["pas-20"] + 0.11, pas_20b=here["pas-20b"])
    assert reproduce(*CALL).code == 1
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
def test_what_is_there_is_said_before_any_transfer_and_the_rest_goes_on(reproduce, data, scores, hub, monkeypatch):
    scores(a_847=12.0, pas_20=94.6, pas_20b=77.3)
    pack("pas-20", data)
    asked: list[int] = []
    fetch = reproduction.fetch
    monkeypatch.setattr(reproduction, "fetch", lambda file: asked.append(len(hub.asked)) or fetch(file))
    done = reproduce(*CALL)
    assert asked == [0]
    lines = done.err.splitlines()
    assert lines[0] == "segvoc: benchmarks in 'data':"
    assert lines[1].startswith("segvoc:   a-847    missing: A-847 is incomplete in 'data': ")
    assert "download ADE20K_2021_17_01.zip from https://groups.csail.mit.edu" in lines[1]
    assert lines[2] == "segvoc:   pas-20   downloaded, will be prepared first"
    told = (
        "segvoc: weights of cat-seg-b: model_base.pth of hamacojr/CAT-Seg-weights, 65.5 kB, license MIT, to be fetched"
    )
    assert lines[4] == told
    assert [row["verdict"] for row in rows().values()] == ["not run", "outside", "outside"]
    assert rows()["a-847"]["scores"][0]["published"] == 12.0 and "put it into 'data'" in rows()["a-847"]["why"]
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert '<a href="https://groups.csail.mit.edu/vision/datasets/ADE20K/request_data/">' in page
    # a missing benchmark is a failure only if it was asked for
    assert not any("A-847" in line for line in report()["models"][0]["failures"])
    reproduce(*CALL, "--benchmark", "a-847", "pas-20")
    assert any(line.startswith("A-847: not run: ") for line in report()["models"][0]["failures"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*CALL[1:],), "give names of models, for example cat-seg-b, or --all"),
        ((*CALL, "--all"), "or --all"),
        (("cat-seg-x", *CALL[1:]), "'cat-seg-x' is unknown"),
        (("pca-seg-b", *CALL[1:]), "pca-seg-b has no published weights that segvoc can fetch"),
        (("tiny", *CALL[1:]), "give --weights FILE, or train it with --train"),
        ((*CALL, "--train", "--seeds", "1,2,1"), "seed 1 is given twice"),
        ((*CALL, "--train", "--weights", "file"), "--weights and --train can't be combined"),
        ((*CALL, "--train", "--set", "step=3"), "'step'"),
        ((*CALL, "--train", "--captions", "file"), "cat-seg-b learns from label maps"),
        (("cat-seg-b", "cat-seg-l", "--weights", "file", *CALL[1:]), "leave it out for 2 networks"),
        ((*CALL, "--benchmark", "pas-21"), "'pas-21' is unknown"),
        (("cat-seg-b", "--data", "nowhere", "--out", "report"), "data folder 'nowhere' does not exist; create it"),
        (("cat-seg-b", "--data", "empty", "--out", "report"), "none of pas-20, pas-20b can be evaluated from 'empty'"),
        (("cat-seg-b", "--data", "empty", "--out", "file"), "the folder of the report 'file' is a file"),
    ],
)
def test_wrong_calls_are_refused_before_any_transfer(segvoc_command, file, scores, hub, arguments, said):
    Path("empty").mkdir()
    Path("file").touch()
    segvoc_command("reproduce", *arguments).refused(said)
    assert hub.asked == [] and not Path("report").exists()
