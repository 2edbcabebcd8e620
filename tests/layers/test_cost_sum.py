"""The sum of the costs, and costs of any words from the logits of known classes."""

import pytest
import torch
from torch.nn import functional as F

from segvoc.layers.aggregation import cost_volume
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.cost_sum import CostSum, NoAggregation, SynthesizedClassifiers, all_costs


def unit(*vectors: tuple[float, ...]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(vectors), dim=-1)


def test_the_weights_of_a_word_grow_with_its_distance_to_the_nearest_familiar_one():
    skip = CostSum(2, familiar_words=2, channels=3)
    familiar = unit((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    weights = {"weight": torch.tensor([2.0, 3.0]), "novelty_weight": torch.tensor([0.0, 4.0])}
    skip.load_state_dict(weights | {"bias": torch.tensor(-1.0), "familiar": familiar})
    cost = torch.rand(1, 2, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    plain = 2 * cost[:, 0] + 3 * cost[:, 1] - 1
    assert torch.allclose(skip(cost, familiar[None, :, None]), plain)
    new = unit((0.0, 0.0, 1.0), (1.0, 0.0, 1.0))[None, :, None]
    distances = torch.tensor([1, 1 - 0.5**0.5])[:, None, None]
    assert torch.allclose(skip(cost, new), plain + 4 * distances * cost[:, 1])


def test_no_aggregation_sums_the_costs_of_its_maps():
    maps = [torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)]
    text = torch.randn(2, 6, 1, 3)
    logits, _ = NoAggregation(CostSum(2))(maps, text, [], AggregationContext((1, 1), None, 6))
    assert torch.allclose(logits, sum(cost_volume(image, text)[:, 0] for image in maps), atol=1e-6)


CLASSES, CHANNELS = 12, 16


@pytest.fixture
def synthesized() -> SynthesizedClassifiers:
    torch.manual_seed(0)
    return SynthesizedClassifiers(CLASSES, CHANNELS, sharpness=100.0)


def test_the_name_of_a_known_class_gets_its_centered_logit_and_a_word_between_two_what_is_between_theirs(synthesized):
    logits = torch.randn(2, CLASSES, 3, 4)
    text = 5 * synthesized.anchors[None, [7, 2], None].expand(2, -1, -1, -1)
    centered = F.normalize(logits - logits.mean(dim=1, keepdim=True), dim=1)
    torch.testing.assert_close(synthesized(logits, text)[:, 0], centered[:, [7, 2]], atol=1e-4, rtol=1e-4)
    synthesized.anchors.copy_(torch.eye(CLASSES, CHANNELS))
    text = (synthesized.anchors[0] + synthesized.anchors[1]).expand(2, 1, 1, -1)
    torch.testing.assert_close(synthesized(logits, text)[:, 0, 0], centered[:, :2].mean(dim=1), atol=1e-5, rtol=1e-4)


def test_what_all_classes_share_and_how_large_logits_are_makes_no_difference(synthesized):
    logits, text = torch.randn(1, CLASSES, 3, 4), torch.randn(1, 5, 1, CHANNELS)
    torch.testing.assert_close(synthesized(3 * logits + 7, text), synthesized(logits, text))
    assert synthesized(logits, text).abs().max() <= 1


def test_the_last_cost_is_that_of_the_known_classes(synthesized):
    maps, text = [torch.randn(1, CHANNELS, 3, 4) for _ in range(2)], torch.randn(1, 5, 1, CHANNELS)
    logits = torch.randn(1, CLASSES, 3, 4)
    found = all_costs(maps, text, synthesized, logits)
    expected = [*(cost_volume(image, text) for image in maps), synthesized(logits, text)]
    assert torch.equal(found, torch.cat(expected, dim=1))
    assert torch.equal(all_costs(maps, text, None, logits), found[:, :2])
