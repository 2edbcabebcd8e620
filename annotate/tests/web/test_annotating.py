"""Working on the page for hours: many words, many files, and hands that go from the mouse to the keys and back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.web.fake_service import FakeService
from annotate.tests.web.site import SAMPLES, Site

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


def test_images_that_failed_while_the_service_was_down_are_labeled_once_it_is_back(served: Site, service: FakeService):
    served.open()
    service.is_down = True
    served.drop(SAMPLES / "coffee.jpg", SAMPLES / "rocket.jpg", SAMPLES / "chelsea.jpg")
    served.type("cup, table")
    served.tab.get_by_role("alert").filter(has_text="asked again by itself").wait_for()
    served.tab.get_by_role("button", name="Try 2 images again").wait_for()
    # the others aren't tried in vain
    assert served.tab.get_by_role("button", name="failed").count() == 2
    service.is_down = False
    served.tab.get_by_text("3 of 3 images labeled").wait_for()
    assert served.tab.get_by_role("alert").count() == 0


def test_one_button_tries_all_images_again(served: Site):
    served.open()
    served.drop(SAMPLES / "coffee.jpg", SAMPLES / "rocket.jpg")
    served.type("teapot")
    served.tab.get_by_role("button", name="Try 2 images again").wait_for()
    asked = len(served.requests)
    served.press("Try 2 images again")
    served.tab.get_by_role("button", name="rocket.jpg, failed").wait_for()
    served.tab.get_by_role("button", name="Try 2 images again").wait_for()
    assert sum(request.endswith("/v1/segment") for request in served.requests[asked:]) == 2
    served.press("Remove teapot")
    served.type("cup")
    served.tab.get_by_text("2 of 2 images labeled").wait_for()
    assert served.tab.get_by_role("button", name="Try 2 images again").count() == 0


def test_a_removed_image_comes_back_with_its_corrections(served: Site):
    served.open()
    served.label(SAMPLES / "coffee.jpg", "cup, table")
    served.press("Brush")
    served.tab.get_by_label("Paint").select_option("table")
    served.drag((0.1, 0.2), (0.9, 0.2))
    corrected = served.labels()
    served.press("Remove coffee.jpg")
    served.tab.get_by_role("button", name="Choose images").or_(served.tab.get_by_text("Choose images")).first.wait_for()
    served.tab.reload()
    served.press("Put back coffee.jpg")
    served.is_open("coffee.jpg")
    served.done()
    assert (served.labels() == corrected).all()
    assert served.tab.get_by_role("button", name="Put back").count() == 0


def test_the_tab_that_was_opened_last_has_the_work_and_no_correction_is_lost(served: Site):
    served.open()
    served.label(SAMPLES / "coffee.jpg", "cup, table")
    served.press("Brush")
    served.tab.get_by_label("Paint").select_option("table")
    served.drag((0.1, 0.2), (0.9, 0.2))
    first = served.tab
    second = replace(served, tab=first.context.new_page())
    second.tab.goto(served.address)
    second.done()
    height, width = second.labels().shape
    assert (second.labels()[int(0.2 * height), int(0.2 * width) : int(0.8 * width)] == 1).all()
    first.get_by_text("open in another tab").wait_for()
    second.press("Brush")
    second.tab.get_by_label("Paint").select_option("table")
    second.drag((0.1, 0.5), (0.9, 0.5))
    first.get_by_role("button", name="Continue here").click()
    served.done()
    for y in (0.2, 0.5):
        assert (served.labels()[int(y * height), int(0.2 * width) : int(0.8 * width)] == 1).all()
    second.tab.get_by_text("open in another tab").wait_for()


def test_lines_between_regions_leave_their_pixels_in_sight_and_go_with_the_colors(served: Site):
    served.open()
    served.label(SAMPLES / "coffee.jpg", "cup, table")
    served.tab.get_by_label("Names in the regions").uncheck()
    served.tab.get_by_label("Opacity of the colors").fill("0")
    bare = served.image()
    served.press("Hide cup")
    served.press("Hide table")
    assert (served.image() == bare).all()
    served.press("Show cup", exact=True)
    served.press("Show table", exact=True)
    served.tab.get_by_label("Opacity of the colors").fill("60")
    labels = served.labels()
    edges = np.argwhere(labels[:, 1:] != labels[:, :-1])
    height, width = labels.shape
    row, column = edges[np.abs(edges - [height / 2, width / 2]).sum(axis=1).argmin()]
    served.tab.mouse.move(*served.place((column + 1) / width, (row + 0.5) / height))
    for _ in range(12):
        served.tab.mouse.wheel(0, -500)
    near = served.image()
    # a line of 1 px beside pixels of 40 px
    assert 0.0005 < (near.min(axis=2) > 235).mean() < 0.02


def test_words_keep_their_colors_and_objects_of_parts_are_words(served: Site):
    served.open()
    served.label(SAMPLES / "chelsea.jpg", "dog, cat, wall")

    def colors() -> dict[str, str]:
        chips = served.tab.locator(".words li").all()
        return {
            chip.locator(".name").inner_text(): chip.locator(".swatch").evaluate("chip => chip.style.background")
            for chip in chips
        }

    before = colors()
    served.press("Remove dog")
    served.done()
    assert colors() == {word: before[word] for word in ("cat", "wall")}
    found = served.labels()
    with Image.open(served.saved("Label map")) as saved:
        palette = np.array(saved.getpalette()).reshape(-1, 3)
    # numbers stay, too
    assert f"rgb({', '.join(map(str, palette[1]))})" == before["cat"]
    assert set(np.unique(found)) <= {1, 2}
    served.type("dog")
    assert colors()["dog"] == before["dog"]
    field = served.tab.get_by_label("Parts of objects")
    field.fill("cat: head; mouse: ear; *: tail")
    field.press("Enter")
    served.tab.get_by_role("button", name="Remove mouse", exact=True).wait_for()
    assert len(set(colors().values())) == 4
    served.tab.reload()
    served.done()
    assert colors()["cat"] == before["cat"] and len(colors()) == 4
