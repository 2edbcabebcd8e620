"""A project on the real service, with two people on it, and with a service that is killed."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotate.tests.web.conftest import SIZES
from annotate.tests.web.real_service import RealService
from annotate.tests.web.site import SAMPLES, Site
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project

NAMES = ("coffee.jpg", "rocket.jpg")


@pytest.fixture
def street(tmp_path: Path, page_folder: Path) -> Iterator[RealService]:
    """A service with a project of two photographs; it needs the page's files that `page_folder` has."""
    folder = tmp_path / "street"
    (folder / "images").mkdir(parents=True)
    for name in NAMES:
        shutil.copy(SAMPLES / name, folder / "images" / name)
    Project.create(folder)
    service = RealService(folder)
    service.start()
    yield service
    service.kill()


@pytest.fixture
def anna(browser: Any, street: RealService, tmp_path: Path) -> Iterator[Site]:
    context = browser.new_context(**SIZES["desktop"], accept_downloads=True, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    yield Site(context.new_page(), street.address, tmp_path)
    context.close()


def saved(site: Site) -> None:
    """Wait until the service has everything."""
    site.tab.get_by_text("All changes are saved").wait_for()


def paint(site: Site, word: str, y: float) -> None:
    site.paint(word, (0.1, y), (0.9, y))


def has_line(labels: np.ndarray, y: float, value: int) -> bool:
    height, width = labels.shape
    return bool((labels[int(y * height), int(0.2 * width) : int(0.8 * width)] == value).all())


def shows_line(site: Site, y: float, value: int) -> None:
    """Wait until a line of somebody else is there."""
    for _ in range(60):
        if has_line(site.labels(), y, value):
            return
        site.tab.wait_for_timeout(250)
    raise AssertionError(f"no line at {y}")


def whoever_is_asked(*sites: Site) -> Site:
    """Wait until one of the pages asks something."""
    for _ in range(600):
        for site in sites:
            if site.tab.get_by_role("dialog").count():
                return site
        sites[0].tab.wait_for_timeout(100)
    raise AssertionError("nobody is asked")


def test_two_people_lose_nothing_and_are_asked_where_they_collide(anna: Site, street: RealService):
    anna.tab.goto(anna.address)
    anna.type("cup, table, spoon")
    anna.done()
    anna.tab.get_by_label("Your name").fill("anna")
    anna.tab.get_by_label("Your name").press("Tab")
    ben = replace(anna, tab=anna.tab.context.new_page())
    ben.tab.goto(ben.address)
    ben.done()
    paint(anna, "table", 0.2)
    shows_line(ben, 0.2, 1)
    # both paint while neither hears of the other
    anna.tab.context.set_offline(True)
    paint(anna, "spoon", 0.5)
    paint(ben, "table", 0.5)
    paint(ben, "table", 0.8)
    anna.tab.get_by_text("1 change waits for the service").wait_for()
    ben.tab.get_by_text("1 change waits for the service").wait_for()
    anna.tab.context.set_offline(False)
    asked = whoever_is_asked(anna, ben)
    other = ben if asked is anna else anna
    asked.press("Combine (mine on top)")
    saved(asked)
    saved(other)
    top = 2 if asked is anna else 1
    for one in (anna, ben):
        shows_line(one, 0.5, top)
        assert has_line(one.labels(), 0.2, 1) and has_line(one.labels(), 0.8, 1)
    project = ProjectFolder(street.folder)
    assert project.state(project.image("coffee.jpg")).by == "anna"
    # a word of each of them, and nobody's is lost
    anna.type("floor")
    ben.type("wall")
    for one in (anna, ben):
        for word in ("floor", "wall"):
            one.tab.get_by_role("button", name=f"Remove {word}").wait_for()
    # what is done is locked for the other one
    anna.done()
    saved(anna)
    anna.stage_key("n")
    anna.is_open("rocket.jpg")
    ben.tab.get_by_role("button", name="coffee.jpg, done").wait_for()
    assert ben.tab.get_by_role("button", name="Brush").is_disabled()


@pytest.mark.slow
def test_a_stroke_survives_a_killed_service_and_a_closed_tab(anna: Site, street: RealService):
    anna.tab.goto(anna.address)
    anna.type("cup, table")
    anna.done()
    saved(anna)
    street.kill()
    paint(anna, "table", 0.2)
    anna.tab.get_by_text("1 change waits for the service").wait_for()
    anna.tab.close()
    # somebody else was faster
    project = Project(street.folder)
    state, work = project.work("coffee.jpg")
    assert work.corrections is not None
    height, width = work.labels.shape
    for plane, value in ((work.labels, 0), (work.corrections, 2)):
        plane[int(0.6 * height), int(0.2 * width) : int(0.8 * width)] = value
    project.write("coffee.jpg", work, expected=state.revision, by="ben")
    project.close()
    street.start()
    again = replace(anna, tab=anna.tab.context.new_page())
    again.tab.goto(again.address)
    again.done()
    saved(again)
    assert has_line(again.labels(), 0.2, 1)
    project = ProjectFolder(street.folder)
    labels = project.work("coffee.jpg")[1].labels
    assert has_line(labels, 0.2, 1) and has_line(labels, 0.6, 0)


def test_words_are_merged_for_everybody_and_separated_again(anna: Site, street: RealService):
    anna.tab.goto(anna.address)
    anna.type("cup, mug, table")
    anna.done()
    paint(anna, "mug", 0.3)
    saved(anna)
    anna.tab.get_by_role("list", name="Words").get_by_role("button", name="mug", exact=True).click()
    anna.tab.get_by_label("Name;").fill("cup")
    anna.tab.get_by_label("Name;").press("Enter")
    anna.press("Merge them")
    anna.tab.get_by_text("“mug” is “cup” now.").wait_for()
    shows_line(anna, 0.3, 0)
    assert [word.name for word in ProjectFolder(street.folder).record.present] == ["cup", "table"]
    saved(anna)
    anna.tab.reload()
    anna.done()
    anna.tab.locator(".words").get_by_role("button", name="Undo").click()
    shows_line(anna, 0.3, 1)
    # what is removed stays where somebody painted it
    anna.press("Remove mug")
    anna.press("Remove", exact=True)
    anna.tab.get_by_text("Removed “mug”.").wait_for()
    shows_line(anna, 0.3, 1)


def test_a_done_image_is_sent_back_and_accepted(anna: Site, street: RealService):
    anna.tab.goto(anna.address)
    anna.type("cup, table")
    anna.done()
    paint(anna, "table", 0.3)
    anna.stage_key("n")
    anna.is_open("rocket.jpg")
    anna.tab.get_by_label("Go to image").fill("1")
    anna.tab.get_by_label("Go to image").press("Enter")
    anna.is_open("coffee.jpg")
    anna.press("Send back")
    anna.tab.get_by_label("What has to be changed").fill("the spoon")
    anna.press("Send it back")
    anna.tab.get_by_text("Sent back by someone: the spoon").wait_for()
    shows_line(anna, 0.3, 1)
    anna.press("Find images")
    anna.tab.get_by_label("State").select_option("Sent back")
    anna.tab.get_by_text("1 of 2 images", exact=True).wait_for()
    anna.stage_key("n")
    anna.press("Accept")
    anna.tab.get_by_text("Accepted by someone").wait_for()
    saved(anna)
    state = ProjectFolder(street.folder).states()[0][0]
    assert state.done and state.review is not None and state.review.verdict == "accepted"
