"""Rows: what follows from samples, and how figures are shown."""

import pytest

from segvoc.analysis.machine_speed.rows import Sample, SpeedRow, count_text, rounded
from tests.analysis.machine_speed.made_up import case, unmeasured


def test_a_row_adds_up_its_processes() -> None:
    samples = [Sample(seconds=(0.2, 0.1, 0.4), memory=1.0), Sample(seconds=(0.5, 0.5), memory=2.0)]
    found = SpeedRow.measured(case(processes=2), samples)
    assert (found.seconds, found.fastest, found.slowest, found.repeats) == (0.4, 0.1, 0.5, 5)
    assert found.images_per_second == pytest.approx(1 / 0.2 + 1 / 0.5)
    assert found.memory_gb == 3.0 and found.status == "measured"


def test_a_record_is_flat_and_says_why_a_row_is_empty() -> None:
    record = unmeasured("failed", "memory ran out", words=1000, keep_classes=32).record()
    assert record == {
        **{"model": "tiny", "dtype": "float32", "words": 1000, "threads": 4},
        **{"keep_classes": 32, "batch": 1, "processes": 1, "status": "failed", "note": "memory ran out"},
        **{"seconds": None, "fastest": None, "slowest": None, "repeats": 0},
        **{"images_per_second": None, "memory_gb": None},
    }


def test_figures_are_short_and_have_no_exponents() -> None:
    values = (0.00314159, 0.0999, 1.0, 12.34, 123.4, 123456.0)
    assert [rounded(value) for value in values] == ["0.0031", "0.10", "1.0", "12", "120", "120,000"]
    assert rounded(1234.5, 3) == "1,230" and rounded(None) == ""


def test_things_are_counted() -> None:
    assert count_text(1, "word") == "1 word" and count_text(1000, "word") == "1,000 words"
    assert count_text(2, "process") == "2 processes"
    named = case(words=171, keep_classes=32, batch=8, processes=2)
    assert str(named) == "tiny, float32, 171 words, keep 32, batch 8, 2 processes"
