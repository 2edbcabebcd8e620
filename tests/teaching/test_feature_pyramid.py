"""The small network of tuned words, on NumPy arrays and on tensors."""

import numpy as np
import pytest
import torch

from segvoc.teaching.features import FeaturePyramid, pyramid_shapes


@pytest.fixture
def pyramid() -> FeaturePyramid:
    random = np.random.default_rng(0)
    shapes = pyramid_shapes(16, 20, 12)
    return FeaturePyramid(**{name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()})


def test_arrays_and_tensors_agree(pyramid):
    random = np.random.default_rng(1)
    maps = [random.standard_normal(shape, np.float32) for shape in ((2, 20, 5, 7), (2, 8, 10, 14), (2, 4, 20, 28))]
    found = pyramid(maps)
    tensors = [torch.from_numpy(one) for one in maps]
    assert found.shape == (2, 16, 10, 14)
    assert np.allclose(found, pyramid.beside(tensors[0])(tensors).numpy(), atol=1e-3)


def test_finer_maps_and_surroundings_matter(pyramid):
    maps = [np.zeros((1, 20, 6, 6), np.float32), np.zeros((1, 12, 12, 12), np.float32)]
    before = pyramid(maps)
    maps[1][0, :, 0, 0] = 3
    assert np.abs(pyramid(maps) - before)[:, :, :2, :2].max() > 0.01
    maps[1][:] = 0
    maps[0][0, :, 0, 0] = 3
    assert np.abs(pyramid(maps) - before)[:, :, 8:, 8:].max() > 0.01  # seven coarse cells away
    assert pyramid([maps[0]]).shape == before.shape  # an encoder without finer maps
