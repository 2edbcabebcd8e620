"""What ERR-Seg's paper derives: the savings of Sec. 3.4.3, Eq. 6, and CAT-Seg's counts in Table 4."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.official.multiply_adds import multiply_adds_of
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.networks.err_seg import ErrAggregation, ErrAggregationConfig, ErrBlock
from tests.built import built


def attention_products(classes: int, **options: int) -> list[int]:
    """Multiply-adds of the products of attention in a block: of spatial and of class aggregation."""
    dim, cells, counts = 128, 8, []
    with torch.device("meta"):
        x, guidance = torch.empty(1, classes, cells, cells, dim), torch.empty(1, cells, cells, dim)
        for streams in ("spatial", "class"):
            block = ErrBlock(ErrAggregationConfig(streams=streams, **options), 0)
            with FlopCounterMode(display=False) as counter:
                block(x, guidance, torch.empty(1, classes, dim), AggregationContext())
            found = counter.get_flop_counts()["Global"]
            counts.append(sum(count for call, count in found.items() if "attention" in str(call) or "bmm" in str(call)))
    return counts


@pytest.mark.parametrize(("classes", "kept"), [(847, 48), (150, 32)])
def test_the_savings_of_section_3_4_3(classes: int, kept: int) -> None:
    before, after = attention_products(classes, ssr=1, csr=1), attention_products(kept, ssr=2, csr=2)
    spatial, semantic = (1 - less / more for less, more in zip(after, before, strict=True))
    assert spatial == pytest.approx(1 - kept / (2**2 * classes))
    assert semantic == pytest.approx(1 - (kept / (2 * classes)) ** 2)


def test_the_released_merging_of_costs_is_equation_6_with_other_weights():
    """S = conv(S3) + up(conv(S4)): each of its convolutions is one of the released ones, times half the 1 x 1 one."""
    torch.manual_seed(0)
    config = ErrAggregationConfig(embed_dim=16, dim=8, heads=2)
    module = ErrAggregation(config, channels=4, tap_channels=(4, 4, 4, 4)).double()
    costs = [torch.randn(1, 1, 3, side, side, dtype=torch.float64) for side in (8, 4)]
    with torch.no_grad():
        released = module._embedded(costs, (8, 8), AggregationContext())
        merge, paper = module.merge_costs, 0
        for embed, cost in zip(module.embed_costs, costs, strict=True):
            weight = 0.5 * torch.einsum("dc,cihw->dihw", merge.weight[:, :, 0, 0], embed.weight)
            bias = 0.5 * (merge.weight[:, :, 0, 0] @ embed.bias + merge.bias)
            embedded = F.conv2d(cost[0].transpose(0, 1), weight, bias, padding=3)
            paper = paper + F.interpolate(embedded, (8, 8), mode="bilinear")
    torch.testing.assert_close(released[0].permute(0, 3, 1, 2), paper, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("words", "printed"), [(847, 2154), (150, 1516)])
def test_table_4_counts_the_released_graph_of_cat_seg_in_five_views(words: int, printed: int) -> None:
    """Its class aggregation has 256 tokens in each of 24 x 24 cells; the rest of it repeats the guidance per class."""
    with torch.device("meta"):
        network: Any = built("cat-seg-b")
        view = multiply_adds_of(lambda: network.image_encoder(torch.empty(1, 3, 384, 384)))
    head, cells, kept = network.aggregation, 24**2, min(words, 256)

    def weights(*modules: nn.Module) -> int:
        return sum(value.numel() for module in modules for value in module.parameters() if value.ndim > 1)

    view += words * cells * 512 + kept * (cells * weights(head.embed_cost) + weights(head.text_guidance))
    view += cells * weights(head.guidance, head.decoder.lifts)
    for block in head.blocks:
        spatial = sum(weights(one.project, one.out, one.mlp) + 2 * 144 * 128 for one in block.spatial.blocks)
        view += cells * (kept * spatial + 256 * (weights(block.semantic.project, block.semantic.mlp) + 2 * 32 * 128))
    for stage, guidance in zip(head.decoder.stages, head.decoder.guidance, strict=True):
        view += cells * kept * weights(stage.upsample) + 4 * cells * weights(guidance)
        cells *= 4
        view += cells * kept * weights(stage.conv1, stage.conv2)
    view += cells * kept * weights(head.decoder.head)
    assert 5 * view / 1e9 == pytest.approx(printed, rel=0.02)
