"""tiny and small versions of the papers' aggregations, and what an aggregation of one's own gets there."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import segvoc
from segvoc.encoders.efficientnet import IMAGENET_CLASSES
from segvoc.errors import UsageError
from segvoc.models.builders import build_tiny
from segvoc.networks.tiny import MAPS, TWO_BLOCKS, TinyAggregationConfig, TinyConfig
from tests.inference.small_network import small_segmenter

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


class Recorder(nn.Module):
    """Keeps the shapes of its inputs."""

    def forward(self, maps, text, guidance, context):
        self.shapes = [tuple(one.shape) for one in (*maps, *guidance)]
        return torch.zeros(maps[0].shape[0], text.shape[1], *maps[0].shape[2:]), None


def test_an_aggregation_gets_what_is_told():
    model = segvoc.load("tiny", device="cpu", dtype="float32")
    told = model.aggregation_inputs()
    model.network.aggregation = Recorder()
    words: Any = model.encode_words(segvoc.Vocabulary(["cat", "wall"]))
    model.network(torch.zeros(1, 3, 64, 96), words)
    expected = [(1, one.channels, 64 // one.stride, 96 // one.stride) for one in (*told.maps, *told.guidance)]
    assert model.network.aggregation.shapes == expected
    assert told.cost_maps == len(told.maps) * words.shape[1] == 3
    assert f"guidance: {told.guidance[0].channels} channels at stride 16; " in str(told)
    small = small_segmenter()
    assert small.aggregation_inputs().cost_maps == len(small.aggregation_inputs().maps)
    small.network.features_type = tuple
    with pytest.raises(UsageError, match="no aggregation to replace"):
        small.aggregation_inputs()
