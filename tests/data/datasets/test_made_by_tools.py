"""Files that the tools themselves have written (`make_fixtures.py`) give the labels that were put into them."""

from pathlib import Path

import numpy as np
import pytest

import segvoc
from segvoc.imaging.label_maps import UNLABELED

FOLDER = Path(__file__).parent / "made_by_tools"


def drawn_labels() -> np.ndarray:
    """The labels of most of the datasets: a cat with a hole before a sofa."""
    labels = np.full((12, 16), UNLABELED, np.uint16)
    labels[6:11, 1:15] = 1
    labels[2:9, 4:12] = 0
    labels[4:6, 6:9] = UNLABELED
    return labels


def _read(name: str) -> tuple[tuple[str, ...], np.ndarray]:
    dataset = segvoc.read_dataset(FOLDER / name)
    assert len(dataset) == 1
    return dataset.vocabulary.words, dataset.read(0).labels


@pytest.mark.parametrize("name", ["datumaro-coco-instances", "datumaro-coco-panoptic", "label-studio"])
def test_masks(name: str) -> None:
    words, labels = _read(name)
    assert words == ("cat", "sofa")
    np.testing.assert_array_equal(labels, drawn_labels())


def test_voc() -> None:
    """Datumaro writes unlabeled pixels as background, and a label map without colors."""
    words, labels = _read("datumaro-voc")
    assert words == ("background", "cat", "sofa")
    np.testing.assert_array_equal(labels, np.where(drawn_labels() == UNLABELED, 0, drawn_labels() + 1))


def test_cvat() -> None:
    words, labels = _read("datumaro-cvat")
    assert words == ("cat", "sofa")
    expected = np.full((12, 16), UNLABELED)
    expected[3:8, 2:9] = 0
    np.testing.assert_array_equal(labels, expected)


def test_labelme() -> None:
    """Polygons, rectangles and circles as LabelMe draws them, but without the half pixel that it adds around them."""
    words, labels = _read("labelme")
    assert words == ("cat", "sofa")
    own = np.load(FOLDER / "labelme.npy").astype(int)
    assert (labels != np.where(own < 0, UNLABELED, own)).sum() == 21
    assert (own[labels != UNLABELED] >= 0).all()
