"""Layers in networks that a file fills."""

import torch

from segvoc.models.weightless import weightless
from segvoc.networks.cost_aggregation_config import NoGuidance


def test_no_guidance_needs_nothing_from_a_file() -> None:
    with weightless():
        layer = NoGuidance(dim=1)
    assert layer.to("cpu")(torch.zeros(2, 3, 4, 4)).shape == (2, 0, 4, 4)
