"""Looking through many images: finding them, what is least certain first, and how far the project is."""

import pytest

from annotate.tests.web.conftest import SCREENS
from annotate.tests.web.site import SAMPLES, Site

NAMES = ("coffee.jpg", "rocket.jpg", "chelsea.jpg")


def listed(site: Site) -> list[str]:
    return [entry.get_attribute("title") for entry in site.tab.locator(".thumbnail").all()]


def choose(site: Site, what: str, option: str) -> None:
    site.tab.get_by_role("search").get_by_label(what).select_option(option)


@pytest.mark.parametrize("screen", SCREENS)
def test_images_are_found_worked_through_and_counted(served: Site):
    served.open()
    served.label(SAMPLES / NAMES[0], "cup, table")
    served.drop(*(SAMPLES / name for name in NAMES[1:]))
    served.tab.get_by_text("3 of 3 images labeled").wait_for()

    served.press("coffee.jpg, labeled")
    served.is_open("coffee.jpg")
    served.press("Find images")
    served.tab.get_by_label("File name").fill("ROCK")
    assert listed(served) == ["coffee.jpg", "rocket.jpg"]  # the open one stays in sight
    served.press("rocket.jpg, labeled")
    served.is_open("rocket.jpg")
    assert listed(served) == ["rocket.jpg"]
    served.press("Show all", exact=True)
    choose(served, "Order", "By name")
    assert listed(served) == ["chelsea.jpg", "coffee.jpg", "rocket.jpg"]

    # what is done leaves the images that aren't, and the next one in this order follows
    served.press("chelsea.jpg, labeled")
    served.is_open("chelsea.jpg")
    choose(served, "State", "Labeled, not corrected")
    served.press("Done", exact=True)
    served.is_open("coffee.jpg")
    assert listed(served) == ["coffee.jpg", "rocket.jpg"]
    served.tab.get_by_text("2 of 3 images", exact=True).wait_for()
    choose(served, "State", "Any state")

    served.press("Progress")
    dialog = served.tab.get_by_role("dialog")
    told = dialog.get_by_text("1 of 3 images done, 0 corrected, 2 labeled by the model alone, 0 not labeled.")
    told.wait_for()
    row = dialog.get_by_role("row").filter(has_text="cup")
    images, done = (int(cell) for cell in row.get_by_role("cell").all_inner_texts()[1:])
    assert images == 3
    assert done == 1
    row.get_by_role("button").click()
    dialog.wait_for(state="detached")
    assert served.tab.get_by_role("search").get_by_label("Word").input_value() != ""
