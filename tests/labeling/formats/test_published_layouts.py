"""Published datasets as they are downloaded, folders of masks, and files of tools: found, read, refused if damaged."""

from pathlib import Path

import numpy as np
import pytest

import segvoc
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.opening import dataset_format
from tests.images import one_line_error
from tests.labeling.formats.published_layouts import LAYOUTS, photo, turn, values


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path: Path, name: str) -> None:
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    start = tmp_path / layout.start
    assert dataset_format(start).name == layout.format
    if layout.split is not None and layout.split != "test":
        for split, told in ((None, "choose one with --split"), ("nowhere", "has no set 'nowhere'")):
            with pytest.raises(UsageError, match=told):
                segvoc.read_dataset(start, split=split)
    dataset = segvoc.read_dataset(start, split=layout.split)
    words = dataset.vocabulary.words
    assert len(dataset) == 1 and len(words) == layout.words and dataset.background is None
    image, labels = dataset.read(0)
    expected = values(words.index(layout.square), words.index(layout.rest), UNLABELED, np.uint16)
    np.testing.assert_array_equal(labels, expected)
    objects = dataset.read_objects(0, image.shape[:2])
    assert (None if objects is None else len(np.unique(objects)) - 1) == layout.objects
    for path in (*tmp_path.rglob("*.png"), *tmp_path.rglob("*.jpg")):
        turn(path)
    turned = segvoc.read_dataset(start, split=layout.split)
    np.testing.assert_array_equal(turned.read(0).labels, expected)
    np.testing.assert_array_equal(turned.read_objects(0, image.shape[:2]), objects)


def test_the_wrong_folder_is_answered_with_the_right_one(tmp_path: Path) -> None:
    root = tmp_path / "data/ADEChallengeData2016"
    LAYOUTS["ade20k"].write(root)
    for wrong in (tmp_path, tmp_path / "data", root / "images", root / "images/validation"):
        with one_line_error(UsageError, f"did you mean {str(root)!r}?"):
            segvoc.read_dataset(wrong)
    photo(tmp_path / "alone/photo.jpg")
    with one_line_error(UsageError, "it has images without labels"):
        dataset_format(tmp_path / "alone")
    for name in ("images", "masks"):
        photo(tmp_path / f"pair/{name}/photo.png")
    with one_line_error(UsageError, "has no class table; write classes.txt"):
        segvoc.read_dataset(tmp_path / "pair", "masks")


# ---- files that tools have written


FOLDER = Path(__file__).parent / "made_by_tools"
"""Datasets of `drawn_labels` by datumaro 1.13.12, labelme 6.3.1 and label-studio-sdk 2.1.2 themselves."""


def drawn_labels() -> np.ndarray:
    """A cat with a hole before a sofa."""
    labels = np.full((12, 16), UNLABELED, np.uint16)
    labels[6:11, 1:15] = 1
    labels[2:9, 4:12] = 0
    labels[4:6, 6:9] = UNLABELED
    return labels


def square() -> np.ndarray:
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
        ("datumaro-cvat", ("cat", "sofa"), square()),
    ],
)
def test_files_of_tools_have_the_labels_that_were_put_into_them(name, words, expected):
    dataset = segvoc.read_dataset(FOLDER / name)
    assert len(dataset) == 1 and dataset.vocabulary.words == words
    np.testing.assert_array_equal(dataset.read(0).labels, expected)


def test_shapes_of_labelme_are_drawn_without_the_half_pixel_that_it_adds_around_them() -> None:
    labels = segvoc.read_dataset(FOLDER / "labelme").read(0).labels
    own = np.load(FOLDER / "labelme.npy").astype(int)
    assert (labels != np.where(own < 0, UNLABELED, own)).sum() == 21
    assert (own[labels != UNLABELED] >= 0).all()
