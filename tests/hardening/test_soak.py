"""A second of the soak, and its arithmetic."""

import json

import pytest

from hardening.soak import growth
from tests.hardening.programs import run


@pytest.mark.slow
def test_a_short_soak_has_no_errors() -> None:
    figures = json.loads(run("soak", "--minutes", "0.02"))
    assert figures["errors"] == []
    assert all(figures["work"].values())


def test_growth_is_in_percent_of_the_mean_an_hour_and_leaves_the_beginning_out() -> None:
    flat = [(float(second), 100.0) for second in range(0, 3600, 10)]
    assert growth(flat) == pytest.approx(0, abs=1e-9)
    rising = [(second, 100 + second / 3600 * 2) for second, _ in flat]
    assert growth(rising) == pytest.approx(2 / 101.1 * 100, rel=1e-2)
    start = [(second, 10.0 if second < 300 else 100.0) for second, _ in flat]
    assert growth(start) == pytest.approx(0, abs=1e-9)
