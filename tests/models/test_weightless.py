"""Networks of which only the shapes are needed."""

import torch
from torch import nn

from segvoc.models.weightless import weightless
from tests.processes import printed
from tests.versions import needs_light_imports


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


def test_steps_of_other_draws_are_left_out_and_what_is_elsewhere_is_computed() -> None:
    with weightless():
        drawn = nn.init.trunc_normal_(torch.empty(2, 3)).erfinv_().mul_(2).add_(1).clamp_(0, 1)
        numbers = torch.ones(3, device="cpu").mul_(2).add_(1)
    assert drawn.is_meta and drawn.shape == (2, 3)
    assert numbers.tolist() == [3, 3, 3]


def test_outside_weights_are_drawn_as_ever() -> None:
    with weightless():
        nn.Linear(3, 4)
    torch.manual_seed(0)
    layer = nn.Linear(300, 400)
    assert layer.weight.device.type == "cpu"
    assert float(layer.weight.detach().std()) > 0.02


@needs_light_imports
def test_pytorchs_compiler_is_not_imported() -> None:
    code = """
import sys
from segvoc.models.presets import PRESETS
from segvoc.models.weightless import weightless
with weightless():
    PRESETS["tiny"].build(PRESETS["tiny"].configuration)
print(*{"torch._dynamo", "torch._inductor", "sympy"}.intersection(sys.modules))
"""
    assert printed("-c", code).split() == []
