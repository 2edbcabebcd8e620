"""How tiny's aggregation is trained: on costs that nothing learned, and as an addition to their sum."""

import pytest
import torch
from torch.nn import functional as F

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.selection import AUTO_SELECTION
from segvoc.networks.tiny import TinyAggregation, TinyWithoutAggregation
from tools.tiny.refinement import AGGREGATION, RefinementRecipe
from tools.tiny.scoring import counts, scores
from tools.tiny.trunk import UpperTrunk

WORDS = 40
RECIPE = RefinementRecipe()


@pytest.fixture
def aggregation() -> TinyAggregation:
    torch.manual_seed(0)
    tower = EfficientNetLite(own_appearance=True)
    return TinyAggregation(AGGREGATION, tower.channels, tower.tap_channels).eval()


@pytest.fixture(scope="module")
def inputs() -> tuple[list[torch.Tensor], torch.Tensor, list[torch.Tensor]]:
    chance = torch.Generator().manual_seed(0)
    sizes = ((472, 8), (48, 16), (24, 32))
    guidance = [torch.randn(1, channels, side, side, generator=chance) for channels, side in sizes]
    maps = [torch.randn(1, channels, 8, 8, generator=chance) for channels in (384, 384, 384, 1000)]
    return maps, torch.randn(1, WORDS, 1, 384, generator=chance), guidance


@torch.inference_mode()
def test_an_aggregation_that_adds_nothing_gives_the_sum_and_its_classes(aggregation, inputs):
    maps, text, guidance = inputs
    for parameter in aggregation.decoder.head.parameters():
        parameter.zero_()
    context = AggregationContext((2, 2), AUTO_SELECTION, 8)
    costs = TinyWithoutAggregation(AGGREGATION, 384)
    costs.load_state_dict({name: aggregation.state_dict()[name] for name in costs.state_dict()})
    expected, chosen = costs(maps, text, guidance, context)
    logits, kept = aggregation(maps, text, guidance, context)
    assert torch.equal(kept, chosen)
    assert torch.allclose(logits, F.interpolate(expected, size=(32, 32), mode="bilinear"), atol=1e-6)


def _tower() -> EfficientNetLite:
    """A tower whose batch norms aren't trivial."""
    torch.manual_seed(0)
    tower = EfficientNetLite().eval()
    for name, value in tower.trunk.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith(("running_mean", "bias")):
            value.normal_(std=0.1)
    return tower


def test_the_upper_trunk_is_the_towers_before_and_after_training():
    tower, middle = _tower(), torch.randn(2, 120, 5, 6)
    upper = UpperTrunk(tower)
    last, head = upper(middle)
    torch.testing.assert_close(last, tower.last_stage(middle), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head, tower.trunk.head(tower.last_stage(middle)), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for parameter in upper.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    changed, _ = upper(middle)
    assert not torch.allclose(changed, last, atol=1e-3)
    upper.write_back()
    torch.testing.assert_close(tower.last_stage(middle), changed, rtol=1e-4, atol=1e-4)


def test_scores_are_of_words_in_the_truth():
    logits, truth = torch.zeros(3, 2, 2), torch.tensor([[0, 0], [1, -1]])
    logits[0, 0], logits[2, 1] = 1.0, 1.0
    assert counts(logits, truth).tolist() == [[2, 0, 0], [2, 1, 0], [2, 0, 1]]
    pixels = torch.stack([counts(logits, truth)] * 20)
    found = scores(pixels)
    assert (found.miou, found.pixel_accuracy) == pytest.approx((50.0, 100 * 2 / 3))
    assert found.miou_error == pytest.approx(0.0, abs=1e-9)
