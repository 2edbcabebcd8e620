"""Numbers inside layers: batch norm over chunks against PyTorch's over all at once, and what stays in float32."""

from operator import attrgetter
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.batch_statistics import ClassBatchNorm, batch_moments
from segvoc.layers.precision import Float32Parts, reduce_precision
from segvoc.models.builders import weightless
from segvoc.models.presets import PRESETS
from segvoc.networks.pca_seg import ExpertParser


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (1, 1, 5)])
def test_moments_and_running_statistics_are_those_of_all_chunks(sizes):
    torch.manual_seed(0)
    linear, norm, own = nn.Linear(6, 10).double(), ClassBatchNorm(10).double(), nn.BatchNorm2d(10).double()
    x = torch.randn(2, 7, 3, 4, 6).double()
    for _ in range(2):
        chunks = [(part,) for part in x.split(sizes, dim=1)]
        moments = batch_moments(
            [SimpleNamespace(expand=linear, norm=norm)], lambda x: x, chunks, AggregationContext().over
        )[0]
        y = linear(x).flatten(0, 1).permute(0, 3, 1, 2)
        own(y)
    torch.testing.assert_close(moments[0], y.mean((0, 2, 3)))
    torch.testing.assert_close(moments[1], y.var((0, 2, 3), unbiased=False))
    assert norm.state_dict().keys() == own.state_dict().keys()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)


def test_in_training_the_norm_is_pytorchs_and_so_are_its_gradients():
    torch.manual_seed(0)
    parser, both = ExpertParser(8, 3, nn.GELU()).double().train(), torch.randn(2, 3, 4, 5, 16).double()
    gradients = []
    for ours in (True, False):
        parser.zero_grad()
        leaf = both.clone().requires_grad_(True)
        if ours:
            y = parser(leaf)
        else:
            maps = 0
            for half in parser.halves:
                norm = nn.BatchNorm2d(24).double()
                norm.weight, norm.bias = half.norm.weight, half.norm.bias
                hidden = norm(half.expand(leaf).flatten(0, 1).permute(0, 3, 1, 2))
                maps = maps + half.contract(nn.functional.gelu(hidden))
            y = nn.functional.gelu(maps).unflatten(1, (3, 8)).permute(0, 3, 4, 1, 2).unflatten(0, (2, 3))
        y.pow(3).sum().backward()
        gradients.append([y.detach(), leaf.grad, *(p.grad for p in parser.parameters())])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)


class Outer(Float32Parts):
    float32_parts = ("exact", "table")

    def __init__(self) -> None:
        super().__init__()
        self.exact, self.exact_not = nn.Linear(2, 2), nn.Linear(2, 2)
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.register_buffer("table", torch.zeros(3))
        self.register_buffer("index", torch.zeros(3, dtype=torch.int64))


def test_batch_norms_and_listed_parts_stay_in_float32() -> None:
    network = nn.Sequential(Outer())
    weight = network.get_parameter("0.inner.0.weight")
    reduce_precision(network, torch.bfloat16)
    found = {name: value.dtype for name, value in network.state_dict().items()}
    reduced = {name for name, dtype in found.items() if dtype == torch.bfloat16}
    assert reduced == {"0.exact_not.weight", "0.exact_not.bias", "0.inner.0.weight", "0.inner.0.bias"}
    assert found["0.index"] == torch.int64
    assert network.get_parameter("0.inner.0.weight") is weight


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.shipped or "-b" in name])
def test_parts_that_are_listed_exist(name: str) -> None:
    with weightless():
        network = PRESETS[name].build(PRESETS[name].configuration)
    for path, module in network.named_modules():
        for part in module.float32_parts if isinstance(module, Float32Parts) else ():
            assert attrgetter(part)(module) is not module, path  # raises where there is none


def test_words_are_encoded_and_compared_in_float32() -> None:
    with weightless():
        network = PRESETS["tiny"].build(PRESETS["tiny"].configuration)
    reduce_precision(network, torch.bfloat16)
    assert {parameter.dtype for parameter in network.text_encoder.parameters()} == {torch.float32}
    assert network.get_parameter("aggregation.skip.weight").dtype == torch.float32
    assert network.get_parameter("aggregation.decoder.head.weight").dtype == torch.float32
    assert network.get_parameter("aggregation.guidance.weight").dtype == torch.bfloat16


def test_costs_of_rough_features_are_exact() -> None:
    image, text = torch.randn(1, 8, 2, 2).bfloat16(), torch.randn(1, 3, 1, 8)
    assert torch.equal(cost_volume(image, text), cost_volume(image.float(), text))
    assert cost_volume(image.double(), text.double()).dtype == torch.float64
