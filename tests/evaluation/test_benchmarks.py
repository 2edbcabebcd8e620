"""Every benchmark from a replica of its original downloads to its scores, with two commands each."""

import json
from dataclasses import replace

import numpy as np
import pytest

import segvoc
from segvoc.data.benchmarks import BENCHMARKS, Benchmark
from segvoc.evaluation import report_page
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmentation import Segmentation
from segvoc.models import opening
from segvoc.models.network_segmenter import NetworkSegmenter
from tests.data.replicas import Replica, replica

QUICK = ("pas-20b", "pascal-part-116")
"""A benchmark that scores fewer classes than it has, and one of parts."""


@pytest.fixture(scope="module")
def tiny() -> NetworkSegmenter:
    """The embedded model, at 128 pixels, more than the drawn images have."""
    tiny = segvoc.load_network("tiny", device="cpu")
    tiny.protocols = {window: replace(protocol, size=128) for window, protocol in tiny.protocols.items()}
    return tiny


@pytest.fixture
def results(tiny: NetworkSegmenter, monkeypatch: pytest.MonkeyPatch) -> list[Segmentation]:
    """The predictions of the network, in order; all calls use the same network."""
    predictions: list[Segmentation] = []
    start = tiny.start

    def recorded(*arguments, **options):
        finish = start(*arguments, **options)

        def answers():
            predictions.extend(found := finish())
            return found

        return answers

    monkeypatch.setattr(opening, "open_model", lambda spec, **_: tiny)
    monkeypatch.setattr(tiny, "start", recorded)
    monkeypatch.setattr(report_page, "MAX_EXAMPLES", 1)
    return predictions


def ious(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> dict[int, float]:
    """IoU in percent of the classes with a true pixel, computed class by class."""
    truth, given = (np.concatenate([maps[side].ravel() for maps in pairs]) for side in range(2))
    found = {}
    for label in set(truth.tolist()) & set(range(classes)):
        union = ((truth == label) | (given == label)) & (truth != UNLABELED)
        found[label] = 100 * ((truth == label) & (given == label)).sum() / union.sum()
    return found


def answers(benchmark: Benchmark, drawn: Replica, results: list[Segmentation]) -> dict[str, Segmentation]:
    """The network's prediction for each record, by stem."""
    photographs = {stem: stem if benchmark.parts is None else stem.rpartition("/")[0] for stem in sorted(drawn.labels)}
    by_photograph = dict(zip(dict.fromkeys(photographs.values()), results, strict=False))
    return {stem: by_photograph[photograph] for stem, photograph in photographs.items()}


@pytest.mark.parametrize(
    "name", [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in BENCHMARKS]
)
def test_two_commands_from_originals_to_scores(name, segvoc_command, results, tmp_path):
    benchmark, drawn = BENCHMARKS[name], replica(name, tmp_path / "data")
    segvoc_command("prepare", name, "--data", "data", "--jobs", "1", "--partial").ok()
    done = segvoc_command("evaluate", "tiny", "--benchmark", name, "--data", "data", "--out", "report", "--json").ok()
    report, by_stem = json.loads(done.out), answers(benchmark, drawn, results)
    last = 20 if name == "pas-20b" else UNLABELED
    pairs = [(truth, np.minimum(by_stem[stem].labels, last)) for stem, truth in drawn.labels.items()]
    expected = ious(pairs, len(benchmark.classes))
    reported = {entry["id"]: entry["iou"] for entry in report["classes"] if entry["iou"] is not None}
    assert reported == pytest.approx(expected, abs=1e-9)
    assert report["miou"] == pytest.approx(np.mean(list(expected.values())), abs=1e-9)
    assert [entry["name"] for entry in report["classes"]] == list(benchmark.scored_classes)
    assert report["data"]["source"]["left_out"] == len(drawn.left_out)
    assert report["protocol"]["background"] == benchmark.background
    if benchmark.background is not None:
        assert set(benchmark.classes) == set(results[0].words)
    if benchmark.parts is not None:
        check_parts(benchmark, drawn, by_stem, report)


def check_parts(benchmark: Benchmark, drawn: Replica, by_stem: dict[str, Segmentation], report: dict) -> None:
    """Compare Oracle-Obj with the network's predictions among the parts of each record's object."""
    object_of, pairs = np.array(benchmark.parts.object_of), []
    for stem, truth in drawn.labels.items():
        objects = sorted({drawn.objects[other] for other in drawn.labels if other.rpartition("/")[0] in stem})
        given = by_stem[stem].group_labels[objects.index(drawn.objects[stem])]
        assert set(object_of[given[truth != UNLABELED]]) <= {drawn.objects[stem]}
        pairs.append((truth, given))
    expected, seen = ious(pairs, len(benchmark.classes)), benchmark.parts.seen
    for group in ("seen", "unseen"):
        hit = [iou for label, iou in expected.items() if seen[label] == (group == "seen") and iou > 0]
        reported = report["parts"]["oracle-obj"]["part-cat-seg"][group]
        assert reported == (pytest.approx(np.mean(hit), abs=1e-9) if hit else None)
    oracle = {entry["id"]: entry["oracle_iou"] for entry in report["classes"] if entry["oracle_iou"] is not None}
    assert oracle == pytest.approx(expected, abs=1e-9)
    assert {"pred-all", "oracle-obj"} == set(report["parts"])
    assert {entry["seen"] for entry in report["classes"]} == {True, False}
