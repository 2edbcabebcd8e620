"""The notebooks run from the first cell to the last, and objects at the end of a cell are shown."""

import dataclasses
from pathlib import Path

import nbformat
import numpy as np
import pytest

import segvoc
from segvoc.evaluation.report import Report
from segvoc.imaging.notebook_html import MOST_PIXELS
from segvoc.inference.reports import LabeledFile, LabelStatistics
from segvoc.inference.segmentation import Segmentation, Segmentations
from segvoc.vocabulary import Part
from tools.run_notebooks import NOTEBOOKS, run, trimmed


def outputs(notebook: nbformat.NotebookNode, form: str) -> list[str]:
    """What all cells show in one form."""
    found = (output.get("data", {}).get(form) for cell in notebook.cells for output in cell.get("outputs", []))
    return [one for one in found if one]


@pytest.mark.parametrize(
    "name", ["first_masks", *(pytest.param(name, marks=pytest.mark.slow) for name in ("look_inside", "teach"))]
)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that fails raises; what is shown has the forms of what the file keeps."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # the home may be read-only
    path = NOTEBOOKS / f"{name}.ipynb"
    kept, ran = nbformat.read(path, as_version=4), trimmed(run(path))
    for form in ("text/html", "image/png"):
        assert len(outputs(ran, form)) == len(outputs(kept, form))
    assert outputs(ran, "text/html")


def test_taught_words_are_better_than_text_in_the_notebook_that_teaches() -> None:
    kept = nbformat.read(NOTEBOOKS / "teach.ipynb", as_version=4)
    text = "".join(output.text for output in kept.cells[-2].outputs)
    scores = {line.split("  ")[0].strip(): float(line.split()[-1]) for line in text.splitlines() if line.strip()}
    assert scores["by text"] + 40 < scores["taught"] and scores["taught"] < scores["fine-tuned"]


def result(words: tuple[str, ...], height: int = 40, width: int = 60) -> Segmentation:
    labels = np.zeros((height, width), np.uint16)
    labels[:10] = len(words) - 1
    labels[-1] = 65535
    return Segmentation(
        labels=labels,
        words=words,
        confidence=np.full((height, width), 0.5, np.float32),
        selected=np.ones(len(words), bool),
        image=np.zeros((height, width, 3), np.uint8),
        model="tiny",
        seconds=0.1,
    )


def test_a_result_shows_image_overlay_and_legend() -> None:
    shown = result(("cat", "wall"))._repr_html_()
    assert shown.count("data:image/jpeg;base64,") == 2
    assert shown.index("cat") < shown.index("wall")  # the largest first
    assert "72.5 %" in shown and "25.0 %" in shown and "2.5 % of the pixels have no word" in shown
    assert result(("cat", "wall"))._repr_png_().startswith(b"\x89PNG")


def test_parts_lists_and_files_of_results_are_shown() -> None:
    whole = result(("cat", "wall"))
    part_labels = np.where(whole.labels == 0, 1, 65535).astype(np.uint16)
    parts = (Part(object="cat", part="head"), Part(object="cat", part="leg"))
    shown = dataclasses.replace(
        whole, parts=parts, part_labels=part_labels, part_confidence=whole.confidence
    )._repr_html_()
    assert "cat&#x27;s leg" in shown and "cat&#x27;s head" not in shown
    several = Segmentations([whole] * 14)._repr_html_()
    assert several.count("<img") == 12 and "2 more results" in several and "cat 72%" in several
    assert isinstance(segvoc.load("tiny").segment([whole.image], ["cat", "wall"]), Segmentations)
    statistics = LabelStatistics.of(whole.labels, whole.confidence)
    facts = {"source": "a <b>.mp4", "height": 40, "width": 60, "model": "tiny", "dtype": "float32", "seconds": 2.0}
    shown = LabeledFile(words=("cat", "wall"), statistics=statistics, **facts)._repr_html_()
    assert "72.5 %" in shown and "a &lt;b&gt;.mp4: 60 x 40 pixels in 2.0 s" in shown
    unknown = LabelStatistics.of(whole.labels, np.full_like(whole.confidence, np.nan))
    assert "–" in LabeledFile(words=("cat", "wall"), statistics=unknown, **facts)._repr_html_()


def test_hostile_words_stay_text() -> None:
    shown = result(('<script>alert("1")</script>', '"><img onerror=x>'))._repr_html_()
    assert "<script" not in shown and "<img onerror" not in shown


def test_what_a_notebook_keeps_of_a_large_image_is_small() -> None:
    large = result(("cat", "wall"), 3000, 4000)
    assert len(large._repr_html_()) < 200_000
    assert large.overlay(max_pixels=MOST_PIXELS).width < 700


def test_a_model_and_a_report_are_tables() -> None:
    model = segvoc.load("tiny")
    assert repr(model).startswith("<") and "'tiny'" in repr(model)
    assert "windows" in model._repr_html_() and "auto" in model._repr_html_()
    report = Report(
        model={"name": "tiny"},
        data={"title": "rooms", "images": 3, "evaluated": 2},
        miou=35.52,
        fwiou=None,
        pixel_accuracy=78.4,
        mean_accuracy=50.0,
        classes=[{"name": "wall & floor", "iou": 12.34}],
    )
    shown = report._repr_html_()
    assert "35.5" in shown and "12.3" in shown and "–" in shown and "wall &amp; floor" in shown
    assert Report()._repr_html_() == ""
