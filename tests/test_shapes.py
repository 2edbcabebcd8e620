"""The shapes that annotations promise are checked while the tests run."""

from pathlib import Path

import jaxtyping
import pytest
import torch

from segvoc.layers.maps import resized
from tests.shape_checks import WHOLE_RUNS, is_whole_run


def test_a_wrong_shape_is_refused() -> None:
    assert resized(torch.zeros(2, 3, 4, 5), (8, 10)).shape == (2, 3, 8, 10)
    with pytest.raises(jaxtyping.TypeCheckError):
        resized(torch.zeros(2, 4, 5), (8, 10))


def test_tests_of_whole_runs_are_there_and_a_wings_own_tests_are_none() -> None:
    tests = Path(__file__).parent
    assert all((tests / name).exists() for name in WHOLE_RUNS)
    assert is_whole_run(tests / "cli" / "test_segment.py")
    assert not is_whole_run(tests / "layers" / "test_maps.py")
