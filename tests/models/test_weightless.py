"""Networks of which only the shapes are needed."""

import torch
from torch import nn

from segvoc.models.weightless import weightless


def test_modules_take_no_memory_and_draw_no_numbers() -> None:
    before = torch.get_rng_state()
    with weightless():
        modules = nn.ModuleList((nn.Linear(3, 4), nn.Conv2d(3, 4, 1), nn.Embedding(5, 6), nn.MultiheadAttention(8, 2)))
        filled = nn.init.normal_(tensor=torch.empty(2, 3), std=0.1)
        random = torch.randn(4, 5, generator=torch.Generator())
    assert random.is_meta and random.shape == (4, 5)
    assert all(parameter.is_meta for parameter in modules.parameters())
    assert [tuple(parameter.shape) for parameter in modules[0].parameters()] == [(4, 3), (4,)]
    assert filled.is_meta and filled.shape == (2, 3)
    assert torch.equal(torch.get_rng_state(), before)
