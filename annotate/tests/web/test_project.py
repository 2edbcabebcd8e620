"""The page's work is a project: words with numbers that stay, images that are done, and files that hold all of it."""

import json
import threading
import zipfile

import numpy as np
from PIL import Image

from annotate.tests.web.fake_service import FakeService
from annotate.tests.web.site import Site
from segvoc_annotate.projects.archive import archived, unpack_project

_SLOW_IMAGES = """() => {
    const decode = createImageBitmap;
    window.createImageBitmap = async (...all) => {
        await new Promise(done => setTimeout(done, 500));
        return decode(...all);
    };
}"""


def wait_all(site: Site, count: int) -> None:
    site.shows(f"{count} of {count} images labeled")


def with_one_done(site: Site) -> np.ndarray:
    """Open the page with two images, correct the first one and mark it as done; its labels."""
    site.open_and_label("coffee.jpg", "cup, table")
    site.drop(site.photos / "rocket.jpg")
    wait_all(site, 2)
    site.go_to("coffee.jpg")
    site.paint("table", (0.1, 0.2), (0.9, 0.2))
    labels = site.labels()
    site.stage_key("n")
    site.is_open("rocket.jpg")
    return labels


def test_done_images_are_locked_and_other_words_leave_them_alone(served: Site, service: FakeService):
    before = with_one_done(served)
    served.shows("2 of 2 images labeled, 1 done")
    asked = len(service.forms)
    served.type("spoon, floor")
    wait_all(served, 2)
    served.done()
    served.remove_word("table")
    served.done()
    assert len(service.forms) == asked + 2
    # a rule of the project stands apart from how this reader sees it
    served.tab.get_by_role("region", name="Unsure pixels").get_by_label("Least confidence").fill("60")
    served.tab.reload()
    served.go_to("coffee.jpg", "done")
    assert served.tab.get_by_role("button", name="Brush").is_disabled()
    served.drag((0.1, 0.5), (0.9, 0.5))
    assert (served.labels() == before).all()
    # what was done stays as it was until somebody changes it
    served.press("Reopen")
    served.done()
    wait_all(served, 2)
    assert (served.labels() == before).mean() > 0.999 or "table" not in served.tab.locator(".words").inner_text()
    served.type("table")
    served.done()
    assert (served.labels() == before).all()


def test_a_word_has_one_number_in_all_files_however_many_come_and_go(served: Site, service: FakeService):
    served.open_and_label("coffee.jpg", "cup, table, spoon")
    served.drop(served.photos / "rocket.jpg", served.photos / "chelsea.jpg")
    wait_all(served, 3)
    service.hold = threading.Event()
    served.remove_word("cup")
    served.shows("Labeling the image")
    served.export("Everything")
    served.tab.get_by_role("dialog").filter(has_text="3 images aren't labeled for the current words").wait_for()
    old = served.download(lambda: served.press("Save them as they are"))
    with zipfile.ZipFile(old) as archive, archive.open("coffee.png") as file, Image.open(file) as image:
        stale = np.array(image)
    served.export("Everything")
    served.press("Wait for them")
    with served.tab.expect_download() as download:
        service.hold.set()
    path = served.folder / "all.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        with archive.open("coffee.png") as file, Image.open(file) as image:
            fresh = np.array(image)
        categories = json.loads(archive.read("coco-rle.json"))["categories"]
        report = json.loads(archive.read("coffee.json"))["classes"]
    assert categories == [{"id": 2, "name": "table"}, {"id": 3, "name": "spoon"}]
    assert [entry["id"] for entry in report] == [1, 2]
    assert 0 in stale and set(np.unique(fresh)) <= {1, 2}
    # what was a table is one still
    assert (fresh[stale == 1] == 1).mean() > 0.95


def test_a_project_is_saved_as_a_zip_that_the_page_and_the_service_open(served: Site, service: FakeService):
    before = with_one_done(served)
    path = served.saved("Save project")
    assert path.name == "project.zip"
    project = unpack_project(path, served.folder / "unpacked")
    state, work = project.work("coffee.jpg")
    assert state.done and (work.labels.astype(np.uint8) == before).all()
    assert project.state(project.image("coffee.jpg")).pixels == {"0": (before == 0).sum(), "1": (before == 1).sum()}
    # what the service makes of it comes back into the page
    project.update(expected=project.record.revision, name="street")
    archive = served.folder / "archive.zip"
    archive.write_bytes(b"".join(archived(project)))
    served.press("Clear all")
    served.press("Remove everything")
    asked = len(service.forms)
    served.tab.get_by_label("Open project").set_input_files(archive)
    served.go_to("coffee.jpg", "done")
    assert (served.labels() == before).all()
    served.shows("2 of 2 images labeled, 1 done")
    assert len(service.forms) == asked
    # an image that is chosen while others are still being read stays open
    served.tab.evaluate(_SLOW_IMAGES)
    served.tab.get_by_label("Open project").set_input_files(archive)
    served.press("Open it")
    served.tab.locator(".thumbnail[title^='rocket.jpg']").wait_for(state="detached")
    served.press("coffee.jpg, done")
    served.tab.locator("header button:enabled", has_text="Export").wait_for()
    served.tab.get_by_role("button", name="rocket.jpg, ").wait_for()
    served.is_open("coffee.jpg")
    wrong = served.folder / "wrong.zip"
    with zipfile.ZipFile(wrong, "w") as empty:
        empty.writestr("other.json", "{}")
    served.drop(wrong)
    served.press("Open it")
    served.tab.get_by_role("alert").filter(has_text="“wrong.zip” can't be opened: it has no project.json").wait_for()
