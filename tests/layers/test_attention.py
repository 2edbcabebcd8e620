"""Attention as matrix products: it gives what PyTorch's fused kernel gives, also where exponentials overflow."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.layers import attention as module
from segvoc.layers.attention import softmax_attention, unfuse_attention


@pytest.fixture(params=["products", "fused", "products in pieces"], autouse=True)
def engine(request, monkeypatch) -> str:
    by_products = request.param != "fused"
    monkeypatch.setattr(module, "_products_are_faster", lambda x: by_products)
    monkeypatch.setattr(module, "is_fused", lambda x: True)
    if request.param == "products in pieces":
        monkeypatch.setattr(module, "_LOGITS", 2 * 9 * 7)  # two of eight heads
    return request.param


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    sizes = ((2, 4, 9, 16), (2, 4, 7, 16), (2, 4, 7, 5))
    q, k, v = (torch.randn(one, dtype=torch.bfloat16) for one in sizes)
    return q, k, v


def exact(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q.double(), k.double(), v.double(), mask)


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == torch.bfloat16
    assert found.shape == expected.shape
    assert (found.double() - expected).abs().max() <= 0.02 * expected.abs().max()


def test_it_is_softmax_attention():
    q, k, v = drawn()
    assert_near(softmax_attention(q, k, v), exact(q, k, v))


def test_keys_may_be_masked_for_each_sequence():
    q, k, v = drawn()
    seen = torch.rand(2, 1, 9, 7) > 0.4
    seen[..., 0] = True
    mask = torch.where(seen, 0, torch.finfo(torch.bfloat16).min)
    assert_near(softmax_attention(q, k, v, mask.bfloat16()), exact(q, k, v, mask.double()))


def test_views_of_packed_projections_are_taken():
    packed = torch.randn(3, 10, 3 * 4 * 8, dtype=torch.bfloat16)
    q, k, v = (part.unflatten(-1, (4, 8)).transpose(1, 2) for part in packed.chunk(3, dim=-1))
    assert_near(softmax_attention(q, k, v), exact(q, k, v))


@pytest.mark.parametrize("size", [100, -100])
def test_logits_whose_exponentials_overflow_or_vanish(size: float):
    """All logits of the first query are at least 100 away from zero, on the same side."""
    q, k, v = drawn()
    k[0, 0] = k[0, 0, :1] + k[0, 0] / 64
    q[0, 0, 0] = size * 16**0.5 * k[0, 0, 0] / k[0, 0, 0].square().sum()
    logits = (q[0, 0, 0] @ k[0, 0].mT) / 4
    assert (logits * (1 if size > 0 else -1)).min() > 90
    found = softmax_attention(q, k, v)
    assert found.isfinite().all()
    # logits of 100 are 0.5 apart in bfloat16, which the fused kernel doesn't round them to
    assert_near(found, exact(q, k, v))


def test_nothing_finite_is_made_of_what_is_not():
    q, k, v = drawn()
    q[1, 2, 3, 4] = torch.nan
    assert softmax_attention(q, k, v)[1, 2, 3].isnan().all()


def test_modules_of_timm_are_switched_by_what_is_faster(engine):
    class Attention(nn.Linear):
        fused_attn = True

    network = nn.Sequential(Attention(2, 2), nn.Linear(2, 2))
    unfuse_attention(network)
    assert network[0].fused_attn == (engine == "fused")
    assert not hasattr(network[1], "fused_attn")
