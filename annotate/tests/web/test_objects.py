"""Objects of a word on the page: made, divided, united, and saved as instances."""

import json
from collections import Counter

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from annotate.tests.web.conftest import SCREENS
from annotate.tests.web.site import AXE, Site, check


def _annotations(site: Site, word: str) -> list[dict]:
    """The objects of a word in the COCO file that is saved."""
    content = json.loads(site.saved("COCO masks").read_text(encoding="utf-8"))
    (category,) = [entry["id"] for entry in content["categories"] if entry["name"] == word]
    of_word = [entry for entry in content["annotations"] if entry["category_id"] == category]
    for entry in of_word:
        assert coco_mask.decode(entry["segmentation"]).sum() == entry["area"]
    return [entry for entry in of_word if not entry["iscrowd"]]


@pytest.mark.parametrize("screen", SCREENS)
def test_a_region_becomes_two_objects_by_a_line_and_one_again(served: Site):
    served.open_and_label("coffee.jpg", "cup, table")
    before = served.labels()
    served.press("Objects", exact=True)
    served.press("Make objects of cup")
    legend = served.tab.get_by_role("list", name="What is where")
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
    if AXE.is_file():
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
    served.press("Objects", exact=True)
    served.stage_key("n")
    served.tab.get_by_role("button", name="Objects", exact=True).and_(served.tab.locator(":disabled")).wait_for()
    served.stage_key("s", "m", "Delete", "Control+z")
    assert len(_annotations(served, "cup")) == len(made)
    legend.get_by_text("object", exact=False).first.wait_for()
    served.press("Reopen")
    assert len(_annotations(served, "cup")) == len(made)
