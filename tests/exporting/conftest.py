"""What the tests of exports share."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import pytest
from filelock import FileLock

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


@pytest.fixture(scope="package")
def folder(model: NetworkSegmenter, tmp_path_factory: pytest.TempPathFactory, untyped: None) -> Path:
    """The exported network, in float32; one worker exports it for all, which takes most of a minute."""
    from segvoc.exporting import export as exporting  # needs the extra

    folder = tmp_path_factory.getbasetemp()
    out = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "small"
    with FileLock(f"{out}.lock"):
        if not out.exists():
            steps: list[str] = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(exporting, "SIZES", ((96, 128), (128, 96)))
                found = exporting.export(model, out, say=steps.append)
            assert found.difference < 1e-4
            assert found.equal_labels > 0.999
            assert not any("words_1x1.onnx" in step for step in steps)
    return out
