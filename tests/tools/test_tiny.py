"""How tiny's aggregation is trained: on costs that nothing learnt, and as an addition to their sum."""

import pytest
import torch
from torch.nn import functional as F

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.class_selection import VotedShare
from segvoc.layers.cost_sum import NoAggregation
from segvoc.networks.base import CostAggregation
from segvoc.networks.choices import build_aggregation
from segvoc.networks.tiny import TinyAggregationConfig
from tools.tiny.refinement import RECIPE, CrossFit, cost_weights, rescale
from tools.tiny.training import Projections

WORDS = 40


@pytest.fixture
def aggregation() -> CostAggregation:
    torch.manual_seed(0)
    return build_aggregation(TinyAggregationConfig(), EfficientNetLite(own_appearance=True)).eval()


@pytest.fixture(scope="module")
def inputs() -> tuple[list[torch.Tensor], torch.Tensor, list[torch.Tensor]]:
    chance = torch.Generator().manual_seed(0)
    sizes = ((472, 8), (48, 16), (24, 32))
    guidance = [torch.randn(1, channels, side, side, generator=chance) for channels, side in sizes]
    maps = [torch.randn(1, 384, 8, 8, generator=chance) for _ in range(3)]
    return maps, torch.randn(1, WORDS, 1, 384, generator=chance), guidance


@torch.inference_mode()
def test_an_aggregation_that_adds_nothing_gives_the_sum_and_its_classes(aggregation, inputs):
    maps, text, guidance = inputs
    for parameter in aggregation.decoder.head.parameters():
        parameter.zero_()
    context = AggregationContext((2, 2), VotedShare(), 8)
    expected, chosen = NoAggregation(aggregation.skip)(maps, text, guidance, context)
    logits, kept = aggregation(maps, text, guidance, context)
    assert torch.equal(kept, chosen)
    assert torch.allclose(logits, F.interpolate(expected, size=(32, 32), mode="bilinear"), atol=1e-6)


@torch.inference_mode()
def test_rescaled_logits_are_a_scaled_sum_and_a_scaled_addition(aggregation, inputs):
    maps, text, guidance = inputs
    context = AggregationContext((2, 2), None, WORDS)
    total = F.interpolate(
        NoAggregation(aggregation.skip)(maps, text, guidance, context)[0], size=(32, 32), mode="bilinear"
    )
    added = aggregation(maps, text, guidance, context)[0] - total
    rescale(aggregation, 3.0, 0.5, -1.0)
    torch.testing.assert_close(
        aggregation(maps, text, guidance, context)[0], 3 * total + 0.5 * added - 1, atol=1e-5, rtol=1e-4
    )


def test_costs_of_a_photograph_come_from_fits_that_have_not_seen_it():
    photos, words = torch.arange(50) % 5 > 0, torch.arange(WORDS) > 3
    dealt = CrossFit.deal(photos, words, seed=1)
    assert torch.equal(dealt.fits.photos[0], photos)
    assert torch.equal(dealt.fits.words[0], words)
    for number, (of_fit, known) in enumerate(zip(dealt.fits.photos[1:], dealt.fits.words[1:], strict=True)):
        assert torch.equal(of_fit, photos & (dealt.group != number % RECIPE.groups))
        assert not (known & ~words).any()
        assert known.sum() < words.sum() or RECIPE.hidden[number // RECIPE.groups] == 0


def test_words_that_a_fit_does_not_know_get_the_weights_of_new_ones(aggregation):
    text = F.normalize(torch.randn(6, 384, generator=torch.Generator().manual_seed(0)), dim=1)
    known = torch.tensor([True, True, False, True, False, False])
    found = cost_weights(text, known[None])[0]
    costs = torch.randn(1, 3, 6, 2, 2, generator=torch.Generator().manual_seed(1))
    skip = aggregation.skip
    state = {"weight": [0.8, 1.2, 0.5], "novelty_weight": [0.0, 0.0, 1.0], "bias": 0.0}
    skip.familiar = text[known]
    skip.load_state_dict({name: torch.tensor(value) for name, value in state.items()} | {"familiar": text[known]})
    torch.testing.assert_close(torch.einsum("bpthw,tp->bthw", costs, found), skip(costs, text[None, :, None]))


@torch.no_grad()
def test_projections_are_those_that_the_tower_gets():
    torch.manual_seed(0)
    tower = EfficientNetLite().eval()
    tower.class_embeddings.normal_()
    shapes = {"head": (2, 1280, 384), "head_bias": (2, 384), "stages": (2, 472, 384), "stages_bias": (2, 384)}
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    projections = Projections(**weights, shift=torch.randn(2, 384))
    stages = torch.randn(1, 472, 4, 6)
    ours = projections.maps(torch.tensor([1]), tower, stages)
    projections.write_to(tower, 1)
    for one, other in zip(ours, tower.project(tower.head(stages[:, 120:]), stages), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
