"""The contract of networks for small siblings of CAT-Seg, PCA-Seg and tiny, and for the choices of their papers."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segvoc.errors import UsageError
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.cat_seg import CAT_SEG, LastStream
from segvoc.networks.choices import FUSIONS, build_aggregation, fusion_of
from segvoc.networks.cost_aggregation_config import CostAggregationConfig
from segvoc.networks.pca_seg import PCA_SEG
from tests.built import built
from tests.networks.aggregation_contract import (
    VALUES_ALONE,
    AggregationContract,
    SelectionContract,
    ThreeMaps,
    small,
    text_tower,
)
from tests.networks.contract import PaperContract, assert_alike

slow = pytest.mark.slow


class TestCatSeg(AggregationContract, PaperContract):
    build = staticmethod(lambda: small(CAT_SEG, eva=False))
    idle = frozenset({VALUES_ALONE})


class TestPcaSeg(AggregationContract, PaperContract):
    build = staticmethod(small)


def test_one_option_turns_cat_seg_into_pca_seg_whose_blocks_have_the_published_sizes():
    with torch.device("meta"):
        parallel = built("cat-seg-eva-b", order="parallel", fusion="experts", blocks=4)
        pca = built("pca-seg-b")
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in (parallel, pca)]
    assert shapes[0] == shapes[1]
    block = pca.aggregation.blocks[0]
    parts = (block.spatial, block.semantic, block.fuse)
    sizes = [sum(weight.numel() for weight in part.parameters()) for part in parts]
    assert sizes == [462_336, 214_784, 349_221]


def choice(config: CostAggregationConfig = PCA_SEG, *, blocks: int = 1, **options: object) -> type[AggregationContract]:
    idle = frozenset() if options.get("eva", True) else frozenset({VALUES_ALONE})
    body = {"build": lambda self: small(config, blocks=blocks, **options), "idle": idle}
    return type("Choice", (AggregationContract,), body)


TestCatSegOnEva = slow(choice(CAT_SEG, blocks=2))
TestPcaSegOnOpenAI = slow(choice(blocks=2, eva=False))
TestWithoutGuidance = slow(choice(CAT_SEG, eva=False, guidance_dim=0))  # CAT-Seg, Table 2, V
TestPaperExperts = slow(choice(fusion="experts-paper"))
TestExpertsOnASerialBlock = slow(choice(CAT_SEG, fusion="experts"))  # PCA-Seg, Table 5b
TestConcatenation = slow(choice(fusion="concatenation"))  # PCA-Seg, Table 5a, baseline
TestOneExpert = slow(choice(fusion="single"))  # PCA-Seg, Table 5e, first row
TestConvolvedExperts = slow(choice(fusion="convolution"))
TestAveragedExperts = slow(choice(fusion="average"))
TestAddedExperts = slow(choice(fusion="addition"))
# softmax attention and no pads: see the variants in test_released_golden.py


class WithoutTaps:
    """What looks at no tap has no use for the parts of the tower that only taps see."""

    finer = 1

    def unused(self, network: nn.Module) -> set[str]:
        return {name for name, _ in network.named_parameters() if ".fine." in name}


class TestNoUpsampling(WithoutTaps, AggregationContract):
    """CAT-Seg, Table 10, first row."""

    build = staticmethod(lambda: small(CAT_SEG, decoder="none", blocks=1))


class TestCostBaseline(SelectionContract):
    """CAT-Seg, Table 7 (III, IV): no block."""

    build = staticmethod(lambda: small(CAT_SEG, blocks=0))

    def unused(self, network: nn.Module) -> set[str]:
        return {name for name, _ in network.named_parameters() if name.split(".")[1].endswith("guidance")}


class TestFeatureAggregation(SelectionContract):
    """CAT-Seg, Table 7 (I, II)."""

    build = staticmethod(lambda: small(CAT_SEG, aggregation="features"))

    def test_the_costs_are_not_used(self, built):
        """The logits depend on more than the cosines: a turn of both spaces changes them."""
        image, text = self.inputs(built)
        turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0)))[0]
        with torch.no_grad():
            features = built.image_encoder(image)
            turned = replace(features, maps=(torch.einsum("bchw,dc->bdhw", features.maps[0], turn),))
            plain, other = built.compared(features, text)[0], built.compared(turned, text @ turn.mT)[0]
            assert not torch.allclose(other, plain, atol=1e-3)


class TestThreeMapsWithoutAggregation(WithoutTaps, SelectionContract):
    """PCA-Seg, Table 3, first row, in the embedded model's shape."""

    def build(self) -> nn.Module:
        aggregation = build_aggregation(replace(PCA_SEG, kind="none", costs=3), ThreeMaps())
        return SegmentationNetwork(ThreeMaps(), text_tower("qv"), aggregation)

    def test_the_logits_are_the_weighted_sum_of_the_cosines(self, built):
        image, text = self.inputs(built)
        with torch.no_grad():
            maps = torch.stack(built.image_encoder(image).maps, dim=1)
            cosines = torch.einsum("bpchw,tc->bpthw", F.normalize(maps, dim=2), text[:, 0])
            skip = built.aggregation.skip
            expected = (cosines * skip.weight[:, None, None, None]).sum(1) + skip.bias
            assert_alike(built(image, text), expected)


def test_experts_go_with_a_fusion_that_has_some():
    for fusion in ("last", "single"):
        with pytest.raises(UsageError, match=f"experts=2 doesn't go with fusion={fusion}; add fusion=experts"):
            fusion_of(replace(PCA_SEG, fusion=fusion, experts=2))
    with pytest.raises(UsageError, match="experts=0"):
        replace(PCA_SEG, experts=0)


def test_a_line_in_the_table_of_fusions_is_all_that_a_new_one_needs(monkeypatch):
    monkeypatch.setitem(FUSIONS, "new", lambda config: LastStream())
    assert isinstance(small(fusion="new").aggregation.blocks[0].fuse, LastStream)
    with pytest.raises(UsageError, match=r"fusion=nothing is unknown; it is one of experts, .*, last, new"):
        small(fusion="nothing")
