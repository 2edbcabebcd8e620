"""The files that the page saves, read by the tools that they are for."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import segvoc
from annotate.tests.web.site import SAMPLES, Site
from segvoc.imaging.palette import class_colors

WORDS = ["cup", "table", "spoon, teaspoon"]


@pytest.fixture
def corrected(served: Site) -> Site:
    """A labeled photograph with a hole painted into a region."""
    served.open_and_label("coffee.jpg", "cup, table, spoon = teaspoon")
    served.paint("no word", (0.1, 0.8), (0.2, 0.8))
    return served


def test_every_format_has_the_corrected_labels(corrected: Site):
    label_map = corrected.saved("Label map")
    labels = segvoc.read_label_map(label_map)
    with Image.open(label_map) as opened:
        assert opened.getpalette()[: 3 * len(WORDS)] == class_colors(len(WORDS)).ravel().tolist()
    assert (labels == 65535).any()

    report = json.loads(corrected.saved("Shares").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in report["classes"]] == WORDS
    assert report["unlabeled"] == (labels == 65535).sum()
    assert [entry["pixels"] for entry in report["classes"]] == [(labels == label).sum() for label in range(3)]


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
    endings = (".png", ".overlay.png", ".json", ".labelme.json")
    with zipfile.ZipFile(path) as archive:
        expected = {f"{stem}{ending}" for stem in labels for ending in endings}
        assert set(archive.namelist()) == expected | {"coco-rle.json", "coco-polygons.json"}
        for stem, own in labels.items():
            with archive.open(f"{stem}.png") as file, Image.open(file) as opened:
                assert (np.array(opened) == own).all()
        coco = json.loads(archive.read("coco-rle.json"))
    assert [image["file_name"] for image in coco["images"]] == ["coffee.jpg", "rocket.jpg"]
