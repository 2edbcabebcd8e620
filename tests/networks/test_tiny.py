"""tiny and small versions of the papers' aggregations, and what an aggregation of one's own gets there."""

from dataclasses import replace

import pytest
import torch

from segvoc.encoders.efficientnet import IMAGENET_CLASSES
from segvoc.models.builders import build_tiny
from segvoc.networks.tiny import MAPS, TWO_BLOCKS, TinyAggregationConfig, TinyConfig

WITH_CLASSES = {"costs": MAPS + 1, "known_classes": IMAGENET_CLASSES}


@pytest.mark.parametrize(
    "aggregation",
    [TinyAggregationConfig(), TWO_BLOCKS, replace(TWO_BLOCKS, kind="none")],
    ids=["own", "two blocks", "none"],
)
@torch.inference_mode()
def test_known_classes_add_a_cost_that_counts(aggregation: TinyAggregationConfig) -> None:
    torch.manual_seed(0)
    network = build_tiny(TinyConfig(aggregation=replace(aggregation, **WITH_CLASSES))).eval()
    image, text = 255 * torch.rand(1, 3, 64, 96), torch.randn(5, 1, 384)
    logits = network(image, text)
    assert logits.shape[:2] == (1, 5) and logits.isfinite().all()
    network.aggregation.get_submodule("synthesized").get_buffer("anchors").normal_()
    assert not torch.allclose(network(image, text), logits)


@torch.inference_mode()
def test_without_known_classes_there_is_no_such_cost() -> None:
    network = build_tiny(TinyConfig(aggregation=TinyAggregationConfig(costs=MAPS, known_classes=0)))
    assert not any("synthesized" in name for name in network.state_dict())
    assert len(network.image_encoder(torch.rand(1, 3, 64, 64)).maps) == MAPS
