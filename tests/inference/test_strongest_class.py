"""The strongest class of every pixel: exactly that of the interpolated maps."""

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from segvoc.inference.strongest_class import StrongestClass, mean_weights


def _strongest(maps: Any, size: tuple[int, int], chunk: int | None = None) -> StrongestClass:
    best, chunk = StrongestClass(*size, maps), chunk or len(maps)
    indices = np.arange(len(maps)) if isinstance(maps, np.ndarray) else torch.arange(len(maps))
    for start in range(0, len(maps), chunk):
        best.update(maps[start : start + chunk], indices[start : start + chunk])
    return best


def _check(maps: Tensor, size: tuple[int, int], chunk: int | None = None) -> None:
    """Values and indices are those of whole maps but for rounding, with tensors and with NumPy arrays."""
    full = F.interpolate(maps.double()[None], size=size, mode="bilinear")[0]
    for some in (maps, maps.numpy()):
        best = _strongest(some, size, chunk)
        assert type(best.value) is type(some) and np.asarray(best.value).dtype == np.float32
        value, index = torch.as_tensor(best.value), torch.as_tensor(best.index)
        assert (value - full.amax(0)).abs().max() <= 1e-6
        assert (full.amax(0) - full.gather(0, index[None])[0]).max() <= 1e-5


@given(
    classes=st.integers(1, 40),
    cells=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 60)),
    chunk=st.integers(1, 40),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_is_that_of_the_interpolated_maps(classes, cells, size, chunk, seed):
    _check(torch.rand((classes, *cells), generator=torch.Generator().manual_seed(seed)) * 4 - 2, size, chunk)


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=12), st.integers(1, 12))
@settings(deadline=None)
def test_equal_classes_go_to_the_lower_index(levels: list[float], chunk: int) -> None:
    maps = torch.tensor(levels)[:, None, None].expand(-1, 3, 4)
    best = _strongest(maps, (7, 9), chunk)
    assert (best.index == levels.index(max(levels))).all()
    assert (best.value == max(levels)).all()


def test_memory_does_not_hold_all_classes_at_image_size():
    # 20,000 classes at 600 x 600 pixels would be 29 GB
    maps = torch.rand(20_000, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[12_345] += 1
    assert (_strongest(maps, (600, 600)).index == 12_345).all()


@given(
    cells=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_mean_over_a_region_is_that_of_the_interpolated_map(cells, size, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(3, *cells, generator=generator)
    region = torch.rand(size, generator=generator) < 0.3
    region[0, 0] = True
    means = (maps * mean_weights(region, *cells)).sum((1, 2))
    full = F.interpolate(maps[None], size=size, mode="bilinear")[0]
    torch.testing.assert_close(means, full[:, region].mean(1), atol=1e-5, rtol=1e-5)
