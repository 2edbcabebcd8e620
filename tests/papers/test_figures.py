"""Figures of finished reports and runs: radar plots, streams, and sweeps of a setting."""

import json
import math

import pytest

from papers.radar import Radar
from papers.streams import StreamCurves, write_curves
from papers.sweep import Axis, score
from segvoc.errors import UsageError
from segvoc.evaluation.report import ModelOrigin
from segvoc.evaluation.task import EvaluationSettings
from segvoc.imaging.reading import read_image
from tests.evaluation.drawn_sets import draw_set, task_of
from tests.inference.small_network import small_segmenter


def model(name, digest="a", **options):
    return {"name": name, "preset": name, "weights": "", "weights_digest": digest, "options": options}


def benchmark(name, miou):
    return {"name": name, "title": name.upper(), "miou": miou, "parts": None}


def part_benchmark(name, **harmonic):
    parts = {key.replace("_", "-"): {"part-cat-seg": {"harmonic": score}} for key, score in harmonic.items()}
    return {"name": name, "title": name.upper(), "miou": 1.0, "parts": parts}


def evaluation(folder, network, *benchmarks):
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


def run_folder(folder, values, **recipe):
    """A run whose blocks have noted so much at each step."""
    folder.mkdir()
    lines = [
        {"step": step, "loss": 1.0}
        | {f"fod_{block}": value for block, value in enumerate(row, 1)}
        | {f"cosine_{block}": value and -value for block, value in enumerate(row, 1)}
        for step, row in enumerate(values, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.json").write_text(json.dumps({"recipe": {"model": "small", **recipe}}))
    return folder


def test_runs_are_read_drawn_and_told(tmp_path):
    rising = run_folder(tmp_path / "serial", [[0.1 * step] * 2 for step in range(10)], network={"order": "serial"})
    # ten blocks stand in the order of their numbers, and a step that was not finite is passed over
    values = [block / 10 for block in range(10)]
    blocks = run_folder(tmp_path / "parallel", [[None] * 10, values], objective={"fod_weight": 0.01})
    runs = [StreamCurves.of_run(folder) for folder in (rising, blocks)]
    write_curves(tmp_path / "out", runs)
    first, second = json.loads((tmp_path / "out/streams.json").read_text())["runs"]
    assert (first["name"], first["recipe"]["network"]) == ("serial", {"order": "serial"})
    assert second["recipe"]["objective"] == {"fod_weight": 0.01}
    assert (first["first_tenth"], first["last_tenth"], first["least"]) == pytest.approx((0, 0.9, 0))
    assert (second["first_tenth"], second["last_tenth"]) == (None, pytest.approx(0.45))
    assert second["blocks_last_tenth"] == pytest.approx(values)
    assert second["cosine"]["blocks_last_tenth"] == pytest.approx([-value for value in values])
    assert (first["cosine"]["first_tenth"], first["cosine"]["least"]) == pytest.approx((0, -0.9))
    assert min(read_image(tmp_path / "out/streams.png").shape[:2]) > 300


def test_each_value_is_evaluated_and_the_table_made(tmp_path):
    asked = []

    def load(options):
        asked.append(dict(options))
        network = small_segmenter(**{name: int(value) for name, value in options.items()})
        return network, ModelOrigin(preset="small", options=options)

    axes = [Axis.parse(text) for text in ("keep_classes=1,3,all", "window=single", "blocks=0")]
    rows = score(load, task_of(draw_set(tmp_path / "set", 2)), axes, tmp_path / "out", EvaluationSettings())
    found = {(row["setting"], row["value"]): row["miou"] for row in rows}
    kept = [("keep_classes", "1"), ("keep_classes", "3"), ("keep_classes", "all")]
    assert list(found) == [("unchanged", ""), *kept, ("window", "single"), ("blocks", "0")]
    assert asked == [*[{}] * 5, {"blocks": "0"}]
    assert found["keep_classes", "all"] == found["unchanged", ""]  # the small network keeps all by itself
    assert found["keep_classes", "1"] != found["unchanged", ""] != found["blocks", "0"]
    report = json.loads((tmp_path / "out/keep_classes=1/report.json").read_text())
    assert report["miou"] == found["keep_classes", "1"]
    classes = {row["value"]: (row["true"], row["found"]) for row in rows if row["setting"] == "keep_classes"}
    # ERR-Seg, Table 9: as many true classes, of which one that is kept can find at most one
    assert classes["all"][0] == classes["1"][0] > 1 >= classes["1"][1]
    assert classes["1"] == (report["classes_per_image"]["true"], report["classes_per_image"]["found"])
    assert json.loads((tmp_path / "out/sweep.json").read_text())["rows"] == rows
    table = (tmp_path / "out/sweep.md").read_text().splitlines()
    assert table[3].startswith(f"| keep_classes | 1 | {found['keep_classes', '1']:.2f} |")
    assert min(read_image(tmp_path / "out/sweep.png").shape[:2]) > 200
