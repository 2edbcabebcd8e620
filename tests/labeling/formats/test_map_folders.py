"""Published datasets as they are downloaded, folders of masks, VOC, and files of tools: found, read, refused."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.formats.opening import dataset_format
from tests.images import one_line_error
from tests.labeling.formats.exports import HEIGHT, WIDTH, full, image, pixels, refused, write
from tests.labeling.formats.published_layouts import LAYOUTS, photo, save, turn, values


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
    (tmp_path / "annotations.xml").write_text("<annotations/>")
    with one_line_error(UsageError, f"did you mean {str(tmp_path)!r}?"):
        dataset_format(tmp_path / "alone")
    tmp_path.chmod(0o1777)  # as /tmp, where such a file is anybody's
    with one_line_error(UsageError, "it has images without labels"):
        dataset_format(tmp_path / "alone")
    for name in ("images", "masks"):
        photo(tmp_path / f"pair/{name}/photo.png")
    with one_line_error(UsageError, "has no class table; write classes.txt"):
        segvoc.read_dataset(tmp_path / "pair", "masks")


# ---- masks


def test_masks_named_after_the_whole_file(tmp_path: Path) -> None:
    identities = set[str]()
    for name, value in (("a.jpg", 1), ("b.jpg", 1), ("b.png", 0)):
        image(tmp_path / "images" / name)
        save(tmp_path / f"masks/{name}.png", full(value))
    for table, count in (("1 background\n0 object\n", 2400), ("background\nobject\n", 1200)):
        write(tmp_path / "classes.txt", table)
        assert pixels(tmp_path)[0] == {"background": count, "object": 3600 - count}
        identities.add(segvoc.read_dataset(tmp_path).images[0].identity)
    assert len(identities) == 2  # an evaluation isn't resumed with another table
    write(tmp_path / "names.json", ["background", "object"])
    (tmp_path / "images/b.png").unlink()
    own = segvoc.LabeledImages.from_folders(tmp_path / "images", tmp_path / "masks", tmp_path / "names.json")
    assert [int(own.read(index).labels.sum()) for index in range(2)] == [1200, 1200]


def halves(folder: Path, photo: str, mask: str, table: str = "background\ncat\n", *, colors: bool = False) -> None:
    """An image and a mask whose upper two thirds are of class 0, the rest of class 1, with a table of the classes."""
    image(folder / photo)
    values = full(0)
    values[20:] = 1
    save(folder / mask, np.array([(0, 0, 0), (250, 50, 83)], np.uint8)[values] if colors else values)
    write(folder / "classes.txt", table)


def test_masks_are_paired_in_the_other_encoding_and_without_what_a_storage_adds(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    halves(tmp_path, f"images/{decomposed}.jpg", f"masks/{composed}.png")
    beside = segvoc.LabeledImages.from_folders(tmp_path / "images", tmp_path / "masks", ["background", "cat"])
    save(tmp_path / "masks/#recycle/a.png", full(0))
    for trash in ("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "$RECYCLE.BIN/b.jpg"):
        image(tmp_path / "images" / trash)
    for images in (segvoc.read_dataset(tmp_path), beside):
        assert len(images) == 1
        assert np.bincount(images.read(0).labels.ravel()).tolist() == [20 * WIDTH, 10 * WIDTH]


_CVAT = "imgsFine/leftImg8bit/default/a_leftImg8bit.png", "gtFine/default/a_gtFine_{}.png"


@pytest.mark.parametrize(
    ("photo", "mask", "table", "colors"),
    [
        ("default/a.png", "defaultannot/a.png", "label_colors.txt", True),
        ("default/image_2/a.png", "default/semantic_rgb/a.png", "label_colors.txt", True),
        (_CVAT[0], _CVAT[1].format("color"), "label_colors.txt", True),
        (_CVAT[0], _CVAT[1].format("labelIds"), "label_colors.txt", False),
        ("images/a.jpg", "masks/a.png", "class_mapping.csv", True),
    ],
    ids=["CamVid", "KITTI", "Cityscapes in color", "Cityscapes", "V7"],
)
def test_exports_of_cvat_and_v7(tmp_path: Path, photo: str, mask: str, table: str, colors: bool) -> None:
    rows = "class_name,class_color\n__background__,0 0 0\ncat,250 50 83\n"
    rows = rows if table.endswith(".csv") else "0 0 0 background\n250 50 83 cat\n"
    halves(tmp_path, photo, mask, rows, colors=colors)
    (tmp_path / "classes.txt").rename(tmp_path / table)
    assert pixels(tmp_path)[0] == {"background": 20 * WIDTH, "cat": 10 * WIDTH}


def test_sub_folders_by_day_are_no_sets(tmp_path: Path) -> None:
    for day in ("2024-05-01", "2024-05-02"):
        halves(tmp_path, f"images/{day}/a.jpg", f"masks/{day}/a.png")
    assert [one.stem for one in segvoc.read_dataset(tmp_path).images] == ["2024-05-01/a", "2024-05-02/a"]
    assert [one.stem for one in segvoc.read_dataset(tmp_path, split="2024-05-01").images] == ["a"]
    halves(tmp_path, "images/train/b.jpg", "masks/train/b.png")
    refused(tmp_path, "has several sets: 2024-05-01, 2024-05-02, train; choose one with --split")


def test_gray_masks_and_palettes_in_the_colors_of_a_table_are_read_by_color(tmp_path: Path) -> None:
    values = full(0)
    values[5:9] = 1
    swapped = Image.fromarray(1 - values)
    swapped.putpalette(bytes((255, 255, 255, 0, 0, 0)))
    image(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    write(tmp_path / "classes.txt", "0,0,0 background\n255,255,255 cat\n")
    for mask in (swapped, *(Image.fromarray(255 * values).convert(mode) for mode in ("RGB", "L", "1"))):
        mask.save(tmp_path / "masks/a.png")
        np.testing.assert_array_equal(segvoc.read_dataset(tmp_path).read(0).labels, values)


def test_class_that_occurs_nowhere_is_named(tmp_path: Path) -> None:
    """Masks of 0 and 255, which is unlabeled."""
    image(tmp_path / "images/a.png")
    values = full(0)
    values[5:15] = 255
    save(tmp_path / "labels/a.png", values)
    write(tmp_path / "classes.json", ["background", "object"])
    places = (tmp_path / "images", tmp_path / "labels", tmp_path / "classes.json")
    (line,) = segvoc.LabeledImages.from_folders(*places).remarks()
    assert "no pixel is labeled: object; 33% of the pixels are unlabeled (255" in line
    assert segvoc.LabeledImages.from_folders(*places, background="object").remarks() == []


# ---- VOC


def voc(root: Path, *names: str, label: int) -> None:
    """VOC's folder of images, each with a map of one label."""
    for name in names:
        image(root / f"JPEGImages/{name}.jpg")
        save(root / f"SegmentationClass/{name}.png", full(label))


