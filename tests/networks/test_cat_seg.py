"""The contract of networks for small siblings of CAT-Seg, and how it differs from PCA-Seg."""

import pytest
import torch

from segvoc.networks.cat_seg import CAT_SEG
from tests.built import built
from tests.networks.aggregation_contract import VALUES_ALONE, AggregationContract, small
from tests.networks.contract import PaperContract, assert_alike


class TestOpenAI(AggregationContract, PaperContract):
    build = staticmethod(lambda: small(CAT_SEG, eva=False))
    idle = frozenset({VALUES_ALONE})

    def test_class_aggregation_sees_what_spatial_aggregation_gives(self, network):
        inputs, blocks = self.inputs(network), network.aggregation.blocks
        seen: list[torch.Tensor] = []
        handle = blocks[0].semantic.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
        with torch.no_grad():
            network(*inputs, observe=lambda block, spatial, _: seen.append(spatial))
        handle.remove()
        assert torch.equal(seen[0], seen[1])

    def test_the_last_stream_is_all_that_goes_on(self, network):
        inputs, block, seen = self.inputs(network), network.aggregation.blocks[1], {}
        for name, part in (("block", block), ("semantic", block.semantic)):
            part.register_forward_hook(lambda _, inputs, output, name=name: seen.__setitem__(name, output))
        with torch.no_grad():
            network(*inputs)
        assert_alike(seen["block"], seen["semantic"])


@pytest.mark.slow
class TestEva(AggregationContract):
    build = staticmethod(lambda: small(CAT_SEG))


def test_one_option_turns_it_into_the_parallel_network():
    with torch.device("meta"):
        parallel = built("cat-seg-eva-b", order="parallel", fusion="experts", blocks=4)
        pca = built("pca-seg-b")
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in (parallel, pca)]
    assert shapes[0] == shapes[1]
