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


def _square() -> np.ndarray:
    labels = np.full((12, 16), UNLABELED, np.uint16)
    labels[3:8, 2:9] = 0
    return labels


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("datumaro-coco-instances", ("cat", "sofa"), drawn_labels()),
        ("datumaro-coco-panoptic", ("cat", "sofa"), drawn_labels()),
        ("label-studio", ("cat", "sofa"), drawn_labels()),
        # Datumaro writes unlabeled pixels as background, and a label map without colors
        ("datumaro-voc", ("background", "cat", "sofa"), drawn_labels() + np.uint16(1)),
        ("datumaro-cvat", ("cat", "sofa"), _square()),
    ],
)
def test_labels(name: str, words: tuple[str, ...], expected: np.ndarray) -> None:
    dataset = segvoc.read_dataset(FOLDER / name)
    assert len(dataset) == 1 and dataset.vocabulary.words == words
    np.testing.assert_array_equal(dataset.read(0).labels, expected)


def test_labelme() -> None:
    """Polygons, rectangles and circles as LabelMe draws them, but without the half pixel that it adds around them."""
    labels = segvoc.read_dataset(FOLDER / "labelme").read(0).labels
    own = np.load(FOLDER / "labelme.npy").astype(int)
    assert (labels != np.where(own < 0, UNLABELED, own)).sum() == 21
    assert (own[labels != UNLABELED] >= 0).all()
