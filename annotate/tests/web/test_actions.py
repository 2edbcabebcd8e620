"""Everything that can be done on the page with images, words and the result, on a phone and on a desktop.

A service labels the images, since the network in the page takes seconds to load; test_page.py has that one.
"""

import numpy as np
import pytest

from annotate.tests.web.conftest import SCREENS
from annotate.tests.web.site import Site, has_line

pytestmark = pytest.mark.parametrize("screen", SCREENS)

COFFEE = "cup, table, spoon, coffee"


@pytest.fixture
def coffee(served: Site) -> Site:
    served.open_and_label("coffee.jpg", COFFEE)
    return served


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two images of the stage are equal, but for the shadows of the buttons on it."""
    return bool((one != other).mean() < 0.001)


def names(page: Site, name: str) -> list[str]:
    rows = page.tab.get_by_role("list", name=name, exact=True).locator(".name").all_inner_texts()
    return [" ".join(row.split()) for row in rows]


def test_images_come_by_drop_paste_file_and_example(served: Site):
    served.open()
    served.press("Try an example")
    served.tab.get_by_role("button", name="example.jpg, labeled").wait_for()
    served.drop(served.photos / "coffee.jpg", served.photos / "rocket.jpg")
    served.tab.get_by_role("button", name="rocket.jpg").first.wait_for()
    served.tab.evaluate(
        "data => dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }))",
        served.transfer([served.photos / "chelsea.jpg"]),
    )
    served.tab.get_by_role("button", name="chelsea.jpg, ").wait_for()
    served.tab.locator("input[accept='image/*']").set_input_files(served.photos / "astronaut.jpg")
    served.tab.get_by_role("button", name="astronaut.jpg, ").wait_for()
    served.shows("5 of 5 images labeled")
    assert served.complaints == []


def test_words_are_typed_pasted_dropped_spelled_and_removed(served: Site, tmp_path):
    served.open()
    field = served.tab.get_by_label("Words to look for")
    field.fill("cat,")
    field.fill("sofa = couch")
    field.press("Enter")
    assert names(served, "Words") == ["cat", "sofa +1"]
    field.fill("cat,")
    assert served.tab.get_by_text("“cat” is already among the words.").is_visible()
    served.tab.evaluate(
        """element => {
            const transfer = new DataTransfer();
            transfer.setData("text", "wall\\nlamp, light\\n");
            const options = { clipboardData: transfer, bubbles: true, cancelable: true };
            element.dispatchEvent(new ClipboardEvent("paste", options));
        }""",
        field.element_handle(),
    )
    assert names(served, "Words") == ["cat", "sofa +1", "wall", "lamp +1"]
    (tmp_path / "words.txt").write_text("sky\ngrass\n", encoding="utf-8")
    served.drop(tmp_path / "words.txt")
    served.tab.get_by_role("button", name="Remove grass").wait_for()
    # a row chooses its word
    served.press("sofa +1", exact=True)
    served.tab.locator(".pick[aria-pressed=true]", has_text="2").wait_for()
    # and the chosen word's name renames it
    served.press("sofa +1", exact=True)
    served.tab.get_by_label("couch").check()
    served.press("Rename", exact=True)
    assert "couch +1" in names(served, "Words")
    field.press("Backspace")
    served.press("Remove sky")
    assert names(served, "Words") == ["cat", "couch +1", "wall", "lamp +1"]
    served.press("Remove all words")
    assert served.tab.get_by_role("list", name="Words", exact=True).count() == 0


@pytest.mark.usefixtures("by_tiny")
def test_the_overlay_changes_with_opacity_names_hidden_words_and_the_least_confidence(coffee: Site):
    first = coffee.image_once()
    coffee.tab.get_by_label("Opacity of the colors").fill("90")
    stronger = coffee.image_once(lambda image: (image != first).mean() > 0.2)
    coffee.tab.get_by_label("Names in the regions").uncheck()
    nameless = coffee.image_once(lambda image: 0 < (image != stronger).mean() < 0.1)
    coffee.press("Hide table")
    hidden = coffee.image_once(lambda image: (image != nameless).mean() > 0.1)
    coffee.press("Show cup alone")
    coffee.image_once(lambda image: (image != hidden).any())
    coffee.press("Show cup alone")
    coffee.image_once(lambda image: same(image, hidden))
    coffee.press("Show table", exact=True)
    coffee.image_once(lambda image: same(image, nameless))
    # what is unlikely has no word, or is background, in gray, and nothing is asked again
    before, asked = coffee.labels(), len(coffee.requests)
    coffee.tab.get_by_label("Least confidence").fill("80")
    below = coffee.labels()
    unlikely = below == 255
    assert 0.01 < unlikely.mean() < 0.99 and (below[~unlikely] == before[~unlikely]).all()
    assert "unlabeled" in names(coffee, "Words")
    coffee.tab.get_by_label("Pixels below it are background").check()
    coffee.tab.get_by_label("Name of the background").fill("other")
    background = coffee.labels()
    assert (background[unlikely] == 4).all() and (background[~unlikely] == before[~unlikely]).all()
    swatch = coffee.tab.locator(".word-rows li", has_text="other").locator(".swatch")
    assert swatch.evaluate("swatch => swatch.style.background") == "rgb(128, 128, 128)"
    assert [request for request in coffee.requests[asked:] if not request.startswith("blob:")] == []


def test_a_region_and_a_stroke_give_another_word_and_are_undone_and_done_again(coffee: Site):
    # a brush paints a word, and gives back what the model found
    before = coffee.labels()
    height = len(before)
    coffee.press("Brush")
    coffee.tab.get_by_label("Paint").select_option("coffee")
    # keys act on the image once a word is chosen, but step through the closed menu
    menu = coffee.tab.get_by_label("Paint")
    menu.focus()
    menu.select_option("coffee")
    coffee.tab.keyboard.press("s")
    assert coffee.painted() == "coffee"
    menu.focus()
    for key, word in (("ArrowUp", "spoon"), ("ArrowUp", "table"), ("ArrowDown", "spoon"), ("ArrowDown", "coffee")):
        coffee.tab.keyboard.press(key)
        assert coffee.painted() == word
    # the word's color is beside its name and around the pointer
    swatch = coffee.tab.locator(".options .swatch").evaluate("swatch => swatch.style.background")
    color = np.array([int(value) for value in swatch.removeprefix("rgb(").removesuffix(")").split(",")])
    if coffee.tab.evaluate("() => matchMedia('(pointer: fine)').matches"):
        coffee.tab.mouse.move(*coffee.place(0.5, 0.5))
        coffee.pointed_once(lambda image: (abs(image - color) < 20).all(-1).sum() > 10)
    coffee.tab.get_by_label("Size").fill("8")
    coffee.drag((0.1, 0.8), (0.3, 0.8), (0.3, 0.9))
    brushed = coffee.labels()
    assert has_line(brushed, 0.8, 3, 0.1, 0.3)
    assert (brushed[: int(0.7 * height)] == before[: int(0.7 * height)]).all()
    coffee.paint("as the model found it", (0.1, 0.8), (0.3, 0.8), (0.3, 0.9))
    coffee.press("Undo")
    coffee.press("Redo")
    assert (coffee.labels() == before).all()
    # all of a region
    coffee.press("Give a region another word")
    coffee.click(0.02, 0.02)
    coffee.tab.get_by_role("dialog").get_by_role("option", name="spoon").click()
    after = coffee.labels()
    changed = before != after
    assert 0.05 < changed.mean() < 0.9 and set(before[changed]) == {before[6, 9]} and set(after[changed]) == {2}
    coffee.tab.keyboard.press("Control+z")
    assert (coffee.labels() == before).all()
    coffee.press("Redo")
    assert (coffee.labels() == after).all()
    # a word that isn't in the list is added to it
    coffee.click(0.02, 0.02)
    # digits are the number of a word, and what is nearly spelled so comes before what would be added
    field, chosen = coffee.tab.get_by_label("Find a word"), coffee.tab.get_by_role("option", selected=True)
    for typed, word in (("4", "coffee"), ("cofee", "coffee"), ("desk", "Add “desk”")):
        field.fill(typed)
        coffee.tab.get_by_role("option", name=word).and_(chosen).wait_for()
    assert coffee.tab.get_by_role("option", name="coffee").count() == 0
    coffee.tab.get_by_role("option", name="Add “desk”").click()
    coffee.done()
    assert (coffee.labels()[changed] == 4).all()
    coffee.click(0.02, 0.02)
    coffee.tab.get_by_role("dialog").get_by_role("option", name="no word").click()
    assert (coffee.labels()[changed] == 255).all()


def test_everything_is_corrected_with_the_keyboard_alone(coffee: Site):
    before = coffee.labels()
    coffee.stage_key("b", "3", "]", "]", "ArrowLeft", "Enter", "ArrowRight", "ArrowRight", " ")
    brushed = coffee.labels()
    assert set(brushed[brushed != before]) == {2}
    coffee.stage_key("p", "s", "4", "ArrowDown", " ", *["ArrowRight"] * 9, " ", *["ArrowDown"] * 9, " ", "Enter")
    assert set(coffee.labels()[coffee.labels() != brushed]) == {3}
    coffee.tab.keyboard.press("Control+z")
    coffee.stage_key("p", " ", *["ArrowRight"] * 9, " ", "Backspace", "Escape", "r", "Enter")
    dialog = coffee.tab.get_by_role("dialog")
    dialog.wait_for()
    coffee.tab.get_by_label("Find a word").fill("table")
    coffee.tab.keyboard.press("Enter")
    dialog.wait_for(state="detached")
    after = coffee.labels()
    assert set(after[after != brushed]) <= {1}


def test_keys_work_from_the_start_and_beside_the_image_but_not_where_something_is_typed(coffee: Site):
    brush = coffee.tab.get_by_role("button", name="Brush", pressed=True)
    coffee.tab.reload()
    coffee.done()
    coffee.tab.keyboard.press("b")
    brush.wait_for()
    coffee.tab.get_by_label("Words to look for").press("v")
    coffee.tab.get_by_label("Words to look for").fill("")
    coffee.tab.get_by_role("heading", name="segvoc").click()
    coffee.tab.keyboard.press("n")
    coffee.tab.get_by_role("button", name="coffee.jpg, done").wait_for()
    coffee.press("Reopen")
    brush.wait_for()
    coffee.press("Help")
    coffee.tab.keyboard.press("n")
    coffee.press("Close")
    assert coffee.tab.get_by_role("button", name="coffee.jpg, done").count() == 0


def test_a_stroke_or_a_word_that_is_followed_at_once_by_a_reload_is_kept(coffee: Site):
    coffee.drop(coffee.photos / "rocket.jpg")
    coffee.shows("2 of 2 images labeled")
    coffee.go_to("rocket.jpg")
    for y in (0.2, 0.8):
        coffee.paint("coffee", (0.1, y), (0.3, y))
        coffee.tab.reload()
        coffee.is_open("rocket.jpg")
        coffee.done()
    assert all(has_line(coffee.labels(), y, 3, 0.1, 0.3) for y in (0.2, 0.8))
    coffee.type("sky")
    coffee.tab.reload()
    coffee.has_word("sky")
    coffee.done()
    painted = coffee.labels()
    coffee.press("Take back all corrections")
    assert not (coffee.labels() == painted).all()
    coffee.press("Clear all")
    coffee.press("Remove everything")
    coffee.tab.get_by_text("Choose images").first.wait_for()
    coffee.shows("All changes are saved")
    coffee.tab.reload()
    coffee.shows("The model is ready")
    assert coffee.tab.locator(".thumbnail").count() == 0
