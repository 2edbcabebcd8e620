"""Revisions of tests count from 1: without a clock, a number is one more than the last."""

import pytest

from segvoc_annotate.projects import records


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "clock", lambda: 0)
