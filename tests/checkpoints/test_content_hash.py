"""Digests of weights tell them apart, to the last bit."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segvoc.checkpoints.origins import content_hash


def test_digest_repeats() -> None:
    modules = []
    for _ in range(2):
        torch.manual_seed(0)
        modules.append(nn.Linear(7, 9))
    assert content_hash(modules[0]) == content_hash(modules[0]) == content_hash(modules[1])


@given(
    shape=st.lists(st.integers(1, 40), min_size=0, max_size=3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool]),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_digest_sees_a_change_of_any_value(shape: list[int], dtype: torch.dtype, data: st.DataObject) -> None:
    module = nn.Module()
    module.register_buffer("other", torch.arange(3))
    module.register_buffer("values", torch.rand(shape).mul(100).to(dtype))
    before = content_hash(module)
    flat = module.get_buffer("values").view(-1)
    place = data.draw(st.integers(0, flat.numel() - 1))
    flat[place] = ~flat[place] if dtype == torch.bool else flat[place] * 1.02 + 1
    assert content_hash(module) != before


def test_digest_is_the_same_on_every_gpu() -> None:
    """By it the processes of a run find each other's files."""

    def digest(device: str) -> str:
        placed = type("Placed", (torch.Tensor,), {"device": torch.device(device)})
        module = nn.Module()
        module.register_buffer("values", torch.arange(3).as_subclass(placed))
        return content_hash(module)

    assert digest("cuda:0") == digest("cuda:1") != digest("cpu")


def test_digest_sees_names_types_and_shapes() -> None:
    seen = set()
    for name, shape, dtype in (("a", (4, 2), torch.int32), ("b", (4, 2), torch.int32), ("a", (2, 4), torch.int32)):
        module = nn.Module()
        module.register_buffer(name, torch.zeros(shape, dtype=dtype))
        seen.add(content_hash(module))
    assert len(seen) == 3
