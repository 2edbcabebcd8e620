"""What an aggregation of one's own is told of its inputs is what it gets."""

from typing import Any

import pytest
import torch
from torch import nn

import segvoc
from segvoc.errors import UsageError
from tests.inference.small_network import small_segmenter


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
    sizes = [*told.maps, *told.guidance]
    assert model.network.aggregation.shapes == [
        (1, size.channels, 64 // size.stride, 96 // size.stride) for size in sizes
    ]
    assert told.cost_maps == len(told.maps) * words.shape[1] == 3
    assert f"guidance: {told.guidance[0].channels} channels at stride 16; " in str(told)
    small = small_segmenter()
    assert small.aggregation_inputs().cost_maps == len(small.aggregation_inputs().maps)
    small.network.features_type = tuple
    with pytest.raises(UsageError, match="no aggregation to replace"):
        small.aggregation_inputs()
