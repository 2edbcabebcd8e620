"""Radar plots: whose scores share a line, how axes are scaled, and which reports are read."""

import json
import math

import pytest

from papers.radar import Radar
from segvoc.errors import InputError, UsageError


def model(name, digest="a", **options):
    return {"name": name, "preset": name, "weights": "", "weights_digest": digest, "options": options}


def benchmark(name, miou):
    return {"name": name, "title": name.upper(), "miou": miou, "parts": None}


def part_benchmark(name, **harmonic):
    parts = {key.replace("_", "-"): {"part-cat-seg": {"harmonic": score}} for key, score in harmonic.items()}
    return {"name": name, "title": name.upper(), "miou": 1.0, "parts": parts}


def evaluation(folder, network, *benchmarks):
    """A report of `segvoc evaluate`, of one benchmark or of several."""
    content = {"model": network, "benchmarks": list(benchmarks)}
    if len(benchmarks) == 1:
        (only,) = benchmarks
        content = {"model": network, "data": {name: only[name] for name in ("name", "title")}}
        content |= {name: only[name] for name in ("miou", "parts")}
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def reports(tmp_path):
    first, second = model("pca-seg-b"), model("pca-seg-b", fusion="average")
    return [
        evaluation(tmp_path / "first", first, benchmark("a-150", 40.0), benchmark("pc-59", 60.0), benchmark("x", None)),
        evaluation(tmp_path / "more", first, benchmark("pas-20", 90.0)),
        evaluation(tmp_path / "second", second, benchmark("a-150", 30.0), benchmark("pas-20", 95.0)),
    ]


def test_reports_share_a_line_and_axes_span_the_scores(reports):
    radar = Radar.of({"ours": reports[:2], "average": reports[2:]})
    assert list(radar.titles) == ["a-150", "pc-59", "pas-20"]
    first, second = radar.lines
    assert (first.name, first.scores) == ("ours", {"a-150": 40.0, "pc-59": 60.0, "pas-20": 90.0})
    assert (second.name, second.axes["pas-20"].source) == ("average", str(reports[2]))
    assert radar.limits("a-150") == pytest.approx((24, 40))
    assert [radar.radius(line, "a-150") for line in radar.lines] == pytest.approx([1, 6 / 16])
    assert math.isnan(radar.radius(second, "pc-59"))


def test_the_papers_scores_are_lines_too(reports):
    radar = Radar.of({"ours": reports[:2], "paper": ["pca-seg-b"], "serial": ["PCA-Seg, Table 3, serial"]})
    assert [line.published for line in radar.lines] == [False, True, True]
    assert radar.lines[1].scores["a-150"] == 38.1
    assert list(radar.titles) == ["a-847", "pc-459", "a-150", "pc-59", "pas-20", "pas-20b"]
    with pytest.raises(UsageError, match="has no mIoU"):
        Radar.of({"ours": reports[:1], "other": ["ERR-Seg, Table 5, CAT-Seg"]})


def test_a_method_may_have_several_networks(tmp_path):
    semantic = evaluation(tmp_path / "semantic", model("small"), benchmark("own", 0.0))
    parts = evaluation(tmp_path / "parts", model("smaller"), part_benchmark("toys", pred_all=0.0, oracle_obj=2.0))
    radar = Radar.of({"ours": [str(semantic), str(parts)], "the paper": ["pca-seg-b", "pca-part-b"]})
    ours, paper = radar.lines
    assert ours.scores == {"own": 0.0, "toys pred-all": 0.0, "toys oracle-obj": 2.0}
    assert not ours.published and paper.published
    assert radar.titles["toys oracle-obj"] == "TOYS\nOracle-Obj"
    assert (len(paper.scores), paper.scores["pascal-part-116 oracle-obj"]) == (10, 52.9)
    # an axis on which all scores are 0
    assert radar.radius(ours, "own") == 0
    with pytest.raises(UsageError, match=r"'.*semantic' and '.*semantic' both have OWN of ours; give one of them"):
        Radar.of({"ours": [str(semantic), str(semantic)]})


def test_a_reproduction_is_a_report_too(tmp_path):
    rows = [benchmark(name, 50.0) for name in ("a-150", "pc-59", "pas-20")]
    waiting = {"name": "a-847", "title": "A-847", "verdict": "waiting"}
    content = {"models": [{"name": "cat-seg-b", "weights": {"sha256": "1"}, "benchmarks": [*rows, waiting]}]}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content))
    (line,) = Radar.of({"ours": [path]}).lines
    assert len(line.scores) == 3


def test_what_can_not_be_drawn_is_refused(tmp_path, reports):
    with pytest.raises(UsageError, match=r"3 benchmarks or more; these are only PAS-20; add"):
        Radar.of({"ours": reports[1:2]})
    (tmp_path / "report.json").write_text('{"model": {}}')
    with pytest.raises(InputError, match="is not a report of segvoc evaluate or segvoc reproduce"):
        Radar.of({"ours": [tmp_path]})
    with pytest.raises(UsageError, match="no published row is called 'nowhere'"):
        Radar.of({"ours": ["nowhere"]})
