"""Labels in two precisions, compared."""

from pathlib import Path

import numpy as np
import pytest

import segvoc
from benchmarks.bfloat16_labels import chosen, compared

SAMPLES = Path(__file__).parents[2] / "samples"


def test_photographs_are_taken_evenly_from_each_place(tmp_path: Path) -> None:
    for folder, count in (("a", 9), ("b", 2)):
        (tmp_path / folder).mkdir()
        for index in range(count):
            (tmp_path / folder / f"{index}.jpg").touch()
        (tmp_path / folder / "notes.txt").touch()
    names = [f"{photo.parent.name}{photo.stem}" for photo in chosen([tmp_path / "a", tmp_path / "b"], 6)]
    assert names == ["a0", "a4", "a8", "b0", "b1"]
    assert chosen([SAMPLES / "chelsea.jpg"], 3) == [SAMPLES / "chelsea.jpg"]


@pytest.mark.slow
def test_margins_are_those_of_the_pixels_that_differ() -> None:
    words = ["cat", "sofa", "wall", "grass"]
    exact = segvoc.load("tiny", device="cpu")
    share, margins = compared(exact, exact, SAMPLES / "chelsea.jpg", words)
    assert (share, margins.size) == (1.0, 0)
    rough = segvoc.load("tiny", device="cpu", dtype="bfloat16")
    share, margins = compared(exact, rough, SAMPLES / "chelsea.jpg", words)
    pixels = np.prod(exact.segment(SAMPLES / "chelsea.jpg", words).labels.shape)
    assert margins.size == round((1 - share) * pixels)
    assert share == pytest.approx(1, abs=0.01)
    assert (margins >= 0).all() and (margins < 0.05).all()
