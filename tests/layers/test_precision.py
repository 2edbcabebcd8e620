"""What of a network is in reduced precision, and what stays in float32."""

from operator import attrgetter

import pytest
import torch
from torch import nn

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.precision import Float32Parts
from segvoc.models.builders import weightless
from segvoc.models.presets import PRESETS


class Outer(nn.Module):
    float32_parts = ("exact", "table")

    def __init__(self) -> None:
        super().__init__()
        self.exact, self.exact_not = nn.Linear(2, 2), nn.Linear(2, 2)
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.register_buffer("table", torch.zeros(3))
        self.register_buffer("index", torch.zeros(3, dtype=torch.int64))


def test_batch_norms_and_listed_parts_stay_in_float32() -> None:
    network = Float32Parts()
    network.add_module("0", Outer())
    weight = network.get_parameter("0.inner.0.weight")
    network.to(torch.bfloat16)
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
        for part in getattr(module, "float32_parts", ()):
            assert attrgetter(part)(module) is not module, path  # raises where there is none


def test_words_are_encoded_and_compared_in_float32() -> None:
    with weightless():
        network = PRESETS["tiny"].build(PRESETS["tiny"].configuration)
    network.to(torch.bfloat16)
    assert {parameter.dtype for parameter in network.text_encoder.parameters()} == {torch.float32}
    assert network.get_parameter("aggregation.skip.weight").dtype == torch.float32
    assert network.get_parameter("aggregation.decoder.head.weight").dtype == torch.float32
    assert network.get_parameter("aggregation.guidance.weight").dtype == torch.bfloat16


def test_costs_of_rough_features_are_exact() -> None:
    image, text = torch.randn(1, 8, 2, 2).bfloat16(), torch.randn(1, 3, 1, 8)
    assert torch.equal(cost_volume(image, text), cost_volume(image.float(), text))
    assert cost_volume(image.double(), text.double()).dtype == torch.float64
