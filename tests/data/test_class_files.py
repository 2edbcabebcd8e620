"""Files of classes mean the same as a dataset's table, beside folders of images and label maps, and as words."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.data.labeled_images import LabeledImages
from segvoc.imaging.label_maps import UNLABELED
from tests.images import made_photograph, one_line_error

VALUES = np.repeat(np.arange(3, dtype=np.uint8), 10)[None].repeat(16, axis=0)
"""A map with the values 0, 1 and 2."""

WITH_INDICES = {
    "before": "1 sky\n0 mountain\n2 lake\n",
    "before, with punctuation": "2: lake\n1: sky\n0: mountain\n",
    "after": "sky 1\nmountain 0\nlake 2\n",
    "after, with punctuation": "sky;1\nmountain;0\nlake;2\n",
    "none": "mountain\nsky\nlake\n",
    "comments and empty lines": "# id name\n1 sky\n\n0 mountain\n2 lake\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, pixels in {"images/a.png": made_photograph(*VALUES.shape[::-1]), "masks/a.png": VALUES}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def names(images: LabeledImages) -> list[str | None]:
    """The class of each value of the map."""
    labels = images.read(0).labels[0, ::10].tolist()
    return [None if label == UNLABELED else images.vocabulary.words[label] for label in labels]


def by_each_door(folder: Path, text: str) -> list[list[str | None]]:
    (folder / "classes.txt").write_text(text, encoding="utf-8")
    beside = LabeledImages.from_folders(folder / "images", folder / "masks", folder / "classes.txt")
    return [names(segvoc.read_dataset(folder)), names(beside)]


@pytest.mark.parametrize("text", WITH_INDICES.values(), ids=WITH_INDICES)
def test_indices_mean_the_same_everywhere(folder: Path, text: str) -> None:
    assert by_each_door(folder, text) == [["mountain", "sky", "lake"]] * 2
    assert segvoc.Vocabulary.read(folder / "classes.txt").words == ("mountain", "sky", "lake")


def test_comments_are_no_classes_anywhere(folder: Path) -> None:
    assert by_each_door(folder, "# from top to bottom\nmountain\nsky\nlake\n") == [["mountain", "sky", "lake"]] * 2


def test_classes_called_unlabeled_are_so_everywhere(folder: Path) -> None:
    assert by_each_door(folder, "mountain\nVoid\nlake\n") == [["mountain", None, "lake"]] * 2


@pytest.mark.parametrize(
    "text", ["boeing 747\nairbus 380\ntarmac\n", "boeing 747\nairbus 380\nfokker 100\n", "room 0\nroom 1\nroom 2\n"]
)
def test_names_that_end_with_numbers_are_names(folder: Path, text: str) -> None:
    assert by_each_door(folder, text) == [text.splitlines()] * 2


@pytest.mark.parametrize("text", ['["mountain", "sky", "lake"]', '{"0": "mountain",\n "1": "sky",\n "2": "lake"}\n'])
def test_json_in_a_text_file_is_no_name(folder: Path, text: str) -> None:
    (folder / "classes.txt").write_text(text, encoding="utf-8")
    with one_line_error(segvoc.UsageError, "classes.txt", "is JSON; end its name with .json"):
        LabeledImages.from_folders(folder / "images", folder / "masks", folder / "classes.txt")
    with one_line_error(segvoc.UsageError, "classes.txt", "is JSON"):
        segvoc.Vocabulary.read(folder / "classes.txt")


@pytest.mark.parametrize(
    "text", ["mountain:128,0,0::\nsky:0,128,0::\nlake:0,0,128::\n", "128,0,0 mountain\n0,128,0 sky\n0,0,128 lake\n"]
)
def test_colors_are_read_with_color_masks_alone(folder: Path, text: str) -> None:
    (folder / "classes.txt").write_text(text, encoding="utf-8")
    colors = np.zeros((*VALUES.shape, 3), np.uint8)
    for value in range(3):
        colors[VALUES == value, value] = 128
    Image.fromarray(colors).save(folder / "masks/a.png")
    assert names(segvoc.read_dataset(folder)) == ["mountain", "sky", "lake"]
    with one_line_error(segvoc.UsageError, "classes.txt", "has colors", "--dataset"):
        LabeledImages.from_folders(folder / "images", folder / "masks", folder / "classes.txt")
    with one_line_error(segvoc.UsageError, "classes.txt", "has colors"):
        segvoc.Vocabulary.read(folder / "classes.txt")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 mountain\n3 sky\n", "has no class 0"),
        ("0 mountain\n0 sky\n", "has no class 1"),
        ("mountain\n\nsky\n", "line 2"),
    ],
)
def test_gaps_are_refused(folder: Path, text: str, problem: str) -> None:
    (folder / "classes.txt").write_text(text, encoding="utf-8")
    with one_line_error(segvoc.UsageError, "classes.txt", problem):
        LabeledImages.from_folders(folder / "images", folder / "masks", folder / "classes.txt")


def test_an_empty_line_would_move_the_classes_of_a_dataset(folder: Path) -> None:
    (folder / "classes.txt").write_text("mountain\n\nsky\n", encoding="utf-8")
    with one_line_error(segvoc.UsageError, "classes.txt", "line 2 is empty"):
        segvoc.read_dataset(folder)


def test_words_that_begin_with_numbers_are_not_taken_for_ids(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("2 dogs\n3 cats\n", encoding="utf-8")
    with one_line_error(segvoc.UsageError, "words.txt", "begin with numbers", "JSON"):
        segvoc.Vocabulary.read(tmp_path / "words.txt")
    (tmp_path / "words.json").write_text('["2 dogs", "3 cats"]', encoding="utf-8")
    assert segvoc.Vocabulary.read(tmp_path / "words.json").words == ("2 dogs", "3 cats")


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes("cup\nsaucer\n".encode("utf-16-le"))
    with one_line_error(segvoc.UsageError, "null character", "UTF-8"):
        segvoc.Vocabulary.read(tmp_path / "words.txt")
