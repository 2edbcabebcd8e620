"""The page under fingers: what comes first, how large targets are, and long lists of words."""

import pytest

from annotate.tests.web.site import Site
from annotate.tests.web.test_page import MANY_WORDS

SMALL = """() => [...document.querySelectorAll("button, input, select, summary, label.check, label.file")]
    .filter((one) => !one.closest(".hidden, label.file input, label.check input, [hidden]"))
    .filter((one) => one.checkVisibility() && !["checkbox", "radio", "file"].includes(one.type))
    .map((one) => [one.getBoundingClientRect(), one.ariaLabel ?? one.innerText ?? one.id])
    .filter(([{ width, height }]) => width && (width < 44 || height < 44))
    .map(([{ width, height }, name]) => `${name}: ${width} x ${height}`)"""


@pytest.fixture
def screen() -> str:
    return "phone"


def test_the_image_comes_first_and_everything_can_be_hit(served: Site):
    site = served
    site.open_and_label("coffee.jpg", "table, spoon")
    top = site.tab.evaluate("() => document.querySelector('.stage').getBoundingClientRect().top + scrollY")
    assert top < 200, f"the image begins {top:g} px down"
    for tool in ("Look", "Brush", "Polygon", "Click an object", "Objects"):
        site.press(tool, exact=True)
        assert site.tab.evaluate(SMALL) == [], tool
    # the button that ends a click is in sight, wherever the options were scrolled
    site.press("Click an object")
    site.tab.locator(".toolbar .options").evaluate("options => (options.scrollLeft = options.scrollWidth)")
    assert site.tab.get_by_role("button", name="Give the word").bounding_box()["x"] < 100
    site.press("Help")
    site.tab.get_by_text("Change keys").click()
    assert site.tab.evaluate(SMALL) == []
    assert not site.complaints


def test_a_long_list_of_words_is_searched_and_keeps_its_height(served: Site):
    site = served
    site.open()
    site.drop(site.photos / "coffee.jpg")
    site.type(", ".join(MANY_WORDS))
    words = site.tab.get_by_role("list", name="Words", exact=True)
    shown = words.locator("li:visible")
    assert shown.count() == len(MANY_WORDS)
    low = words.bounding_box()["height"]
    site.press(f"Show all {len(MANY_WORDS)}")
    assert words.bounding_box()["height"] > 2 * low
    site.all_saved()
    site.tab.reload()
    site.tab.get_by_role("button", name="Show fewer").wait_for()
    site.tab.get_by_label("Find a word in the list").fill("THING")
    assert shown.count() == 4
    # words keep the numbers that choose them
    number = "one => getComputedStyle(one).counterSet"
    assert shown.first.evaluate(number) == f"word {MANY_WORDS.index('red thing') + 1}"
    site.press("Show fewer")
    assert words.bounding_box()["height"] == low


@pytest.mark.parametrize("screen", ["desktop"])
def test_gray_tools_say_why_and_lead_on(served: Site):
    site = served
    site.open()
    site.drop(site.photos / "coffee.jpg")
    site.shows("Tools work once the image is labeled", ".toolbar")
    site.type("table, spoon")
    site.done()
    undo = site.tab.get_by_role("button", name="Undo")
    assert undo.get_attribute("title") == "Undo: nothing was changed"
    site.press("Done", exact=True)
    site.shows("This image is done, and locked", ".toolbar")
    title = site.tab.get_by_role("button", name="Brush").get_attribute("title")
    assert title == "Brush (B): This image is done, and locked until you reopen it."
    site.press("Reopen")
    # tools have names, and where they have no options is what they do
    assert site.tab.get_by_role("toolbar").inner_text().split()[:3] == ["Look", "Region", "Click"]
    site.press("Look", exact=True)
    site.shows("Point at the image to read it.", ".toolbar .options")
    assert site.tab.get_by_role("button", name="Brush").is_enabled()
