"""Figures without matplotlib."""

import pytest

from segvoc.analysis import requirements
from segvoc.analysis.charts import new_figure
from segvoc.analysis.requirements import require_matplotlib
from segvoc.errors import UsageError


@pytest.mark.parametrize("call", [require_matplotlib, lambda: new_figure(1, 1)])
def test_a_missing_matplotlib_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, call):
    require_matplotlib()
    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"matplotlib, which isn't installed; .*segvoc\[analysis\]"):
        call()
