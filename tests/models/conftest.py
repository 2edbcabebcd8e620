"""A preset of a few thousand parameters, "small", beside those of the table."""

from collections.abc import Iterator

import pytest

from segvoc.models.presets import PRESETS
from tests.inference.small_network import SMALL_PRESET


@pytest.fixture(scope="module")
def small_in_the_table() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "small", SMALL_PRESET)
        yield
