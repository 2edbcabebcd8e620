"""The shapes that annotations promise are checked while the tests run."""

import jaxtyping
import pytest
import torch

from segvoc.layers.pointwise import pointwise_linear
from tests.shape_checks import modules_with_shapes


def test_a_wrong_shape_is_refused() -> None:
    x = torch.zeros(2, 3)
    assert pointwise_linear(x, torch.zeros(4, 3), None).shape == (2, 4)
    with pytest.raises(jaxtyping.TypeCheckError):
        pointwise_linear(x, torch.zeros(4, 5), None)


def test_modules_that_name_shapes_are_found() -> None:
    found = set(modules_with_shapes())
    assert {"segvoc.shapes", "segvoc.layers.pointwise", "segvoc.networks.pca_seg", "segvoc.arrays"} <= found
    assert "segvoc.cli.segment" not in found
