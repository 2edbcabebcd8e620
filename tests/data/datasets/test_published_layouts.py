"""Published datasets as they are downloaded, folders of masks, and files of tools: found, read, refused if damaged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import segvoc
from segvoc.data.datasets.opening import dataset_format
from segvoc.errors import InputError, UsageError
from segvoc.imaging.label_maps import UNLABELED
from tests.data.datasets.published_layouts import CAMVID, LAYOUTS, colored, photo, save, text, values
from tests.images import one_line_error


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path: Path, name: str) -> None:
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    start = tmp_path / layout.start
    assert dataset_format(start) == layout.format
    if layout.split is not None and layout.split != "test":
        with pytest.raises(UsageError, match="choose one with --split"):
            segvoc.read_dataset(start)
    dataset = segvoc.read_dataset(start, split=layout.split)
    words = dataset.vocabulary.words
    assert len(dataset) == 1 and len(words) == layout.words and dataset.background is None
    image, labels = dataset.read(0)
    expected = values(words.index(layout.square), words.index(layout.rest), UNLABELED, np.uint16)
    np.testing.assert_array_equal(labels, expected)
    objects = dataset.read_objects(0, image.shape[:2])
    assert (None if objects is None else len(np.unique(objects)) - 1) == layout.objects


def _moved(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / old).rename(folder / new)


def _gone(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink()

    return remove


def _text(name: str, content: object) -> Callable[[Path], None]:
    return lambda folder: text(folder / name, content)


_ONE_INDEX = _text("classes.json", [{"name": "car", "id": 1}, {"name": "road"}])
_BLUE = _text("classes.json", [{"name": "car", "color": "blue"}])
OF_ALL = [
    ("ade20k", "validation", _gone("annotations"), "has no folder annotations/training; unpack ADEChall"),
    ("ade20k", "validation", _gone("images"), "has no images: the folder"),
    ("ade20k", "validation", _text("objectInfo150.txt", "Idx\tName\nx\twall\n"), "'x' where a whole number"),
    ("colors", None, _text("classes.txt", "1 2 3 Car\n1 2 Road\n"), "the line '1 2 Road' isn't like the first"),
    ("colors", None, _text("classes.txt", "1 2 3 Car\n1 2 3 Road\n"), "two classes have the color 1, 2, 3"),
    ("colors", None, _text("classes.txt", "1 2 300 Car\n"), "the color 1, 2, 300 has a value above 255"),
    ("cityscapes", "test", lambda folder: None, "has no set 'test'; its sets are train, val"),
    ("stuff 164k", None, _gone("images"), "several sets"),
    ("indices", None, _text("classes.txt", "4 road\n4 car\n"), "two classes have the index 4"),
    ("indices", None, _text("classes.txt", "void\n"), "it has no class"),
    ("indices", None, _text("classes.txt", "4 road\n99999 car\n"), "the index 99999 is not from 0 to 65535"),
    ("indices", None, _moved("masks/sub/one.png", "masks/sub/other.png"), "no image in"),
    ("indices in CSV", None, _text("classes.csv", "id;name\n4;\n"), "the line '4, ' has no name"),
    ("objects", None, _ONE_INDEX, "'road' has no index, others"),
    ("objects", None, _BLUE, "entry 0 has no color of red"),
    ("objects", None, _text("classes.json", {"car": None}), "entry 0 has no name"),
    ("objects", None, _text("classes.json", ["car", 7]), "entry 1 is neither a name nor an object"),
    ("objects", None, _text("classes.json", "{"), "is damaged: it is not JSON"),
]


@pytest.mark.parametrize(("name", "split", "damage", "told"), OF_ALL)
def test_damage_to_the_whole(tmp_path, name, split, damage, told):
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    damage(tmp_path)
    with one_line_error(UsageError, told):
        segvoc.read_dataset(tmp_path / layout.start, layout.format, split=split)


def _map(name: str, pixels: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: save(folder / name, pixels)


MASK = "masks/sub/one.png"
ADE, CAMVID_MAP = "annotations/validation/ADE_val_00000001.png", "val_labels/0001TP_006690_L.png"
UNKNOWN_COLOR = colored((1, 2, 3), (0, 0, 0), (0, 0, 0))
OF_ONE = [
    ("ade20k", _map(ADE, values(151, 3, 0)), "undefined index 151"),
    ("camvid in CSV", _map(CAMVID_MAP, UNKNOWN_COLOR), "_L.png' has the undefined color 1, 2, 3 (#010203)"),
    ("camvid in CSV", _map(CAMVID_MAP, colored(**CAMVID)[:9]), "it is for 12 x 9 pixels, the image"),
    ("cityscapes", _map("gtFine/val/ulm/a_gtFine_labelIds.png", values(99, 7, 0)), "has the undefined index 99"),
    ("indices", _gone(MASK), "one.png' does not exist"),
    ("indices", _map(MASK, values(5, 4, 255)), "'one.png' has the undefined index 5"),
    ("indices", _map(MASK, UNKNOWN_COLOR), "but the class table has no colors"),
    ("indices", lambda folder: (folder / MASK).write_bytes(b"\x89PNG"), "one.png'"),
    ("colors", _map(MASK, np.dstack([*[values(0, 0, 0)] * 3, values(0, 255, 255)])), "has the mode RGBA"),
    ("indices", _gone("images/sub/one.jpg"), "one.jpg' does not exist"),
]


@pytest.mark.parametrize(("name", "damage", "told"), OF_ONE)
def test_damage_to_one_image_leaves_the_others(tmp_path, name, damage, told):
    layout = LAYOUTS[name]
    layout.write(tmp_path)
    several = layout.format == "masks" and layout.split is None
    if several:
        photo(tmp_path / "images/two.jpg")
        shutil.copy(tmp_path / MASK, tmp_path / "masks/two.png")
    damage(tmp_path)
    dataset = segvoc.read_dataset(tmp_path, layout.format, split=layout.split)
    with one_line_error(InputError, told):
        dataset.read(0)
    if several:
        assert len(dataset) == 2
        dataset.read(1)


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
