"""Batch norm over chunks against PyTorch's own over all at once."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from segvoc.layers.aggregation_context import AggregationContext
from segvoc.layers.batch_statistics import ClassBatchNorm, batch_moments
from segvoc.networks.pca_seg import ExpertParser


@pytest.mark.parametrize("sizes", [(7,), (3, 4), (1, 1, 5)])
def test_moments_and_running_statistics_are_those_of_all_chunks(sizes):
    torch.manual_seed(0)
    linear, norm, own = nn.Linear(6, 10).double(), ClassBatchNorm(10).double(), nn.BatchNorm2d(10).double()
    x = torch.randn(2, 7, 3, 4, 6).double()
    for _ in range(2):
        chunks = [(part,) for part in x.split(sizes, dim=1)]
        moments = batch_moments(
            [SimpleNamespace(expand=linear, norm=norm)], lambda x: x, chunks, AggregationContext().over
        )[0]
        y = linear(x).flatten(0, 1).permute(0, 3, 1, 2)
        own(y)
    torch.testing.assert_close(moments[0], y.mean((0, 2, 3)))
    torch.testing.assert_close(moments[1], y.var((0, 2, 3), unbiased=False))
    assert norm.state_dict().keys() == own.state_dict().keys()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)


def test_in_training_the_norm_is_pytorchs_and_so_are_its_gradients():
    torch.manual_seed(0)
    parser, both = ExpertParser(8, 3, nn.GELU()).double().train(), torch.randn(2, 3, 4, 5, 16).double()
    gradients = []
    for ours in (True, False):
        parser.zero_grad()
        leaf = both.clone().requires_grad_(True)
        if ours:
            y = parser(leaf)
        else:
            maps = 0
            for half in parser.halves:
                norm = nn.BatchNorm2d(24).double()
                norm.weight, norm.bias = half.norm.weight, half.norm.bias
                hidden = norm(half.expand(leaf).flatten(0, 1).permute(0, 3, 1, 2))
                maps = maps + half.contract(nn.functional.gelu(hidden))
            y = nn.functional.gelu(maps).unflatten(1, (3, 8)).permute(0, 3, 4, 1, 2).unflatten(0, (2, 3))
        y.pow(3).sum().backward()
        gradients.append([y.detach(), leaf.grad, *(p.grad for p in parser.parameters())])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)
