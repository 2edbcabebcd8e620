"""The report for names that hold anything."""

import csv
import io
import json
import re
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.data import benchmarks
from segvoc.data.benchmarks import BENCHMARKS
from segvoc.data.published_scores import PUBLISHED_ROWS
from segvoc.encoders.prompts import CLIP_TEMPLATE
from segvoc.evaluation import report_page
from segvoc.evaluation.report import PUBLISHED_WEIGHTS, ModelOrigin, origin_of
from segvoc.evaluation.runner import evaluate
from segvoc.evaluation.score_tables import comparison, markdown_rows, score_table, verdict
from segvoc.evaluation.task import EvaluationSettings, EvaluationTask
from tests.evaluation.drawn_sets import WORDS, draw_set, task_of
from tests.inference.small_network import small_segmenter

UNUSUAL = (
    "<script>alert(1)</script>",
    "a \"b\" & 'c' | d",
    "long " * 60 + "name",
    "+{1+1} `x` {{ 7*7 }} {% if %}",
    "ключ 猫 \N{RIGHT-TO-LEFT OVERRIDE}x\x1b[31m",
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with unusual class names and an unreadable image with an unusual name."""
    folder = draw_set(tmp_path_factory.mktemp("odd") / "set", words=UNUSUAL)
    bad = folder / "images/<b>bad & \udcff.png"
    bad.write_bytes(b"not an image")
    evaluate(small_segmenter(), task_of(folder), folder / "out")
    return folder / "out"


def strict(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not strict JSON")

    return json.loads(path.read_bytes().decode("utf-8"), parse_constant=refuse)


def test_report_json_has_the_documented_keys_and_the_table_of_classes_reads_back(out):
    report = strict(out / "report.json")
    for name in ("miou", "fwiou", "pixel_accuracy", "mean_accuracy"):
        assert 0 <= report[name] <= 100
    # names as the vocabulary has them, white space around them dropped
    assert {entry["id"]: entry["name"] for entry in report["classes"]} == dict(enumerate(map(str.strip, UNUSUAL)))
    assert "\\u043a" not in (out / "report.json").read_text(encoding="utf-8")  # letters stay readable
    assert report["classes"][4]["iou"] is None
    pixels = {entry["name"]: entry["pixels"] for entry in report["classes"]}
    for entry in report["confusions"]:
        assert entry["share_of_truth"] == pytest.approx(100 * entry["pixels"] / pixels[entry["truth"].strip()])
    assert report["protocol"]["window"] == "auto"
    assert {"segvoc", "torch", "numpy"} <= set(report["versions"])
    assert set(report["latency_seconds"]) == {"mean", "median", "p95"}
    assert report["peak_memory_gb"] > 0
    rows = list(csv.DictReader(io.StringIO((out / "classes.csv").read_text(encoding="utf-8"), newline="")))
    assert [row["name"] for row in rows] == [entry["name"] for entry in report["classes"]]
    assert [float(row["iou"]) if row["iou"] else None for row in rows] == [e["iou"] for e in report["classes"]]


def test_page_shows_names_as_text_and_fetches_nothing(out):
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<b>bad" not in page
    for name in (UNUSUAL[0], "{{ 7*7 }}", "<b>bad & "):
        assert escape(name) in page
    links = re.findall(r"""\b(?:src|href)=["']([^"']*)""", page)
    assert links
    for link in links:
        assert "//" not in link
        with Image.open(out / link) as image:
            assert image.size == (60, 40)
    assert {Path(link).name for link in links} == {path.name for path in (out / "images").iterdir()}


def test_best_and_worst_are_the_extremes(out):
    report = strict(out / "report.json")
    by_stem = {}
    for line in (out / "journal/rank-0.jsonl").read_text().splitlines()[1:]:
        entry = json.loads(line)
        counts = entry["value"]["confusion"]
        table = np.zeros((5, 6))
        table[counts["truth"], counts["prediction"]] = counts["pixels"]
        true = table.sum(1)
        iou = table.diagonal() / np.maximum(1, true + table.sum(0)[:5] - table.diagonal())
        by_stem[entry["item"]] = 100 * iou[true > 0].mean()
    order = sorted(by_stem, key=lambda stem: by_stem[stem])
    assert [entry["image"] for entry in report["worst"]] == order[:3]
    assert [entry["image"] for entry in report["best"]] == order[:2:-1]
    assert report["worst"][0]["miou"] == pytest.approx(by_stem[order[0]])


def test_tables_keep_their_columns_for_any_names():
    table = score_table([reported(title="\x1b[31mred"), reported(title="x" * 30)])
    head, first, second = table.splitlines()
    assert len(first) == len(second) == len(head)
    assert "\x1b" not in table and "12.30" in first
    report = reported(title="a | b\n<c>", model="`m`")
    head, rule, row, *rest = markdown_rows([report]).split("\n")
    assert rest == [""]
    assert head.count("|") == rule.count("|") == row.count("|") - row.count(r"\|")
    for text in (r"a \| b \<c\>", r"\`m\`", "12.30", "—"):
        assert text in row


def reported(title: str, model: str = "small") -> dict[str, Any]:
    """As much of a report as tables read."""
    scores = {"miou": 12.3, "fwiou": None, "pixel_accuracy": 50.0, "mean_accuracy": 25.0}
    return scores | {
        **{"parts": None, "objects": None},
        "model": {"name": model, "weights": "random"},
        "data": {"title": title, "evaluated": 3, "images": 3, "outside_row": None},
        "protocol": {"window": "auto", "kept_classes": None},
        **{"published": [], "verdict": "", "latency_seconds": {"median": 0.1234}},
    }


@pytest.mark.parametrize(
    ("name", "weights", "expected"),
    [
        ("cat-seg-b", None, ModelOrigin(preset="cat-seg-b", weights=PUBLISHED_WEIGHTS, published=True)),
        ("cat-seg-b", "own.pth", ModelOrigin(preset="cat-seg-b", weights="own.pth")),
        ("own.safetensors", None, ModelOrigin(preset="cat-seg-b", weights="own.safetensors")),
    ],
)
def test_only_a_presets_own_weights_are_the_published_ones(name: str, weights: str | None, expected: ModelOrigin):
    model = small_segmenter()
    model.name, model.origin = name, {"preset": "cat-seg-b"}
    assert origin_of(model, weights) == expected


def test_published_scores_are_shown_with_the_differences(tmp_path, monkeypatch):
    def publish(**scores: float) -> None:
        main = {row.preset: row for row in PUBLISHED_ROWS if row.main}
        rows = [
            replace(main[name], table="Table 1", scores={"a-150": {"miou": score}}, source="")
            for name, score in scores.items()
        ]
        monkeypatch.setattr(benchmarks, "PUBLISHED_ROWS", tuple(rows))

    publish(**{"cat-seg-b": 31.8, "cat-seg-l": 37.9})
    images = task_of(draw_set(tmp_path / "set", count=2)).images
    task = EvaluationTask(name="a", title="A", images=images, classes=WORDS, benchmark=BENCHMARKS["a-150"])
    network = small_segmenter(template=CLIP_TEMPLATE)
    origin, auto = ModelOrigin(preset="cat-seg-b", weights="mine.pth"), EvaluationSettings(options={"window": "auto"})
    report = evaluate(network, task, tmp_path / "out", auto, origin=origin)
    entry = {"table": "CAT-Seg, Table 1", "source": "", "protocol": None, "scores": {"miou": 31.8}}
    assert report["published"] == [entry]
    assert report["verdict"] == (
        "not within 0.1 of CAT-Seg, Table 1; the weights are not the published ones (mine.pth); "
        "the protocol deviates: window auto instead of official"
    )
    assert "31.80" in score_table([report])
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "Beside the papers" in page and f"{report['miou'] - 31.8:+.2f}" in page
    for shown in (page, score_table([report]), (tmp_path / "out/row.md").read_text(encoding="utf-8")):
        assert "window auto instead of official" in shown
    publish(**{"cat-seg-b": report["miou"] + 0.1})
    origin = ModelOrigin(preset="cat-seg-b", published=True)
    again = evaluate(network, task, tmp_path / "own", auto, origin=origin)
    assert again["verdict"] == "within 0.1 of CAT-Seg, Table 1; the protocol deviates: window auto instead of official"
    official = evaluate(network, task, tmp_path / "official", origin=origin)
    for counted, here, more in (({"found": 4.5}, 4.5, 0.5), (None, None, None)):
        counts = {"published": [entry | {"scores": {"found": 4.0}}], "classes_per_image": counted}
        (row,) = comparison(official | counts)
        assert (row["here"], row["difference"]) == (here, more)
    assert official["verdict"] in ("within 0.1 of CAT-Seg, Table 1", "not within 0.1 of CAT-Seg, Table 1")
    lacking = official | {"data": official["data"] | {"failed": 1, "source": {"missing": 2}}}
    assert verdict(lacking, published_weights=True).endswith("; 3 images are missing or could not be read")


def test_examples_of_an_earlier_report_are_deleted(tmp_path, monkeypatch):
    folder = draw_set(tmp_path / "set")
    evaluate(small_segmenter(), task_of(folder), tmp_path / "out")
    (tmp_path / "out/images/mine.txt").write_text("kept")
    (tmp_path / "out/report.json").unlink()  # a finished one isn't made again
    monkeypatch.setattr(report_page, "MAX_EXAMPLES", 1)
    evaluate(small_segmenter(), task_of(folder), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out/images").iterdir())
    assert len(names) == 7 and names[3] == "mine.txt"
