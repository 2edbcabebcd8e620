"""What the tests of exports share."""

from collections.abc import Iterator

import jaxtyping
import pytest

from segvoc.models.network_segmenter import NetworkSegmenter
from tests.export.small_export import small_cat_seg


@pytest.fixture(scope="module")
def untyped() -> Iterator[None]:
    """No shape checks: a traced size is no integer."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def model() -> NetworkSegmenter:
    """The network to export; a second program for words, of another pooling, would take long to trace."""
    return small_cat_seg(one_pooling=True)
