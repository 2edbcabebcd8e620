"""The page with a service behind it, for hours: many words, many files, and finding one's way through them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.tests.web.conftest import SCREENS
from annotate.tests.web.fake_service import FakeService
from annotate.tests.web.site import Site, has_line, in_python
from segvoc.imaging.reading import read_image
from segvoc_annotate.projects.archive import unpack_project


@pytest.mark.usefixtures("by_tiny")
@pytest.mark.parametrize("screen", SCREENS)
def test_the_service_labels_images_until_the_page_does_it_itself(served: Site, service: FakeService):
    served.open_and_label("coffee.jpg", "cup = mug, table")
    assert service.forms[-1] == {"words": '["cup, mug","table"]'}
    result = in_python(served.photos / "coffee.jpg", ["cup", "table"])
    assert (served.labels() == result.labels).mean() > 0.999
    assert "on the service" in served.tab.get_by_role("status").filter(has_text="labeled").inner_text()
    asked = len(service.forms)
    served.tab.get_by_role("radio", name="On this device").check(force=True)
    served.tab.get_by_role("status").filter(has_text="on this device").wait_for()
    assert len(service.forms) == asked
    assert served.complaints == []
    assert all(request.startswith((served.address, "blob:", "data:")) for request in served.requests)


@pytest.mark.usefixtures("by_tiny")
def test_parts_are_asked_for_shown_and_explained(served: Site, service: FakeService):
    served.open_and_label("chelsea.jpg", "cat, wall")
    field = served.tab.get_by_label("Parts of objects")
    field.fill("cat head")
    served.tab.get_by_role("alert").filter(has_text="no colon").wait_for()
    served.tab.get_by_text("How to write parts").click()
    assert served.tab.get_by_text("A star stands for every word").is_visible()
    field.fill("cat: head, ear")
    field.press("Enter")
    served.tab.get_by_role("list", name="Parts", exact=True).wait_for()
    assert service.forms[-1]["parts"] == "cat: head, ear"
    result = in_python(served.photos / "chelsea.jpg", ["cat", "wall"], parts={"cat": ["head", "ear"]})
    places = np.argwhere(result.part_labels == 0)
    row, column = places[len(places) // 2]
    height, width = result.part_labels.shape
    served.tab.mouse.move(*served.place((column + 0.5) / width, (row + 0.5) / height))
    assert served.reading().startswith("cat, head")
    served.press("Remove cat’s ear")
    served.done()
    assert (service.forms[-1]["parts"], field.input_value()) == ("cat: head", "cat: head")


def test_a_service_asks_for_a_key_is_busy_and_refuses(served: Site, service: FakeService):
    service.key, service.busy = "s3cret", 1
    served.tab.goto(served.address)
    served.tab.get_by_role("alert").filter(has_text="asks for an API key").wait_for()
    served.tab.get_by_label("API key").fill("s3cret")
    served.press("Use it")
    served.shows("The model is ready")
    # a busy service is asked again
    served.label(served.photos / "coffee.jpg", "cup, table")
    assert service.busy == 0
    # the window keeps the key
    served.tab.reload()
    served.done()
    served.type("teapot")
    served.tab.get_by_role("alert").filter(has_text="this is no word for a teapot").wait_for()
    served.remove_word("teapot")
    served.done()
    assert served.tab.get_by_role("alert").count() == 0


def test_each_of_several_bad_files_is_named(served: Site, tmp_path: Path):
    paths = [tmp_path / f"bad-{number}.png" for number in range(1, 13)]
    for path in paths:
        path.write_bytes(b"no image")
    served.open()
    served.drop(paths[0], served.photos / "coffee.jpg", paths[1])
    served.tab.get_by_role("button", name="coffee.jpg, ").wait_for()
    alert = served.tab.get_by_role("alert")
    alert.filter(has_text="bad-2.png").wait_for()
    assert [line.split("”")[0] for line in alert.inner_text().splitlines()] == ["“bad-1.png", "“bad-2.png"]
    served.drop(*paths)
    alert.filter(has_text="4 more of the files weren't added.").wait_for()
    served.press("Dismiss this message")
    alert.wait_for(state="detached")


def test_images_that_failed_while_the_service_was_down_are_labeled_once_it_is_back(served: Site, service: FakeService):
    served.open()
    service.is_down = True
    served.drop(served.photos / "coffee.jpg", served.photos / "rocket.jpg", served.photos / "chelsea.jpg")
    served.type("cup, table")
    served.tab.get_by_role("alert").filter(has_text="No connection to the service; retrying").wait_for()
    served.tab.get_by_role("button", name="Try 2 images again").wait_for()
    # the others aren't tried in vain
    assert served.tab.get_by_role("button", name="failed").count() == 2
    service.is_down = False
    served.shows("3 of 3 images labeled")
    assert served.tab.get_by_role("alert").count() == 0


def test_a_removed_image_comes_back_with_its_corrections(served: Site):
    served.open_and_label("coffee.jpg", "cup, table")
    served.paint("table", (0.1, 0.2), (0.9, 0.2))
    corrected = served.labels()
    served.press("Remove coffee.jpg")
    served.tab.get_by_role("button", name="Choose images").or_(served.tab.get_by_text("Choose images")).first.wait_for()
    served.tab.reload()
    served.press("Put back coffee.jpg")
    served.is_open("coffee.jpg")
    served.done()
    assert (served.labels() == corrected).all()
    assert served.tab.get_by_role("button", name="Put back").count() == 0
    served.press("Remove coffee.jpg")
    served.press("Empty the trash")
    served.press("Delete", exact=True)
    served.tab.get_by_role("button", name="Put back").wait_for(state="detached")


def test_the_tab_that_was_opened_last_has_the_work_and_no_correction_is_lost(served: Site):
    served.open_and_label("coffee.jpg", "cup, table")
    served.paint("table", (0.1, 0.2), (0.9, 0.2))
    first = served.tab
    second = replace(served, tab=first.context.new_page())
    second.tab.goto(served.address)
    second.done()
    assert has_line(second.labels(), 0.2, 1)
    first.get_by_text("open in another tab").wait_for()
    second.paint("table", (0.1, 0.5), (0.9, 0.5))
    first.bring_to_front()  # a tab behind another is slow
    first.get_by_role("button", name="Continue here").click()
    served.done()
    assert all(has_line(served.labels(), y, 1) for y in (0.2, 0.5))
    second.shows("open in another tab")


@pytest.mark.usefixtures("by_tiny")
def test_a_turned_webp_is_kept_and_sent_as_the_page_shows_it(served: Site, tmp_path: Path):
    """Chromium ignores the EXIF orientation of WebP files, which the service and all other readers apply."""
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(served.photos / "rocket.jpg") as photograph:
        photograph.save(tmp_path / "turned.webp", exif=exif, quality=95)
        photograph.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "upright.png")
    served.open()
    served.label(tmp_path / "turned.webp", "rocket, sky, ground")
    project = unpack_project(served.saved("Save project"), tmp_path / "unpacked")
    state, work = project.work("turned.webp")
    image = read_image(project.image("turned.webp").path)
    assert image.shape[:2] == (state.height, state.width) == work.labels.shape
    # the file that is saved and its label map fit
    assert (in_python(image, ["rocket", "sky", "ground"]).labels == work.labels).mean() > 0.99


NAMES = ("coffee.jpg", "rocket.jpg", "chelsea.jpg")


def listed(site: Site) -> list[str]:
    return [entry.get_attribute("title").split("\n")[0] for entry in site.tab.locator(".thumbnail").all()]


def choose(site: Site, what: str, option: str) -> None:
    site.tab.get_by_role("search").get_by_label(what).select_option(option)


@pytest.mark.parametrize("screen", SCREENS)
def test_images_are_found_worked_through_and_counted(served: Site):
    served.open()
    served.label(served.photos / NAMES[0], "cup, table")
    served.drop(*(served.photos / name for name in NAMES[1:]))
    served.shows("3 of 3 images labeled")

    served.go_to("coffee.jpg")
    served.press("Find images")
    served.tab.get_by_label("File name").fill("ROCK")
    assert listed(served) == ["coffee.jpg", "rocket.jpg"]  # the open one stays in sight
    served.go_to("rocket.jpg")
    assert listed(served) == ["rocket.jpg"]
    served.press("Show all", exact=True)
    choose(served, "Order", "By name")
    assert listed(served) == ["chelsea.jpg", "coffee.jpg", "rocket.jpg"]

    # what is done leaves the images that aren't, and the next one in this order follows
    served.go_to("chelsea.jpg")
    choose(served, "State", "Labeled, not corrected")
    served.press("Done", exact=True)
    served.is_open("coffee.jpg")
    assert listed(served) == ["coffee.jpg", "rocket.jpg"]
    served.tab.get_by_text("2 of 3 images", exact=True).wait_for()
    choose(served, "State", "Any state")

    served.press("Progress")
    dialog = served.tab.get_by_role("dialog")
    dialog.get_by_text("1 of 3 images done, 0 corrected, 2 labeled by the model alone, 0 not labeled.").wait_for()
    row = dialog.get_by_role("row").filter(has_text="cup")
    assert [int(cell) for cell in row.get_by_role("cell").all_inner_texts()[1:]] == [2, 1]  # images, done
    row.get_by_role("button").click()
    dialog.wait_for(state="detached")
    assert served.tab.get_by_role("search").get_by_label("Word").input_value() != ""
