"""Pages that scripts make are what the scripts make."""

import pytest

from tools import make_baselines, make_benchmarks_page


@pytest.mark.parametrize("script", [pytest.param(make_baselines, marks=pytest.mark.slow), make_benchmarks_page])
def test_the_page_is_up_to_date(script):
    assert script.PAGE.read_text(encoding="utf-8") == "\n".join(script.page()) + "\n"
