"""The sum of the costs, and how it weighs new words."""

import pytest
import torch

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.cost_sum import CostSum, NoAggregation


def unit(*vectors: tuple[float, ...]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(vectors), dim=-1)


@pytest.fixture
def skip() -> CostSum:
    skip = CostSum(2, familiar_words=2, channels=3)
    familiar = unit((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    weights = {"weight": torch.tensor([2.0, 3.0]), "novelty_weight": torch.tensor([0.0, 4.0])}
    skip.load_state_dict(weights | {"bias": torch.tensor(-1.0), "familiar": familiar})
    return skip


def test_familiar_words_get_the_plain_weights(skip):
    text = unit((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))[None, :, None]
    cost = torch.rand(1, 2, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(skip(cost, text), 2 * cost[:, 0] + 3 * cost[:, 1] - 1)


def test_the_weights_of_a_new_word_grow_with_its_distance_to_the_nearest_familiar_one(skip):
    text = unit((0.0, 0.0, 1.0), (1.0, 0.0, 1.0))[None, :, None]
    cost = torch.ones(1, 2, 2, 1, 1)
    expected = torch.tensor([2 + 3 + 4 * 1.0 - 1, 2 + 3 + 4 * (1 - 0.5**0.5) - 1])
    assert torch.allclose(skip(cost, text)[0, :, 0, 0], expected)


def test_no_aggregation_sums_the_costs_of_its_maps():
    maps = [torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)]
    text = torch.randn(2, 6, 1, 3)
    logits, _ = NoAggregation(CostSum(2))(maps, text, [], AggregationContext((1, 1), None, 6))
    assert torch.allclose(logits, sum(cost_volume(image, text)[:, 0] for image in maps), atol=1e-6)
