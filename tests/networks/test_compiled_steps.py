"""Training steps of compiled aggregations: `torch.compile` with ahead-of-time autograd, in a process of its own.

In the tests' own process every annotation is checked by code that the compiler can't see through.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from segvoc.layers.aggregation import ClassAggregation, DecoderSizes
from segvoc.layers.aggregation_context import AggregationContext
from segvoc.networks.base import CostAggregation
from segvoc.networks.cat_seg import CAT_SEG
from segvoc.networks.pca_seg import PCA_SEG

CONTEXT = AggregationContext()
DECODER = DecoderSizes(taps=(16, 8), guidance=(8, 8), stages=(32, 16))


def class_step() -> tuple[nn.Module, Callable[[], Tensor]]:
    layer = ClassAggregation(dim=16, guidance_dim=8, heads=2, pad_classes=5)
    x, text = torch.randn(2, 3, 6, 6, 16, requires_grad=True), torch.randn(2, 3, 8)
    return layer, lambda: layer(x, text, layer.summarize(x, text, CONTEXT), CONTEXT.pooling)


def network_step(name: str) -> tuple[nn.Module, Callable[[], Tensor]]:
    released = {"pca-seg": PCA_SEG, "cat-seg": CAT_SEG}[name]
    config = replace(released, blocks=1, dim=32, guidance_dim=16, heads=2, window=4, decoder_sizes=DECODER)
    whole = CostAggregation(config, 24, (40, 40))
    maps, text = (torch.randn(2, 24, 6, 6),), torch.randn(2, 3, 1, 24)
    guidance = (torch.randn(2, 24, 6, 6), torch.randn(2, 40, 6, 6), torch.randn(2, 40, 6, 6))
    return whole, lambda: whole(maps, text, guidance, CONTEXT)[0]


def check(name: str) -> None:
    """Forward and backward must be those of the plain module."""
    torch.manual_seed(0)
    module, forward = class_step() if name == "class" else network_step(name)
    steps = []
    for run in (forward, torch.compile(forward, backend="aot_eager", fullgraph=True)):
        module.zero_grad()
        output = run()
        output.square().mean().backward()
        steps.append({"output": output.detach()} | {n: p.grad for n, p in module.named_parameters()})
    assert len(steps[0]) > 10
    for name, expected in steps[0].items():
        torch.testing.assert_close(steps[1][name], expected, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["class", "pca-seg", "cat-seg"])
def test_a_compiled_step_is_the_plain_one(name: str, pytestconfig: pytest.Config) -> None:
    subprocess.run([sys.executable, "-m", __name__, name], check=True, cwd=pytestconfig.rootpath)


if __name__ == "__main__":
    check(sys.argv[1])
