"""The contract of networks for small siblings of tiny; its costs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.encoders.base import ClassifiedFeatures
from segvoc.errors import UsageError
from segvoc.layers.aggregation import DecoderSizes, cost_volume
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.tiny import (
    TWO_BLOCKS,
    FamiliarCostSum,
    SynthesizedClassifiers,
    TinyAggregationConfig,
    TinyConfig,
    tiny_network,
)
from tests.networks.aggregation_contract import AggregationContract, SelectionContract, ThreeMaps, text_tower
from tests.networks.contract import assert_alike, make_image, words

SIZES: dict[str, Any] = {
    "familiar_words": 5,
    "dim": 32,
    "guidance_dim": 16,
    "heads": 4,
    "window": 4,
    "appearance_channels": None,
    "decoder_sizes": DecoderSizes(lifts=(), taps=(24, 16), guidance=(16, 8), stages=(32, 16)),
}


class ThreeMapsAndClasses(ThreeMaps):
    """An image encoder as tiny's: three dense maps, and the logits of known classes."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Conv2d(3, 1000, 16, 16)

    def forward(self, image: Tensor) -> ClassifiedFeatures:
        logits = self.classify((image / 255 - 0.5).to(self.classify.weight.dtype))
        return ClassifiedFeatures(**vars(super().forward(image)), class_logits=logits)


def small_tiny(config: Any = TinyAggregationConfig(), **changes: Any) -> SegmentationNetwork:  # noqa: B008
    small = TinyConfig(aggregation=replace(config, **(SIZES | changes)))
    return tiny_network(small, ThreeMapsAndClasses(), text_tower("qv"))


class TestOwnAggregation(AggregationContract):
    build = staticmethod(small_tiny)

    def test_it_starts_as_the_sum(self, built):
        image, text = self.inputs(built)
        fresh, none = small_tiny(), small_tiny(kind="none")
        assert fresh.aggregation.skip.state_dict().keys() == none.aggregation.skip.state_dict().keys()
        none.load_state_dict(fresh.state_dict(), strict=False)
        with torch.no_grad():
            sums, logits = none(image, text), fresh(image, text)
            assert_alike(logits, F.interpolate(sums, size=logits.shape[2:], mode="bilinear"))
            assert not torch.allclose(built(image, text), logits, atol=1e-2)


@pytest.mark.slow
class TestWithoutSum(AggregationContract):
    build = staticmethod(lambda: small_tiny(skip="none"))


class TestSumAlone(SelectionContract):
    finer = 1
    build = staticmethod(lambda: small_tiny(kind="none"))

    def unused(self, network: nn.Module) -> set[str]:
        return {name for name, _ in network.named_parameters() if name.startswith("image_encoder.fine.")}


@pytest.mark.parametrize("wrong", [{"familiar_words": 0}, {"sharpness": -1.0}, {"window": 0}])
def test_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match="out of range"):
        TinyAggregationConfig(**wrong)


# ---- costs


@torch.inference_mode()
def test_known_classes_add_a_cost_that_counts() -> None:
    torch.manual_seed(0)
    network = TinyConfig(aggregation=TWO_BLOCKS).build().eval()
    image, text = make_image(1, 64, 96), torch.randn(5, 1, 384)
    logits = network(image, text)
    network.aggregation.get_submodule("synthesized").get_buffer("anchors").normal_()
    assert not torch.allclose(network(image, text), logits)


def unit(*vectors: tuple[float, ...]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(vectors), dim=-1)


def test_the_weights_of_a_word_grow_with_its_distance_to_the_nearest_familiar_one():
    skip = FamiliarCostSum(2, familiar_words=2, channels=3)
    familiar = unit((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    weights = {"weight": torch.tensor([2.0, 3.0]), "novelty_weight": torch.tensor([0.0, 4.0])}
    skip.load_state_dict(weights | {"bias": torch.tensor(-1.0), "familiar": familiar})
    cost = torch.rand(1, 2, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    plain = 2 * cost[:, 0] + 3 * cost[:, 1] - 1
    assert torch.allclose(skip(cost, familiar[None, :, None]), plain)
    new = unit((0.0, 0.0, 1.0), (1.0, 0.0, 1.0))[None, :, None]
    distances = torch.tensor([1, 1 - 0.5**0.5])[:, None, None]
    assert torch.allclose(skip(cost, new), plain + 4 * distances * cost[:, 1])


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


def test_the_last_cost_is_that_of_the_known_classes():
    torch.manual_seed(0)
    network, image, text = small_tiny(kind="none"), make_image(1, 64, 64), words(3, 1, 32)[None]
    with torch.no_grad():
        *maps, logits = network.encoded(image).cost_maps
        costs = network.aggregation.costs((*maps, logits), text)
        expected = [*(cost_volume(dense, text) for dense in maps), network.aggregation.synthesized(logits, text)]
    assert torch.equal(costs, torch.cat(expected, dim=1))
