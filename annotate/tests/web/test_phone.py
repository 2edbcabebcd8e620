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
    assert top < 120, f"the image begins {top:g} px down"
    header = site.tab.locator("header.top")
    assert header.bounding_box()["height"] < 60 and header.evaluate("one => one.scrollWidth <= one.clientWidth")
    for tool in ("Look", "Brush", "Polygon", "Click an object", "Separate objects"):
        site.press(tool, exact=True)
        assert site.tab.evaluate(SMALL) == [], tool
        # in one row, with the first of what can be done right below it, in sight without scrolling
        tools, options = (site.tab.locator(one).bounding_box() for one in (".tools", ".options > :first-child"))
        assert tools["height"] < 60 and options["x"] < 100, tool
        assert top + 60 < options["y"] + options["height"] + site.tab.evaluate("scrollY") < 844, tool
    zoom, stage = (site.tab.locator(one).bounding_box() for one in (".zoom", ".stage"))
    assert zoom["y"] + zoom["height"] <= stage["y"]
    # a tap on a region opens its words, which don't close by the same tap
    site.press("Give a region another word")
    site.tab.touchscreen.tap(*site.place(0.05, 0.9))
    site.tab.get_by_role("option", name="spoon").or_(site.tab.get_by_role("option", name="table")).first.click()
    site.press("Help")
    site.tab.get_by_text("Change keys").click()
    assert site.tab.evaluate(SMALL) == []
    assert not site.complaints


def test_a_long_list_of_words_is_searched_and_keeps_its_height(served: Site):
    site = served
    site.open()
    site.drop(site.photos / "coffee.jpg")
    site.type(", ".join(MANY_WORDS))
    site.done()
    shown = site.tab.locator(".word-rows button.name:visible")
    found = shown.count()
    assert 0 < found < len(MANY_WORDS)
    site.tab.get_by_text(f"Not found in this image ({len(MANY_WORDS) - found})").click()
    assert shown.count() == len(MANY_WORDS)
    assert site.tab.locator(".side .word-rows").last.bounding_box()["height"] < 500
    site.tab.get_by_label("Words to look for").fill("THING")
    assert shown.count() == 4
    # words keep the numbers that choose them
    number = str(MANY_WORDS.index("red thing") + 1)
    assert site.tab.locator(".word-rows li:visible", has_text="red thing").locator("kbd").inner_text() == number
    # a number that another digit may follow is shown while it is typed
    site.stage_key("3")
    site.shows("3_", ".typed")
    site.tab.locator(".typed", has_text=MANY_WORDS[2]).wait_for()
    site.tab.locator(".typed").wait_for(state="detached")
    # what is looked for isn't added
    site.tab.get_by_label("Opacity of the colors").focus()
    site.tab.get_by_label("Words to look for").fill("")
    assert shown.count() == len(MANY_WORDS)


@pytest.mark.parametrize("screen", ["desktop"])
def test_gray_tools_say_why_and_lead_on(served: Site):
    site = served
    site.open()
    site.drop(site.photos / "coffee.jpg")
    site.shows("Tools work once the image is labeled", ".options")
    site.type("table, spoon")
    site.done()
    undo = site.tab.get_by_role("button", name="Undo")
    assert undo.get_attribute("title") == "Undo: nothing was changed"
    site.press("Done", exact=True)
    site.shows("This image is done, and locked", ".options")
    title = site.tab.get_by_role("button", name="Brush").get_attribute("title")
    assert title == "Brush (B): This image is done, and locked until you reopen it."
    site.press("Reopen")
    # tools have names, and where they have no options is what they do
    assert site.tab.get_by_role("toolbar").inner_text().split()[:3] == ["Look", "Region", "Click"]
    site.press("Look", exact=True)
    stage = site.tab.locator(".stage").bounding_box()
    site.shows("Point at the image to read it.", ".options")
    # the image stays where it is
    for tool in site.tab.get_by_role("toolbar").locator("button[aria-pressed]").all():
        tool.click()
        assert site.tab.locator(".stage").bounding_box() == stage
    site.press("Look", exact=True)
    assert site.tab.get_by_role("button", name="Brush").is_enabled()
