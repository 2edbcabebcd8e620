"""What the tests of exports share."""

from collections.abc import Iterator
from importlib.util import find_spec

import jaxtyping
import pytest

from segvoc.models.network_segmenter import NetworkSegmenter
from tests.exporting.small_export import small_cat_seg

# With the oldest PyTorch that segvoc takes, the extra `export` can't be installed.
collect_ignore_glob = [] if find_spec("onnx_ir") else ["test_*.py"]


@pytest.fixture(scope="package")
def untyped() -> Iterator[None]:
    """No shape checks: a traced size is no integer."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="package")
def model() -> NetworkSegmenter:
    """The network to export; a second program for words, of another pooling, would take long to trace."""
    return small_cat_seg(one_pooling=True)
