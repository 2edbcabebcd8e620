import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.data.labeled_images import LabeledImage, LabeledImages
from segvoc.errors import InputError, UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.vocabulary import Vocabulary
from tests.images import one_line_error
from tests.labeling.formats.published_layouts import turn


@pytest.fixture
def folders(tmp_path):
    """Two images, one of them in a sub-folder, with 8-bit and 16-bit label maps of three classes."""
    (tmp_path / "images/sub").mkdir(parents=True)
    (tmp_path / "labels/sub").mkdir(parents=True)
    for stem in ("a", "sub/b"):
        Image.new("RGB", (4, 3), (200, 10, 10)).save(tmp_path / f"images/{stem}.jpg")
    Image.fromarray(np.array([[0, 1, 2, 255]] * 3, np.uint8)).save(tmp_path / "labels/a.png")
    Image.fromarray(np.array([[0, 1, 2, 65535]] * 3, np.uint16)).save(tmp_path / "labels/sub/b.tif")
    (tmp_path / "classes.json").write_text(json.dumps(["cat", "sofa, couch", "none"]))
    return tmp_path


def read(folders, **options):
    return LabeledImages.from_folders(folders / "images", folders / "labels", folders / "classes.json", **options)


def test_pairs_images_with_label_maps_of_8_and_16_bits(folders):
    (folders / "images/._a.jpg").write_bytes(b"\0\5\x16\7")  # a hidden file of macOS
    pairs = read(folders, background="none")
    assert pairs.background == "none"
    assert [pair.stem for pair in pairs.images] == ["a", "sub/b"]
    assert pairs.vocabulary.words == ("cat", "sofa, couch", "none") and pairs.read_objects(0, (3, 4)) is None
    for image, labels in pairs:
        assert image.shape == (3, 4, 3) and labels.tolist() == [[0, 1, 2, 65535]] * 3


@pytest.mark.parametrize(
    ("label", "match"),
    [
        (np.zeros((4, 4), np.uint8), r"a\.png' is 4 x 4 pixels, but its image .*a\.jpg' is 4 x 3"),
        (np.full((3, 4), 3, np.uint8), r"a\.png' contains the label 3, but there are 3 classes"),
        (np.arange(36, dtype=np.uint8).reshape(3, 4, 3), "a label map is a palette or gray PNG"),
    ],
)
def test_labels_that_do_not_fit_are_named(folders, label, match):
    Image.fromarray(label).save(folders / "labels/a.png")
    with pytest.raises(InputError, match=match):
        read(folders).read(0)


@pytest.mark.parametrize("name", ["images/a.jpg", "labels/a.png", "labels/sub/b.tif"])
def test_images_and_label_maps_are_read_upright(folders, name):
    plain = [tuple(pair) for pair in read(folders)]
    turn(folders / name)
    for (image, labels), (expected, others) in zip(read(folders), plain, strict=True):
        assert image.shape == expected.shape and (labels == others).all()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda root: [path.unlink() for path in (root / "images").rglob("*.jpg")], "has no images"),
        (lambda root: [path.unlink() for path in (root / "labels").rglob("*.*")], "no image in .* has a label map"),
        (lambda root: (root / "labels").rename(root / "elsewhere"), r"labels' does not exist"),
        (lambda root: (root / "images/a.png").write_bytes(b""), "would share a label map"),
        (lambda root: (root / "classes.json").write_text('{"cat": [1]}'), "'cat' is not an id"),
        (lambda root: (root / "classes.json").unlink(), "can't be read: No such file"),
    ],
)
def test_folders_that_can_not_be_used_are_refused_in_one_line(folders, damage, match):
    damage(folders)
    with one_line_error(UsageError, match=match):
        read(folders)


def test_the_background_is_one_of_the_classes_and_a_map_of_1_bit_a_label_map(folders):
    with pytest.raises(UsageError, match="'nothing' is not one of the classes"):
        read(folders, background="nothing")
    inside = np.array([[False] * 4, [True] * 4, [True] * 4])
    Image.fromarray(inside).save(folders / "labels/a.png")
    np.testing.assert_array_equal(read(folders).read(0).labels, inside.astype(np.uint16))


def test_classes_are_what_a_words_file_may_be(folders):
    """tests/data/test_class_files.py has lists and tables."""
    (folders / "classes.json").write_text('{"sofa": 1, "cat": 0}')
    found = read(folders)
    listed = LabeledImages.from_folders(folders / "images", folders / "labels", ["cat", "sofa"])
    assert found.vocabulary.words == listed.vocabulary.words == ("cat", "sofa")


def _set(name: str, *stems: str, words: tuple[str, ...] = ("cat", "dog"), **about) -> LabeledImages:
    images = (LabeledImage(image=Path(f"{stem}.jpg"), labels=Path(f"{stem}.png"), stem=stem, **about) for stem in stems)
    return LabeledImages(name=name, vocabulary=Vocabulary(words), images=tuple(images))


@pytest.mark.parametrize("names", [("val", "val", "val-2"), ("val-2", "val", "val"), ("a", "a", "a-2", "a-2", "a")])
def test_no_stem_is_twice_in_joined_sets(names):
    joined = LabeledImages.joined([_set(name, "a", "b") for name in names])
    stems = [image.stem for image in joined.images]
    assert len(set(stems)) == len(stems) == 2 * len(names)
    assert {f"{name}/a" for name in names} <= set(stems)


def test_joined_sets_have_one_list_of_classes():
    one = _set("one", "a", words=("cat", "dog"))
    two = _set("two", "b", words=("dog", "cow", "x"), new_labels=(2, 0, UNLABELED, 1))
    joined = LabeledImages.joined([one, two], rename={"x": "cow"}, drop=["dog"])
    assert joined.vocabulary.words == ("cat", "cow")
    assert [image.new_labels for image in joined.images] == [(0, UNLABELED), (1, UNLABELED, UNLABELED, 1)]


@pytest.mark.usefixtures("as_users_call")
def test_classes_to_drop_are_a_list_a_set_or_a_line():
    for drop in (["cat"], {"cat"}, "cat"):
        assert LabeledImages.joined([_set("one", "a")], drop=drop).vocabulary.words == ("dog",)
    with pytest.raises(UsageError, match="no class is called 'cow'"):
        LabeledImages.joined([_set("one", "a")], drop="cat, cow")


@pytest.mark.parametrize("name", ["a.TIFF", "a.jpg.PNG"])
def test_suffixes_of_label_maps_may_be_in_capitals(folders, name):
    (path,) = (folders / "labels").glob("a.*")
    with Image.open(path) as image:
        image.load()
    path.unlink()
    image.save(folders / "labels" / name, "PNG" if name.endswith("PNG") else "TIFF")
    assert read(folders).images[0].labels.name == name
    assert read(folders).read(0).labels.shape == read(folders).read(0).image.shape[:2]


def test_an_image_without_a_label_map_is_named_when_it_is_read(folders):
    (folders / "labels/a.png").unlink()
    Image.new("RGB", (4, 3)).save(folders / f"images/{250 * 'n'}.jpg")  # too long for the name of a map
    images = read(folders)
    for image, said in zip(images.images, (r"labels/a\.png' does not exist", "too long|does not exist"), strict=False):
        with pytest.raises(InputError, match=said):
            image.read(3)
    images.read(2)
