"""What several tests of the comparison with the official code need."""

import pytest

from segvoc.models.presets import PRESETS
from tests.official_checkpoints import small_preset


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a network of few channels into the table."""
    monkeypatch.setitem(PRESETS, "cat-seg-b", small_preset("cat-seg-b"))
