"""Scores over the values of a setting."""

import json

import pytest

from papers.sweep import Axis, score
from segvoc.errors import UsageError
from segvoc.evaluation.result import ModelOrigin
from segvoc.evaluation.task import EvaluationSettings
from segvoc.imaging.reading import read_image
from tests.evaluation.drawn_sets import draw_set, task_of
from tests.inference.small_network import small_segmenter

AXES = [Axis.parse("keep_classes=1,3,all"), Axis.parse("window=single"), Axis.parse("blocks=0")]


def run(folder, out, axes):
    asked = []

    def load(options):
        asked.append(dict(options))
        network = small_segmenter(**{name: int(value) for name, value in options.items()})
        return network, ModelOrigin(preset="small", options=options)

    return score(load, task_of(folder), axes, out, EvaluationSettings()), asked


def test_each_value_is_evaluated_and_the_table_made(tmp_path):
    folder = draw_set(tmp_path / "set", 2)
    rows, asked = run(folder, tmp_path / "out", AXES)
    found = {(row["setting"], row["value"]): row["miou"] for row in rows}
    assert list(found) == [
        *(("unchanged", ""), ("keep_classes", "1"), ("keep_classes", "3"), ("keep_classes", "all")),
        *(("window", "single"), ("blocks", "0")),
    ]
    assert asked == [*[{}] * 5, {"blocks": "0"}]
    assert found["keep_classes", "all"] == found["unchanged", ""]  # the small network keeps all by itself
    assert found["keep_classes", "1"] != found["unchanged", ""] != found["blocks", "0"]
    report = json.loads((tmp_path / "out/keep_classes=1/report.json").read_text())
    assert report["miou"] == found["keep_classes", "1"]
    classes = {row["value"]: (row["true"], row["found"]) for row in rows if row["setting"] == "keep_classes"}
    # ERR-Seg, Table 9: as many true classes, of which one that is kept can find at most one
    assert classes["all"][0] == classes["1"][0] > 1 >= classes["1"][1]
    assert classes["1"] == (report["classes_per_image"]["true"], report["classes_per_image"]["found"])
    metadata = json.loads((tmp_path / "out/sweep.json").read_text())
    assert metadata["rows"] == rows
    table = (tmp_path / "out/sweep.md").read_text().splitlines()
    assert table[3].startswith(f"| keep_classes | 1 | {found['keep_classes', '1']:.2f} |")
    assert min(read_image(tmp_path / "out/sweep.png").shape[:2]) > 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("top", "has no values to vary"),
        ("top=,", "has no values to vary"),
        ("top=1,1", "has a duplicate value"),
        ("keep_classes=some", "keep_classes='some' is invalid"),
        ("keep_classes=0", "keep_classes=0 is invalid"),
        ("window=round", "window=round is unknown"),
    ],
)
def test_what_can_not_vary_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        Axis.parse(text)
