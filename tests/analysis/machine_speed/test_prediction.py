"""Predictions of how long a case will take."""

from collections.abc import Mapping

import pytest

from segvoc.analysis.machine_speed.measurement import predicted_seconds
from segvoc.analysis.machine_speed.rows import Dtype
from tests.analysis.machine_speed.made_up import case, row, unmeasured

RATES: Mapping[Dtype, float] = {"float32": 100.0, "bfloat16": 50.0}


def predicted(rows, **settings):
    return predicted_seconds(case(**settings), rows, RATES)


def test_nothing_is_known_of_a_model_that_was_not_measured():
    assert predicted([]) is None
    assert predicted([unmeasured(), row(1.0, model="other")]) is None


def test_words_between_and_beyond_those_measured():
    rows = [row(1.0, words=20), row(3.0, words=120)]
    assert predicted(rows, words=70) == pytest.approx(2.0)
    assert predicted(rows, words=220) == pytest.approx(5.0)
    assert predicted(rows, words=10) == 1.0
    assert predicted(rows[:1], words=80) == pytest.approx(2.0)  # the square root of 4
    assert predicted([row(3.0, words=20), row(2.0, words=120)], words=1000) == 2.0  # noise has no slope


def test_a_dtype_is_first_as_fast_as_its_matrix_products_and_then_as_measured():
    rows = [row(1.0, words=20), row(3.0, words=120)]
    assert predicted(rows, words=120, dtype="bfloat16") == pytest.approx(6.0)
    rows.append(row(0.5, words=20, dtype="bfloat16"))
    assert predicted(rows, words=120, dtype="bfloat16") == pytest.approx(1.5)
    assert predicted(rows, words=20, dtype="bfloat16") == 0.5


def test_further_settings():
    rows = [row(1.0, words=20), row(3.0, words=120), row(9.0, words=20, threads=1)]
    assert predicted(rows, threads=2) == 2.0
    assert predicted(rows, batch=8) == 8.0
    assert predicted(rows, words=1000, keep_classes=20) == pytest.approx(3.0)  # 20, and a tenth of all
