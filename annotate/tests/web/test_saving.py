"""The files that the page saves, read by the tools that they are for."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import segvoc
from annotate.tests.web.site import SAMPLES, Site
from segvoc.imaging.palette import class_colors

WORDS = ["cup", "table", "spoon, teaspoon"]


@pytest.fixture
def corrected(served: Site) -> Site:
    """A labeled photograph with a hole painted into a region."""
    served.open()
    served.label(SAMPLES / "coffee.jpg", "cup, table, spoon = teaspoon")
    served.press("Brush")
    served.tab.get_by_label("Paint").select_option("no word")
    served.drag((0.1, 0.8), (0.2, 0.8))
    return served


def test_every_format_has_the_corrected_labels(corrected: Site):
    label_map = corrected.saved("Label map")
    labels = segvoc.read_label_map(label_map)
    height, width = labels.shape
    with Image.open(label_map) as opened:
        assert opened.getpalette()[: 3 * len(WORDS)] == class_colors(len(WORDS)).ravel().tolist()
    assert (labels == 65535).any()

    report = json.loads(corrected.saved("Shares").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in report["classes"]] == WORDS
    assert report["unlabeled"] == (labels == 65535).sum()
    assert [entry["pixels"] for entry in report["classes"]] == [(labels == label).sum() for label in range(3)]

    _check_coco_masks(corrected.saved("COCO masks"), labels)
    _check_polygons(_coco_polygons(corrected.saved("COCO polygons")), labels)
    content = json.loads(corrected.saved("LabelMe").read_text(encoding="utf-8"))
    assert (content["imagePath"], content["imageHeight"], content["imageWidth"]) == ("coffee.jpg", height, width)
    shapes = [(["cup", "table", "spoon"].index(shape["label"]), shape["points"]) for shape in content["shapes"]]
    _check_polygons(shapes, labels)

    corrected.press("Show cup alone")
    with Image.open(corrected.saved("Cut-out")) as cut, Image.open(SAMPLES / "coffee.jpg") as photograph:
        assert (np.array(cut)[..., 3] == 255 * (labels == 0)).all()
        difference = np.array(cut)[labels == 0][:, :3].astype(int) - np.array(photograph)[labels == 0]
        assert np.abs(difference).mean() < 3


def _check_coco_masks(path: Path, labels: np.ndarray) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["images"][0]["file_name"] == "coffee.jpg"
    assert [category["name"] for category in content["categories"]] == ["cup", "table", "spoon"]
    for annotation in content["annotations"]:
        decoded = mask.decode(annotation["segmentation"])
        assert (decoded == (labels == annotation["category_id"] - 1)).all()
        assert annotation["area"] == decoded.sum()
        assert annotation["bbox"] == mask.toBbox(annotation["segmentation"]).tolist()


def _coco_polygons(path: Path) -> list[tuple[int, list[list[float]]]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return [
        (annotation["category_id"] - 1, np.reshape(polygon, (-1, 2)).tolist())
        for annotation in content["annotations"]
        for polygon in annotation["segmentation"]
    ]


def _check_polygons(polygons: list[tuple[int, list[list[float]]]], labels: np.ndarray) -> None:
    """Draw polygons, holes included, and compare them with the labels that they come from."""
    drawn = np.full(labels.shape, 65535)
    for label, points in polygons:
        # a hole's bridge is drawn, too, if the polygon isn't much larger
        canvas = Image.new("1", (4 * labels.shape[1], 4 * labels.shape[0]))
        ImageDraw.Draw(canvas).polygon([(4 * x - 0.5, 4 * y - 0.5) for x, y in points], fill=1)
        drawn[np.array(canvas)[2::4, 2::4]] = label
    for label in range(3):
        inside, truth = drawn == label, labels == label
        assert (inside & truth).sum() / (inside | truth).sum() > 0.97


def test_the_zip_has_everything_of_all_images(corrected: Site):
    corrected.drop(SAMPLES / "rocket.jpg")
    corrected.tab.get_by_text("2 of 2 images labeled").wait_for()
    labels = {"rocket": corrected.labels()}
    corrected.tab.get_by_role("button", name="coffee.jpg, labeled").click()
    corrected.tab.wait_for_function("document.querySelector('.thumbnail[aria-current=true]').title === 'coffee.jpg'")
    corrected.tab.get_by_role("button", name="Undo").and_(corrected.tab.locator(":enabled")).wait_for()
    labels["coffee"] = corrected.labels()
    path = corrected.saved("Everything")
    assert path.name == "segvoc.zip"
    endings = (".png", ".overlay.png", ".cut-out.png", ".json", ".labelme.json")
    with zipfile.ZipFile(path) as archive:
        expected = {f"{stem}{ending}" for stem in labels for ending in endings}
        assert set(archive.namelist()) == expected | {"coco-rle.json", "coco-polygons.json"}
        for stem, own in labels.items():
            with archive.open(f"{stem}.png") as file, Image.open(file) as opened:
                assert (np.array(opened) == own).all()
        coco = json.loads(archive.read("coco-rle.json"))
    assert [image["file_name"] for image in coco["images"]] == ["coffee.jpg", "rocket.jpg"]
