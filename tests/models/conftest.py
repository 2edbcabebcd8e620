"""A preset of a few thousand parameters, "small", beside those of the table."""

from collections.abc import Iterator

import pytest

from segvoc.models.presets import PRESETS
from tests.small_preset import SMALL


@pytest.fixture(scope="module")
def small_in_the_table() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "small", SMALL)
        yield
