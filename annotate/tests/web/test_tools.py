"""The tools on the stage in one session: what each does to the labels, with one step of the history each."""

import numpy as np
import pytest

from annotate.tests.web.conftest import SCREENS
from annotate.tests.web.site import Site

pytestmark = pytest.mark.parametrize("screen", SCREENS)

WORDS = "cup, table, spoon, coffee"


def test_regions_are_outlined_erased_and_looked_at(served: Site):
    served.open_and_label("coffee.jpg", WORDS)
    found = served.labels()
    height, width = found.shape

    def part(labels: np.ndarray, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        return labels[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]

    # a word is found by its letters
    served.stage_key("/")
    served.tab.get_by_role("combobox", name="Find a word").wait_for()
    served.tab.keyboard.type("spo")
    served.tab.keyboard.press("Enter")
    served.tab.get_by_role("dialog").wait_for(state="detached")
    served.press("Brush")
    assert served.tab.get_by_label("Paint").input_value() == "spoon"

    # the inside of a polygon gets the word, whatever was there
    served.press("Polygon", exact=True)
    served.tab.get_by_label("Snap").uncheck()
    for corner in ((0.1, 0.1), (0.9, 0.1), (0.9, 0.4), (0.1, 0.4), (0.1, 0.1)):
        served.click(*corner)
    filled = served.labels()
    assert (part(filled, 0.12, 0.12, 0.88, 0.38) == 2).all()
    assert (part(filled, 0, 0.5, 1, 1) == part(found, 0, 0.5, 1, 1)).all()

    # the eraser lets the words around a region grow into it, or brings back what the model found
    served.press("Magic eraser")
    served.click(0.5, 0.2)
    erased = served.labels()
    region = filled != erased
    assert part(region, 0.12, 0.12, 0.88, 0.38).all() and set(filled[region]) == {2} and 2 not in erased[region]
    served.press("Undo")
    served.tab.get_by_label("Fill with").select_option("what the model found")
    served.click(0.5, 0.2)
    assert (part(served.labels(), 0.12, 0.12, 0.88, 0.38) == part(found, 0.12, 0.12, 0.88, 0.38)).all()
    for _ in range(2):
        served.tab.keyboard.press("Control+z")
    assert (served.labels() == found).all()

    # a polygon's sides follow edges; its corners are pulled out of sides, moved and taken away
    served.press("Polygon", exact=True)
    areas = []
    for is_snapping in (False, True):
        served.tab.get_by_label("Snap").set_checked(is_snapping)
        for corner in ((0.2, 0.2), (0.55, 0.2), (0.55, 0.5), (0.35, 0.7)):
            served.click(*corner)
        served.drag((0.2, 0.2), (0.3, 0.2))
        if not is_snapping:
            served.drag((0.55, 0.35), (0.75, 0.35))
            served.tab.mouse.click(*served.place(0.35, 0.7), button="right")
        served.tab.keyboard.press("Enter")
        areas.append(served.labels() != found)
        served.press("Undo")
    straight, snapped = areas
    assert straight[int(0.35 * height), int(0.7 * width)] or found[int(0.35 * height), int(0.7 * width)] == 2
    assert not straight[int(0.6 * height), int(0.4 * width)] and not straight[int(0.25 * height), int(0.22 * width)]
    assert snapped.any() and (snapped != straight).mean() > 0.01
    assert (served.labels() == found).all()

    # the image alone, while a key is held
    served.press("Look", exact=True)
    labeled = served.image()
    served.stage_key("0")
    served.tab.keyboard.down("h")
    assert (served.image() != labeled).mean() > 0.1
    served.tab.keyboard.up("h")
    assert served.complaints == []


def test_letters_typed_right_after_w_find_a_word(served: Site):
    served.open_and_label("coffee.jpg", "notes, ribbon, bolt, cup")
    served.press("Brush")
    speed = served.tab.context.new_cdp_session(served.tab)
    for rate in (1, 8, 14):
        speed.send("Emulation.setCPUThrottlingRate", {"rate": rate})
        for opening, word in (("w", "notes"), ("/", "ribbon"), ("W", "bolt"), ("w", "cup")):
            served.tab.get_by_role("application").focus()
            # nothing waits between the keys
            served.tab.keyboard.type(f"{opening}{word}")
            served.tab.keyboard.press("Enter")
            served.tab.get_by_role("dialog").wait_for(state="detached")
            assert served.tab.get_by_label("Paint").input_value() == word, (rate, word)
    speed.send("Emulation.setCPUThrottlingRate", {"rate": 1})
    assert served.tab.get_by_role("button", name="Brush").get_attribute("aria-pressed") == "true"
    assert served.tab.get_by_role("button", name="coffee.jpg, labeled").count() == 1
    assert served.complaints == []
