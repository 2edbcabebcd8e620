"""The strongest class of every pixel: exactly that of the interpolated maps."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from segvoc.inference.strongest_class import StrongestClass, mean_weights


def _strongest(maps: Tensor, size: tuple[int, int], chunk: int | None = None) -> StrongestClass:
    best = StrongestClass(*size, maps)
    indices = torch.arange(len(maps))
    for part, names in zip(maps.split(chunk or len(maps)), indices.split(chunk or len(maps)), strict=True):
        best.update(part, names)
    return best


def _check(maps: Tensor, size: tuple[int, int], chunk: int | None = None) -> None:
    best = _strongest(maps, size, chunk)
    full = F.interpolate(maps.double()[None], size=size, mode="bilinear")[0]
    value, index = full.max(0)
    assert (best.value - value).abs().max() <= 1e-6
    # where two classes are equal but for rounding, either is the strongest
    two = full.topk(min(2, len(full)), dim=0).values
    clear = two[0] - two[-1] > 1e-5 if len(full) > 1 else torch.ones(size, dtype=torch.bool)
    assert torch.equal(best.index[clear], index[clear])
    chosen = full.gather(0, best.index[None])[0]
    assert (value - chosen).max() <= 1e-5
    _check_numpy(maps, best)


def _check_numpy(maps: Tensor, best: StrongestClass) -> None:
    """NumPy arrays give the same, but for rounding."""
    same = StrongestClass(*best.value.shape, maps.numpy())
    same.update(maps.numpy(), np.arange(len(maps)))
    assert isinstance(same.value, np.ndarray) and same.value.dtype == np.float32
    value, index = torch.from_numpy(same.value), torch.from_numpy(same.index)
    assert (value - best.value).abs().max() <= 1e-6
    full = F.interpolate(maps.double()[None], size=best.value.shape, mode="bilinear")[0]
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
