"""Objects of a word on the page, and the files that it saves, read by the tools that they are for."""

import json
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import segvoc
from annotate.tests.web.conftest import SCREENS
from annotate.tests.web.site import Site, check
from segvoc.imaging.palette import class_colors


def _annotations(site: Site, word: str) -> list[dict]:
    content = json.loads(site.saved("COCO masks").read_text(encoding="utf-8"))
    (category,) = [entry["id"] for entry in content["categories"] if entry["name"] == word]
    of_word = [entry for entry in content["annotations"] if entry["category_id"] == category]
    for entry in of_word:
        assert coco_mask.decode(entry["segmentation"]).sum() == entry["area"]
    return [entry for entry in of_word if not entry["iscrowd"]]


@pytest.mark.usefixtures("by_tiny")
@pytest.mark.parametrize("screen", SCREENS)
def test_a_region_becomes_two_objects_by_a_line_and_one_again(served: Site):
    served.open_and_label("coffee.jpg", "cup, table")
    before = served.labels()
    served.press("Separate objects")
    served.press("Make objects of cup")
    legend = served.tab.get_by_role("list", name="Words", exact=True)
    legend.get_by_text("object", exact=False).first.wait_for()
    made = _annotations(served, "cup")
    large = max(made, key=lambda entry: entry["area"])
    height, width = before.shape
    left, top, columns, rows = large["bbox"]
    middle, above, below = (left + columns / 2) / width, (top - 9) / height, (top + rows + 9) / height

    served.drag((middle, max(0.01, above)), (middle, min(0.99, below)))
    legend.get_by_text(f"{len(made) + 1} objects").wait_for()
    halves = _annotations(served, "cup")
    assert len(halves) == len(made) + 1
    assert sum(entry["area"] for entry in halves) == sum(entry["area"] for entry in made)
    report = json.loads(served.saved("Shares").read_text(encoding="utf-8"))
    assert [entry["objects"] for entry in report["classes"]] == [len(halves), 0]
    with Image.open(served.saved("Objects")) as opened:
        numbers = np.unique(np.array(opened), return_counts=True)
    assert sorted(numbers[1][1:]) == sorted(entry["area"] for entry in halves)
    check(served, "objects")

    # both pieces are chosen after the cut
    served.stage_key("m")
    legend.get_by_text("object", exact=False).first.wait_for()
    counts = Counter(entry["area"] for entry in _annotations(served, "cup"))
    assert counts == Counter(entry["area"] for entry in made)
    served.press("Undo")
    legend.get_by_text(f"{len(made) + 1} objects").wait_for()
    np.testing.assert_array_equal(served.labels(), before)
    served.press("Redo")
    served.tab.reload()
    served.is_open("coffee.jpg")
    served.done()
    assert len(_annotations(served, "cup")) == len(made)

    # an image that is done keeps its objects: no tool and no key changes them
    served.press("Separate objects")
    served.stage_key("n")
    served.tab.get_by_role("button", name="Separate objects").and_(served.tab.locator(":disabled")).wait_for()
    served.stage_key("s", "m", "Delete", "Control+z")
    assert len(_annotations(served, "cup")) == len(made)
    legend.get_by_text("object", exact=False).first.wait_for()
    served.press("Reopen")
    assert len(_annotations(served, "cup")) == len(made)


WORDS = ["cup", "table", "spoon, teaspoon"]


def test_files_of_the_image_and_the_zip_of_all_have_the_corrected_labels(served: Site):
    served.open_and_label("coffee.jpg", "cup, table, spoon = teaspoon")
    served.paint("no word", (0.1, 0.8), (0.2, 0.8))
    label_map = served.saved("Label map")
    with Image.open(label_map) as opened:
        assert opened.getpalette()[: 3 * len(WORDS)] == class_colors(len(WORDS)).ravel().tolist()
    found = segvoc.read_label_map(label_map)
    report = json.loads(served.saved("Shares").read_text(encoding="utf-8"))
    assert 0 < report["unlabeled"] == (found == 65535).sum()
    pixels = [(word, (found == label).sum()) for label, word in enumerate(WORDS)]
    assert [(entry["name"], entry["pixels"]) for entry in report["classes"]] == pixels

    served.drop(served.photos / "rocket.jpg")
    served.shows("2 of 2 images labeled")
    labels = {"rocket": served.labels()}
    served.go_to("coffee.jpg")
    served.tab.get_by_role("button", name="Undo").and_(served.tab.locator(":enabled")).wait_for()
    labels["coffee"] = served.labels()
    path = served.saved("Everything")
    assert path.name == "segvoc.zip"
    endings = (".png", ".overlay.png", ".json")
    with zipfile.ZipFile(path) as archive:
        expected = {f"{stem}{ending}" for stem in labels for ending in endings}
        assert set(archive.namelist()) == expected | {"coco-rle.json", "coco-polygons.json"}
        for stem, own in labels.items():
            with archive.open(f"{stem}.png") as file, Image.open(file) as opened:
                assert (np.array(opened) == own).all()
        coco = json.loads(archive.read("coco-rle.json"))
    assert [image["file_name"] for image in coco["images"]] == ["coffee.jpg", "rocket.jpg"]
