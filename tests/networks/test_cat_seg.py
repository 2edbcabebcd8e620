"""The contract of networks for small siblings of CAT-Seg."""

import pytest
import torch

from segvoc.networks.cat_seg import CAT_SEG
from tests.built import built
from tests.networks.aggregation_contract import VALUES_ALONE, AggregationContract, small
from tests.networks.contract import PaperContract


class TestOpenAI(AggregationContract, PaperContract):
    build = staticmethod(lambda: small(CAT_SEG, eva=False))
    idle = frozenset({VALUES_ALONE})


@pytest.mark.slow
class TestEva(AggregationContract):
    build = staticmethod(lambda: small(CAT_SEG))


def test_one_option_turns_it_into_the_parallel_network():
    with torch.device("meta"):
        parallel = built("cat-seg-eva-b", order="parallel", fusion="experts", blocks=4)
        pca = built("pca-seg-b")
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in (parallel, pca)]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
class TestWithoutGuidance(AggregationContract):
    """Table 2, V."""

    build = staticmethod(lambda: small(CAT_SEG, eva=False, guidance_dim=0))
    idle = frozenset({VALUES_ALONE})
