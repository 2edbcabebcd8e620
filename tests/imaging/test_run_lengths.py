"""COCO's run lengths, against pycocotools."""

import numpy as np
import pytest
from pycocotools import mask

from segvoc.imaging.brush_masks import coco_masks


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (40, 61)])
@pytest.mark.parametrize("classes", [1, 3, 300])
def test_they_are_those_of_pycocotools(size, classes):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, classes, size).astype(np.uint16)
    noise[generator.random(size) < 0.2] = 65_535
    empty = np.full(size, 65_535, np.uint16)
    for labels in (noise, empty, np.zeros(size, np.uint16), np.repeat(noise[:, :1], size[1], 1)):
        found = list(coco_masks(labels, classes))
        assert len(found) == classes
        for label, one in enumerate(found):
            expected = mask.encode(np.asfortranarray(labels == label).astype(np.uint8, order="F"))
            assert one == {"size": list(size), "counts": expected["counts"].decode()}
