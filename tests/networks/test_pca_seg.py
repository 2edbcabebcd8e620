"""The contract of networks for small siblings of PCA-Seg, its own promises, and its parts' published sizes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from segvoc.models.builders import build_aggregation
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.pca_seg import PCA_SEG
from tests.built import built
from tests.networks.aggregation_contract import (
    SMALL,
    SMALL_DECODER,
    VALUES_ALONE,
    AggregationContract,
    ThreeMaps,
    small,
    text_tower,
)
from tests.networks.contract import PaperContract


class TestEva(AggregationContract, PaperContract):
    build = staticmethod(small)


@pytest.mark.slow
class TestOpenAI(AggregationContract):
    build = staticmethod(lambda: small(eva=False))
    idle = frozenset({VALUES_ALONE})


@pytest.mark.slow
class TestThreeMaps(AggregationContract):
    def build(self) -> nn.Module:
        sizes = replace(SMALL_DECODER, lifts=())
        config = replace(PCA_SEG, **(SMALL | {"decoder_sizes": sizes}), blocks=2, costs=3)
        return SegmentationNetwork(ThreeMaps(), text_tower("qv"), build_aggregation(config, ThreeMaps()))


def test_the_sizes_of_one_parallel_block_are_those_published():
    with torch.device("meta"):
        network = built("pca-seg-b")
    block = network.aggregation.blocks[0]
    sizes = [
        sum(weight.numel() for weight in part.parameters()) for part in (block.spatial, block.semantic, block.fuse)
    ]
    assert sizes == [462_336, 214_784, 349_221]
