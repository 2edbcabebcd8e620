"""What users reported of exports: fractions for pixels, macOS names, deleted images, poses, other tools' formats."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import SkippedShapesWarning, UsageError
from tests.images import one_line_error

HEIGHT, WIDTH = 48, 64
BOX = [(16, 12), (48, 12), (48, 36), (16, 36)]
"""Corners of a quarter of the image, in pixels."""

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (10, 200, 30)).save(path)
    return path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def labeled(folder: Path) -> int:
    """The number of labeled pixels in the only image, all in the box."""
    labels = segvoc.read_dataset(folder).read(0).labels
    (top, bottom), (left, right) = (12, 36), (16, 48)
    assert (labels[top:bottom, left:right] == 0).all()
    return int((labels == 0).sum())


def coco(folder: Path, *annotations: dict[str, Any], name: str = "a.jpg") -> Path:
    listed = {"id": 1, "file_name": name, "width": WIDTH, "height": HEIGHT}
    content = {"images": [listed], "categories": [{"id": 1, "name": "cat"}]}
    numbered = [{"id": number, "image_id": 1, "category_id": 1, **one} for number, one in enumerate(annotations)]
    write(folder / "annotations/instances_default.json", content | {"annotations": numbered})
    return folder


def flat(scale: tuple[float, float] = (1, 1)) -> list[float]:
    return [value / factor for corner in BOX for value, factor in zip(corner, scale, strict=True)]


def labelme(folder: Path, points: list[tuple[float, float]], **shape: Any) -> Path:
    shape = {"label": "cat", "points": points} | shape
    write(folder / "a.json", {"shapes": [shape], "imagePath": "a.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH})
    image(folder / "a.jpg")
    return folder


def cvat(folder: Path, points: list[tuple[float, float]]) -> Path:
    listed = ";".join(f"{x},{y}" for x, y in points)
    polygon = f'<polygon label="cat" points="{listed}"/>'
    about = f'<image name="a.jpg" width="{WIDTH}" height="{HEIGHT}">{polygon}</image>'
    labels = "<meta><task><labels><label><name>cat</name></label></labels></task></meta>"
    write(folder / "annotations.xml", f"<annotations>{labels}{about}</annotations>")
    image(folder / "images/a.jpg")
    return folder


@pytest.mark.parametrize("scale", [(1, 1), (WIDTH, HEIGHT)], ids=["pixels", "fractions"])
@pytest.mark.parametrize("tool", ["coco", "labelme", "cvat"])
def test_coordinates_may_be_fractions(tmp_path: Path, tool: str, scale: tuple[int, int]) -> None:
    points = [(x / scale[0], y / scale[1]) for x, y in BOX]
    if tool == "coco":
        image(coco(tmp_path, {"segmentation": [flat(scale)]}) / "images/a.jpg")
    else:
        {"labelme": labelme, "cvat": cvat}[tool](tmp_path, points)
    assert labeled(tmp_path) == 32 * 24


def test_a_pixel_beside_larger_polygons_is_a_pixel(tmp_path: Path) -> None:
    pixel = [0, 0, 1, 0, 1, 1, 0, 1]
    image(coco(tmp_path, {"segmentation": [flat()]}, {"segmentation": [pixel]}) / "images/a.jpg")
    assert labeled(tmp_path) == 32 * 24 + 1


@pytest.mark.parametrize("damaged", [None, 5, "no polygon"])
def test_damage_in_place_of_a_polygon_is_that_of_its_image(tmp_path: Path, damaged: object) -> None:
    image(coco(tmp_path, {"segmentation": [damaged, flat()]}) / "images/a.jpg")
    with one_line_error(segvoc.InputError, "instances_default.json", "the annotation of 'a' is damaged"):
        segvoc.read_dataset(tmp_path).read(0)


@pytest.mark.parametrize(
    ("listed", "there"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), ("a.JPG", "a.jpg"), ("b/c.jpg", "b/c.JPG")]
)
def test_names_differ_by_accents_encoding_or_the_case_of_suffixes(tmp_path: Path, listed: str, there: str) -> None:
    image(coco(tmp_path, {"segmentation": [flat()]}, name=listed) / "images" / there)
    assert labeled(tmp_path) == 32 * 24


def test_a_file_of_exactly_the_name_comes_first(tmp_path: Path) -> None:
    coco(tmp_path, {"segmentation": [flat()]}, name=COMPOSED)
    for name in (COMPOSED, DECOMPOSED):
        image(tmp_path / "images" / name)
    assert segvoc.read_dataset(tmp_path).images[0].image.name == COMPOSED


def test_masks_are_paired_with_images_of_the_other_encoding(tmp_path: Path) -> None:
    image(tmp_path / "images" / DECOMPOSED)
    write(tmp_path / "classes.txt", "sky\n")
    (tmp_path / "masks").mkdir()
    Image.new("L", (WIDTH, HEIGHT), 0).save((tmp_path / "masks" / COMPOSED).with_suffix(".png"))
    beside = LabeledImages.from_folders(tmp_path / "images", tmp_path / "masks", ["sky"])
    for images in (segvoc.read_dataset(tmp_path), beside):
        assert len(images) == 1
        assert (images.read(0).labels == 0).all()


def test_a_mask_of_three_equal_channels_is_a_map(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    (tmp_path / "masks").mkdir()
    values = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    values[:10] = 1
    Image.fromarray(values).save(tmp_path / "masks/a.png")
    images = LabeledImages.from_folders(tmp_path / "images", tmp_path / "masks", ["sky", "sea"])
    assert np.bincount(images.read(0).labels.ravel()).tolist() == [38 * WIDTH, 10 * WIDTH]


def test_annotations_of_deleted_images_are_counted(tmp_path: Path) -> None:
    other = {"image_id": 9, "segmentation": [flat()]}
    image(coco(tmp_path, {"segmentation": [flat()]}, other, other) / "images/a.jpg")
    with pytest.warns(SkippedShapesWarning, match=r"annotations of images that it doesn't list \(1 images\): 2$"):
        assert labeled(tmp_path) == 32 * 24
    coco(tmp_path, other)
    with one_line_error(UsageError, "all of its annotations", "9"):
        segvoc.read_dataset(tmp_path)


def test_numbers_are_labels_of_labelme(tmp_path: Path) -> None:
    labelme(tmp_path, BOX, label=1)
    assert segvoc.read_dataset(tmp_path).vocabulary.words == ("1",)
    assert labeled(tmp_path) == 32 * 24


@pytest.mark.parametrize(("group", "count"), [(1, 1), (1.0, 1), ("a", 1), (None, 2)])
def test_shapes_of_a_group_of_labelme_are_one_object(tmp_path: Path, group: object, count: int) -> None:
    image(tmp_path / "a.png")
    shapes = [{"label": "cat", "points": [[x, 1], [x + 9, 1], [x + 9, 9]], "group_id": group} for x in (1, 20)]
    write(tmp_path / "a.json", {"shapes": shapes, "imagePath": "a.png"})
    objects = segvoc.read_dataset(tmp_path).images[0].read_objects((HEIGHT, WIDTH))
    assert objects is not None and objects.max() == count


def test_poses_of_yolo_are_no_polygons(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    write(tmp_path / "labels/a.txt", "0 0.5 0.5 0.4 0.4 " + " ".join(["0.5"] * 24))
    write(tmp_path / "data.yaml", "train: images\nkpt_shape: [12, 2]\nnames: {0: tiger}\n")
    with one_line_error(UsageError, "keypoints", "polygons are required"):
        segvoc.read_dataset(tmp_path)


def test_commas_between_the_numbers_of_yolo_are_named(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    write(tmp_path / "labels/a.txt", "0,0.1,0.1,0.5,0.1,0.5,0.5\n")
    write(tmp_path / "data.yaml", "train: images\nnames: {0: cat}\n")
    with one_line_error(segvoc.SegvocError, "separate numbers by spaces"):
        segvoc.read_dataset(tmp_path).read(0)


REGION = {"points": [[1, 1]], "polygonlabels": ["cat"], "original_width": WIDTH}
OTHERS: dict[str, tuple[str, Any, str]] = {
    "JSON-MIN": ("project-1.json", [{"image": "a.jpg", "id": 1, "label": [REGION]}], "export it as JSON"),
    "Supervisely": ("meta.json", {"classes": [], "tags": [], "projectType": "images"}, "export it as COCO"),
    "VIA": ("via.json", {"a.jpg10": {"filename": "a.jpg", "size": 10, "regions": []}}, "export it as COCO"),
    "VGG Image Annotator": ("v.json", {"_via_img_metadata": {"a": {"filename": "a", "regions": []}}}, "COCO"),
    "Datumaro": ("annotations/train.json", {"info": {}, "categories": {}, "items": []}, "datum convert"),
}


@pytest.mark.parametrize("tool", OTHERS)
def test_formats_that_are_not_read_are_named_with_the_way_out(tmp_path: Path, tool: str) -> None:
    name, content, way_out = OTHERS[tool]
    image(tmp_path / "images/a.jpg")
    file = write(tmp_path / name, content)
    for path in (tmp_path, file):
        with one_line_error(UsageError, tool, way_out):
            segvoc.read_dataset(path)


# ---- crowds, flags and fractions


def _whole_image() -> dict[str, Any]:
    runs = [0, HEIGHT * WIDTH]
    return {"segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}, "iscrowd": 1}


@pytest.mark.parametrize("crowd", [1, True, "1", "true", 1.0])
def test_a_crowd_is_behind_the_objects_before_it(tmp_path: Path, crowd: object) -> None:
    image(tmp_path / "images/a.jpg")
    coco(tmp_path, {"segmentation": [flat()], "iscrowd": 0}, _whole_image() | {"iscrowd": crowd})
    objects = segvoc.read_dataset(tmp_path).read_objects(0, (HEIGHT, WIDTH))
    assert objects is not None and int((objects == 1).sum()) == 24 * 32


@pytest.mark.parametrize("crowd", [0, "0", "false", None, ""])
def test_a_flag_may_be_a_text(tmp_path: Path, crowd: object) -> None:
    image(tmp_path / "images/a.jpg")
    coco(tmp_path, {"segmentation": [flat()], "iscrowd": crowd})
    objects = segvoc.read_dataset(tmp_path).read_objects(0, (HEIGHT, WIDTH))
    assert objects is not None and objects.max() == 1


def test_a_flag_that_is_none_is_named(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    coco(tmp_path, {"segmentation": [flat()], "iscrowd": "perhaps"})
    with one_line_error(segvoc.InputError, "'iscrowd' of annotation 0 is 'perhaps', not true or false"):
        segvoc.read_dataset(tmp_path).read(0)


def test_a_corner_a_little_beyond_the_edge_leaves_fractions_what_they_are(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    beyond = [0.75, 0.75, 1.03, 0.75, 1.03, 1.0, 0.75, 1.0]
    coco(tmp_path, {"segmentation": [flat((WIDTH, HEIGHT))]}, {"segmentation": [beyond]})
    assert int((segvoc.read_dataset(tmp_path).read(0).labels == 0).sum()) == 24 * 32 + 12 * 16
    coco(tmp_path, {"segmentation": [flat((WIDTH, HEIGHT))]}, {"segmentation": [[0.1, 0.1, 40, 0.1, 0.1, 0.9]]})
    with one_line_error(UsageError, "most corners of its polygons are fractions", "one is 40"):
        segvoc.read_dataset(tmp_path)


# ---- names


@pytest.mark.parametrize(
    ("listed", "there"),
    [("A.jpg", "a.jpg"), ("Sub/a.jpg", "sub/a.jpg"), ("images\\1\\a.jpg", "a.jpg"), ("A.JPG", "a.jpg")],
)
def test_names_of_windows_are_found(tmp_path: Path, listed: str, there: str) -> None:
    image(tmp_path / "images" / there)
    coco(tmp_path, {"segmentation": [flat()]}, name=listed)
    assert labeled(tmp_path) == 24 * 32


def test_of_names_that_differ_by_case_the_exact_one_counts(tmp_path: Path) -> None:
    image(tmp_path / "images/A.jpg")
    image(tmp_path / "images/a.jpg")
    coco(tmp_path, {"segmentation": [flat()]}, name="a.jpg")
    assert segvoc.read_dataset(tmp_path).images[0].image.name == "a.jpg"


def test_thumbnails_and_trash_of_a_storage_are_no_images(tmp_path: Path) -> None:
    for name in ("images/a.jpg", "images/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "images/$RECYCLE.BIN/b.jpg"):
        image(tmp_path / name)
    for name in ("masks/a.png", "masks/#recycle/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / name)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    assert [one.stem for one in segvoc.read_dataset(tmp_path).images] == ["a"]


def test_classes_that_differ_by_case_are_one(tmp_path: Path) -> None:
    """CVAT adds `background`, and annotators write "Cat" and "cat"."""
    image(tmp_path / "JPEGImages/a.jpg")
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[:10], colors[10:20] = (0, 215, 255), (255, 0, 204)
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(colors).save(tmp_path / "SegmentationClass/a.png")
    write(tmp_path / "labelmap.txt", "Background:0,215,255::\nBone:255,0,204::\nbackground:0,0,0::\n")
    dataset = segvoc.read_dataset(tmp_path)
    assert dataset.vocabulary.words == ("background", "Bone") and dataset.background == "background"
    assert np.bincount(dataset.read(0).labels.ravel()).tolist() == [38 * WIDTH, 10 * WIDTH]
    renamed = LabeledImages.joined([dataset], rename={"Background": "tissue"})
    assert renamed.vocabulary.words == ("tissue", "Bone")
    assert LabeledImages.joined([dataset], drop=["bone"]).vocabulary.words == ("background",)
    assert LabeledImages.joined([dataset, dataset], rename={"Bone": "BACKGROUND"}).vocabulary.words == ("background",)


# ---- folders of masks


def _masks(folder: Path, pairs: dict[str, str], table: str, content: str, *, colors: bool = True) -> None:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[20:] = 1
    shown = np.array([(0, 0, 0), (250, 50, 83)], np.uint8)[values]
    for photo, mask in pairs.items():
        image(folder / photo)
        (folder / mask).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shown if colors else values).save(folder / mask)
    write(folder / table, content)


_CVAT = "0 0 0 background\n250 50 83 cat\n"


@pytest.mark.parametrize(
    ("pairs", "table", "content", "colors"),
    [
        ({"default/a.png": "defaultannot/a.png"}, "label_colors.txt", _CVAT, True),
        ({"default/image_2/a.png": "default/semantic_rgb/a.png"}, "label_colors.txt", _CVAT, True),
        *(
            (
                {"imgsFine/leftImg8bit/default/a_leftImg8bit.png": f"gtFine/default/a_gtFine_{ending}.png"},
                "label_colors.txt",
                _CVAT,
                ending == "color",
            )
            for ending in ("color", "labelIds")
        ),
        (
            {"images/a.jpg": "masks/a.png"},
            "class_mapping.csv",
            "class_name,class_color\n__background__,0 0 0\ncat,250 50 83\n",
            True,
        ),
    ],
    ids=["CamVid", "KITTI", "Cityscapes in color", "Cityscapes", "V7"],
)
def test_exports_of_cvat_and_v7(tmp_path: Path, pairs: dict[str, str], table: str, content: str, colors: bool) -> None:
    _masks(tmp_path, pairs, table, content, colors=colors)
    dataset = segvoc.read_dataset(tmp_path)
    assert dataset.vocabulary.words == ("background", "cat")
    assert np.bincount(dataset.read(0).labels.ravel()).tolist() == [20 * WIDTH, 28 * WIDTH]


def test_sub_folders_by_day_are_no_sets(tmp_path: Path) -> None:
    pairs = {f"images/{day}/a.jpg": f"masks/{day}/a.png" for day in ("2024-05-01", "2024-05-02")}
    _masks(tmp_path, pairs, "classes.txt", "bg\ncat\n", colors=False)
    assert [one.stem for one in segvoc.read_dataset(tmp_path).images] == ["2024-05-01/a", "2024-05-02/a"]
    assert [one.stem for one in segvoc.read_dataset(tmp_path, split="2024-05-01").images] == ["a"]
    _masks(tmp_path, {"images/train/b.jpg": "masks/train/b.png"}, "classes.txt", "bg\ncat\n", colors=False)
    with one_line_error(UsageError, "has several sets: 2024-05-01, 2024-05-02, train; choose one with --split"):
        segvoc.read_dataset(tmp_path)


def test_a_palette_in_an_order_of_its_own_means_the_colors_of_the_table(tmp_path: Path) -> None:
    image(tmp_path / "JPEGImages/a.jpg")
    write(tmp_path / "labelmap.txt", "background:0,0,0::\ncat:10,20,30::\n")
    (tmp_path / "SegmentationClass").mkdir()
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[5:9] = 1
    swapped = Image.fromarray(1 - values)
    swapped.putpalette(bytes((10, 20, 30, 0, 0, 0)))
    swapped.save(tmp_path / "SegmentationClass/a.png")
    np.testing.assert_array_equal(segvoc.read_dataset(tmp_path).read(0).labels, values)


def test_gray_masks_in_the_colors_of_a_table_are_read_by_color(tmp_path: Path) -> None:
    image(tmp_path / "images/a.jpg")
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[5:9] = 255
    (tmp_path / "masks").mkdir()
    write(tmp_path / "classes.txt", "0,0,0 background\n255,255,255 cat\n")
    for mode in ("RGB", "L", "1"):
        Image.fromarray(values).convert(mode).save(tmp_path / "masks/a.png")
        np.testing.assert_array_equal(segvoc.read_dataset(tmp_path).read(0).labels, values // 255)
