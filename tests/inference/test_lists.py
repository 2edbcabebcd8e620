"""Lists and streams of images: progress, and what a notebook shows."""

import sys

import numpy as np
import pytest

from segvoc.inference.segmentation import Segmentations
from segvoc.runtime import progress
from tests.inference.numpy_engine import NumpySegmenter

IMAGES = [np.full((32, 48, 3), level, np.uint8) for level in (0, 100, 200)]


@pytest.mark.parametrize("way", ["list", "stream", "generator"])
def test_progress_is_shown_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    model = NumpySegmenter()
    for shown in (True, False):
        if way == "list":
            results = model.segment(IMAGES, "cat, wall", progress=shown)
        else:
            images = IMAGES if way == "stream" else iter(IMAGES)
            results = list(model.segment_many(images, "cat, wall", progress=shown))
        assert len(results) == 3
        said = capsys.readouterr().err
        assert ("labeling" in said) is shown


def test_a_pipe_gets_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    NumpySegmenter().segment(IMAGES, "cat, wall", progress=True)
    assert capsys.readouterr().err == ""


def test_a_notebook_shows_the_overlays_of_a_list() -> None:
    results = NumpySegmenter().segment(IMAGES, "cat, <wall>")
    assert isinstance(results, Segmentations) and isinstance(results, list)
    shown = results._repr_html_()
    assert shown.count('<img src="data:image/jpeg;base64,') == 3
    assert "&lt;wall&gt;" in shown and "<wall>" not in shown
    many = Segmentations(results * 20)
    assert many._repr_html_().count("<img") == 24 and "and 36 more" in many._repr_html_()


def test_a_notebook_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutStream:
        __module__ = "ipykernel.iostream"
        written = ""

        def isatty(self) -> bool:
            return False

        def write(self, text: str) -> None:
            self.written += text

        def flush(self) -> None:
            pass

    stream = OutStream()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.Progress("labeling", total=2) as bar:
        bar.update(2)
    assert "labeling" in stream.written
