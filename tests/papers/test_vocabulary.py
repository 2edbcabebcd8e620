"""Classes in an image, and tables of them and of similar labels."""

import json

import pytest

from papers.seen import read_reports, scores_of_report
from papers.vocabulary import count_classes, training_labels
from segvoc.data.labeled_images import class_names
from segvoc.errors import UsageError
from tests.evaluation.drawn_sets import draw_set, task_of


def test_images_that_can_not_be_read_are_told(tmp_path):
    folder, problems = draw_set(tmp_path / "set", 2), []
    (folder / "labels/0.png").write_bytes(b"")
    assert len(count_classes(task_of(folder), on_problem=problems.append).counts) == 1
    assert len(problems) == 1 and "0.png" in problems[0]
    (folder / "labels/1.png").write_bytes(b"")
    with pytest.raises(UsageError, match="no image of set can be read"):
        count_classes(task_of(folder))


def test_training_labels_are_those_of_a_benchmark_or_of_a_file(tmp_path):
    assert training_labels("coco-stuff") == class_names("coco")
    (tmp_path / "own.json").write_text('["cat", "dog"]')
    assert training_labels(str(tmp_path / "own.json")) == ("cat", "dog")
    with pytest.raises(UsageError, match="'coco' is unknown"):
        training_labels("coco")


def report(**changes):
    iou = {"cat": 80.0, "sofa": 20.0, "wall": None, "rocket": 40.0, "floor": 1.0}
    return {
        **dict.fromkeys(("miou", "fwiou", "pixel_accuracy", "mean_accuracy"), 50.0),
        "classes": [{"name": name, "iou": value, "accuracy": value} for name, value in iou.items()],
        "data": {"title": "drawn"},
        "protocol": {"background": "floor", "collapse_from": None},
        "parts": None,
        **changes,
    }


def test_reports_are_read_alone_and_of_several_benchmarks(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/report.json").write_text(json.dumps(report()))
    (tmp_path / "report.json").write_text(json.dumps({"benchmarks": [{"report": "a/report.json"}]}))
    assert read_reports(tmp_path) == read_reports(tmp_path / "a") == [report()]


def test_a_reports_seen_classes_are_scored_apart_and_its_background_is_neither():
    scores = scores_of_report(report(), frozenset(("cat", "wall")))
    assert (scores.seen, scores.unseen, scores.seen_count, scores.unseen_count) == (80, 30, 1, 2)
    collapsed = report(protocol={"background": None, "collapse_from": 3})
    assert scores_of_report(collapsed, frozenset(("cat", "wall"))).unseen == 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "holds no report"),
        ("{}", "holds no report"),
        ("[]", "holds no report"),
        (json.dumps(report(parts={})), "drawn already reports seen and unseen parts"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        read_reports(tmp_path)