def test_voc_of_datumaro_and_labelme2voc(tmp_path: Path) -> None:
    voc(tmp_path, "a", label=1)
    write(tmp_path / "labelmap.txt", "cat:9,9,9::\nbackground:0,0,0::\nvoid:1,1,1::\n")
    assert segvoc.read_dataset(tmp_path).background == "background"  # it needn't be first
    assert pixels(tmp_path)[0] == {"cat": 0, "background": 1200}
    save(tmp_path / "SegmentationClass/a.png", np.full((HEIGHT, WIDTH, 3), 9, np.uint8))  # as colors
    assert pixels(tmp_path)[0] == {"cat": 1200, "background": 0}
    voc(tmp_path, "a", label=1)
    (tmp_path / "labelmap.txt").unlink()
    write(tmp_path / "class_names.txt", "_background_\nyellow duck\n")
    assert segvoc.read_dataset(tmp_path).background == "background"
    assert pixels(tmp_path)[0] == {"background": 0, "yellow duck": 1200}
    write(tmp_path / "class_names.txt", "\n")
    refused(tmp_path, r"class_names\.txt': it has no class")


def test_official_voc(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit/VOC2012"
    voc(root, "a", "b", label=8)
    for name, split in (("a", "train"), ("b", "val")):
        write(root / f"ImageSets/Segmentation/{split}.txt", f"{name}\n")
    refused(tmp_path, "several lists in ImageSets/Segmentation: train, val")
    assert segvoc.read_dataset(tmp_path, split="val").background == "background"
    assert pixels(tmp_path, split="val")[0]["cat"] == 1200
    assert [image.stem for image in segvoc.read_dataset(root / "ImageSets/Segmentation/train.txt").images] == ["a"]


@pytest.mark.parametrize(("kind", "objects"), [(np.uint8, [0, 1, 2, 0]), (np.uint16, [0, 1, 2, 3])])
def test_number_255_of_an_object_is_none_in_8_bits_alone(tmp_path: Path, kind: type, objects: list[int]) -> None:
    voc(tmp_path, "a", label=1)
    write(tmp_path / "labelmap.txt", "background:0,0,0::\ncat:1,1,1::\n")
    numbers = np.repeat(np.array([0, 7, 9, 255], kind), WIDTH // 4)
    save(tmp_path / "SegmentationObject/a.png", np.tile(numbers, (HEIGHT, 1)))
    turn(tmp_path / "SegmentationObject/a.png")
    found = segvoc.read_dataset(tmp_path).read_objects(0, (HEIGHT, WIDTH))
    assert found is not None
    np.testing.assert_array_equal(found, np.tile(np.repeat(objects, WIDTH // 4), (HEIGHT, 1)))


def test_classes_that_differ_by_case_are_one(tmp_path: Path) -> None:
    """CVAT adds `background`, and annotators write "Cat" and "cat"; a palette of its own order means these colors."""
    voc(tmp_path, "a", label=0)
    values = np.repeat([0, 1, 2], (10, 10, 10)).astype(np.uint8)[:, None].repeat(WIDTH, axis=1)
    mask = Image.fromarray(values)
    mask.putpalette(bytes((255, 0, 204, 0, 0, 0, 0, 215, 255)))
    mask.save(tmp_path / "SegmentationClass/a.png")
    write(tmp_path / "labelmap.txt", "Background:0,215,255::\nBone:255,0,204::\nbackground:0,0,0::\n")
    dataset = segvoc.read_dataset(tmp_path)
    assert dataset.background == "background"
    assert pixels(tmp_path)[0] == {"background": 20 * WIDTH, "Bone": 10 * WIDTH}
    joined = segvoc.LabeledImages.joined
    assert joined([dataset], rename={"Background": "tissue"}).vocabulary.words == ("tissue", "Bone")
    for images in (joined([dataset], drop=["bone"]), joined([dataset, dataset], rename={"Bone": "BACKGROUND"})):
        assert images.vocabulary.words == ("background",)


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
