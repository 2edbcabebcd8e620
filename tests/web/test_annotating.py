"""Working on the page for hours: many words, many files, and hands that go from the mouse to the keys and back."""

from pathlib import Path

import pytest

from tests.web.site import SAMPLES, Site

MANY = [f"thing {number}" for number in range(1, 41)]


def in_window(site: Site, selector: str) -> bool:
    """Whether all of an element is in the window."""
    box = site.tab.locator(selector).bounding_box()
    size = site.tab.viewport_size
    return box["y"] >= 0 and box["y"] + box["height"] <= size["height"] and box["x"] + box["width"] <= size["width"]


@pytest.mark.parametrize("height", [640, 900])
def test_the_dialog_of_a_region_stays_in_the_window_and_takes_a_typed_word(served: Site, height: int):
    served.tab.set_viewport_size({"width": 1440, "height": height})
    served.open()
    served.label(SAMPLES / "coffee.jpg", ", ".join(MANY))
    served.press("Give a region another word")
    for place in ((0.5, 0.98), (0.98, 0.5), (0.02, 0.02)):
        served.click(*place)
        served.tab.get_by_role("dialog").wait_for()
        assert in_window(served, "dialog")
        assert in_window(served, "dialog input")
        served.tab.keyboard.press("Escape")
        served.tab.get_by_role("dialog").wait_for(state="detached")
    served.click(0.5, 0.98)
    served.tab.get_by_role("dialog").wait_for()
    served.tab.keyboard.type("saucer")
    served.tab.keyboard.press("Enter")
    served.tab.get_by_role("button", name="Remove saucer").wait_for()
    served.done()
    assert (served.labels() == len(MANY)).any()


def test_the_field_for_words_and_the_last_word_stay_in_sight(served: Site):
    served.open()
    served.type(", ".join(MANY))
    field = served.tab.get_by_label("Words to look for")
    last = served.tab.get_by_role("button", name=f"Remove {MANY[-1]}", exact=True)
    words = served.tab.locator(".words ul").bounding_box()
    assert last.bounding_box()["y"] < words["y"] + words["height"]
    assert field.bounding_box()["y"] >= words["y"] + words["height"] - 1
    assert in_window(served, "#words")


def test_keys_work_after_a_click_on_a_tool_or_a_thumbnail(served: Site):
    served.open()
    served.label(SAMPLES / "coffee.jpg", "cup, table")
    served.drop(SAMPLES / "rocket.jpg")
    served.tab.get_by_text("2 of 2 images labeled").wait_for()
    served.press("Brush")
    served.tab.keyboard.press("r")
    assert served.tab.get_by_role("button", name="Give a region another word").get_attribute("aria-pressed") == "true"
    served.press("rocket.jpg, labeled")
    served.is_open("rocket.jpg")
    served.tab.keyboard.press("b")
    assert served.tab.get_by_role("button", name="Brush").get_attribute("aria-pressed") == "true"
    served.tab.keyboard.press("PageUp")
    served.is_open("coffee.jpg")
    # a button that was reached with keys keeps the focus
    served.tab.get_by_role("button", name="Look", exact=True).focus()
    served.tab.keyboard.press("Enter")
    assert served.tab.evaluate("document.activeElement.ariaLabel") == "Look"


def test_each_of_several_bad_files_is_named(served: Site, tmp_path: Path):
    paths = [tmp_path / f"bad-{number}.png" for number in range(1, 13)]
    for path in paths:
        path.write_bytes(b"no image")
    served.open()
    served.drop(paths[0], SAMPLES / "coffee.jpg", paths[1])
    served.tab.get_by_role("button", name="coffee.jpg, ").wait_for()
    alert = served.tab.get_by_role("alert")
    alert.filter(has_text="bad-2.png").wait_for()
    assert [line.split("”")[0] for line in alert.inner_text().splitlines()] == ["“bad-1.png", "“bad-2.png"]
    served.drop(*paths)
    alert.filter(has_text="4 more of the files can't be read.").wait_for()
