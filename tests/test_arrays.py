"""NumPy arrays give what PyTorch's own functions give."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from segvoc.runtime import arrays

SIDE = st.integers(1, 70)


def _drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _rounding_of_places(maps: np.ndarray) -> float:
    """How far interpolations may be apart: in float32, places among n cells are off by n * 2^-24."""
    return 4 * max(maps.shape[2:]) * 2.0**-24 * float(np.ptp(maps)) + 2e-6


@given(cells=st.tuples(SIDE, SIDE), size=st.tuples(SIDE, SIDE), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_resized_is_pytorchs_interpolation(cells: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    maps = _drawn(2, 3, *cells, seed=seed)
    expected = F.interpolate(torch.from_numpy(maps), size=size, mode="bilinear")
    ours = arrays.bilinear(maps, size)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected.numpy(), rtol=0, atol=_rounding_of_places(maps))
    assert torch.equal(arrays.bilinear(torch.from_numpy(maps), size), expected)


@given(values=st.lists(st.lists(st.sampled_from([-1.0, 0.0, 2.0]), min_size=3, max_size=3), min_size=1, max_size=9))
def test_the_first_of_the_strongest_is_found(values: list[list[float]]) -> None:
    given_values = np.array(values, np.float32)
    value, index = arrays.strongest(given_values)
    assert np.array_equal(value, given_values.max(0)) and np.array_equal(index, given_values.argmax(0))
    for ours, theirs in zip((value, index), arrays.strongest(torch.from_numpy(given_values)), strict=True):
        assert np.array_equal(ours, arrays.to_numpy(theirs))


def test_unit_vectors_are_pytorchs() -> None:
    vectors = np.concatenate((_drawn(5, 7), np.zeros((1, 7), np.float32)))
    expected = F.normalize(torch.from_numpy(vectors), dim=-1)
    np.testing.assert_allclose(arrays.normalized(vectors), expected.numpy(), atol=1e-7)
    assert torch.equal(arrays.normalized(torch.from_numpy(vectors)), expected)
