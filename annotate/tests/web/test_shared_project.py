"""A project on the real service: two people on it, learning from done images, and a service that is killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from annotate.tests.web.conftest import SIZES
from annotate.tests.web.site import SAMPLES, Site, check, has_line
from segvoc.vocabulary import Vocabulary
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork
from tests.inference.taught.drawn_examples import DrawnExamples
from tests.processes import free_port
from tests.serving.services import png

NAMES = ("coffee.jpg", "rocket.jpg")


START_SECONDS = 120


def new_project(folder: Path) -> Path:
    """A project of two photographs."""
    (folder / "images").mkdir(parents=True)
    for name in NAMES:
        shutil.copy(SAMPLES / name, folder / "images" / name)
    Project.create(folder).close()
    return folder


@dataclass
class RealService:
    folder: Path
    options: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "segvoc", "serve", "tiny", "--project", str(self.folder), *self.options]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}healthz", timeout=5):
                    return
            except (URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"the service didn't start; see {self.folder}.log")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def street(tmp_path: Path, page_folder: Path) -> Iterator[RealService]:
    """A service with a project of two photographs; it needs the page's files that `page_folder` has."""
    service = RealService(new_project(tmp_path / "street"))
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
    site.tab.get_by_text("All changes are saved").wait_for()


def paint(site: Site, word: str, y: float) -> None:
    site.paint(word, (0.1, y), (0.9, y))


def until(site: Site, holds: Callable[[np.ndarray], bool]) -> None:
    """Wait until the labels are as somebody else or something learned has made them."""
    for _ in range(100):
        if holds(site.labels()):
            return
        site.tab.wait_for_timeout(200)
    raise AssertionError("the labels stay as they are")


def shows_line(site: Site, y: float, value: int) -> None:
    until(site, lambda labels: has_line(labels, y, value))


def begin(site: Site, words: str) -> None:
    site.tab.goto(site.address)
    site.type(words)
    site.done()


def whoever_is_asked(*sites: Site) -> Site:
    for _ in range(600):
        for site in sites:
            if site.tab.get_by_role("dialog").count():
                return site
        sites[0].tab.wait_for_timeout(100)
    raise AssertionError("nobody is asked")


def test_two_people_lose_nothing_and_are_asked_where_they_collide(anna: Site, street: RealService):
    begin(anna, "cup, table, spoon")
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
    begin(anna, "cup, table")
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


def test_words_are_merged_for_everybody(anna: Site, street: RealService):
    begin(anna, "cup, mug, table")
    paint(anna, "mug", 0.3)
    saved(anna)
    anna.tab.get_by_role("list", name="Words").get_by_role("button", name="mug", exact=True).click()
    anna.tab.get_by_label("Name;").fill("Cup")
    anna.tab.get_by_label("Name;").press("Enter")
    anna.press("Merge them")
    anna.tab.get_by_text("“mug” is “cup” now.").wait_for()
    shows_line(anna, 0.3, 0)
    assert [word.name for word in ProjectFolder(street.folder).record.present] == ["cup", "table"]
    # what is removed stays where somebody painted it
    anna.press("Remove cup")
    anna.press("Remove", exact=True)
    anna.tab.get_by_text("Removed “cup”.").wait_for()
    shows_line(anna, 0.3, 0)


def test_a_done_image_is_sent_back_and_accepted(anna: Site, street: RealService):
    begin(anna, "cup, table")
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


TAUGHT_WORDS = ("grass", "brick")
COLORS = np.array([(170, 60, 40), (40, 160, 40)])
"""Against their text: what the first word is called has the color of the second."""

LAYOUTS = ([0, 1], [1, 0], [1, 0], [0, 1])
"""The words of the left and the right half of each image."""


def drawn() -> DrawnExamples:
    images, labels = [], []
    for number, words in enumerate(LAYOUTS):
        drawn = np.array(words, np.uint16)[None].repeat(96, axis=0).repeat(64, axis=1)
        noise = np.random.default_rng(number).integers(-25, 26, (*drawn.shape, 3))
        images.append(np.clip(COLORS[drawn] + noise, 0, 255).astype(np.uint8))
        labels.append(drawn)
    return DrawnExamples(images, labels, Vocabulary(TAUGHT_WORDS))


@pytest.fixture
def painted(tmp_path: Path, page_folder: Path) -> Iterator[RealService]:
    """A service whose project has three images that are done, and another; `page_folder` has files that it needs."""
    examples = drawn()
    project = Project.create(tmp_path / "halves", words=TAUGHT_WORDS)
    for number, image in enumerate(examples.images):
        project.add(name := f"{number}.png", png(image))
        if number < 3:
            state = project.write(name, LabelWork.of_labels(examples.labels[number]), expected=0)
            project.set_done(name, True, expected=state.revision)
    service = RealService(project.folder)
    project.close()
    service.start()
    yield service
    service.kill()


@pytest.mark.slow
@pytest.mark.parametrize("screen", SIZES)
def test_done_images_teach_the_service_and_everybody_on_it(browser, painted, screen, tmp_path):
    examples, project = drawn(), ProjectFolder(painted.folder)
    done = {name: project.work_content(f"{name}.png") for name in range(3)}
    context = browser.new_context(**SIZES[screen], accept_downloads=True, reduced_motion="reduce")
    context.set_default_timeout(120_000)
    anna, ben = (Site(context.new_page(), painted.address, tmp_path) for _ in range(2))
    for site in (anna, ben):
        site.tab.goto(site.address)
        site.tab.get_by_text("4 of 4 images labeled, 3 done").wait_for()
    anna.press("Improve with 3 done images")
    anna.tab.get_by_role("table", name="IoU [%] on corrected images that were held out of the 3").wait_for()
    check(anna, "improved on the service")
    for site in (anna, ben):
        site.tab.get_by_title("grass, brick").wait_for()
        site.tab.get_by_text("4 of 4 images labeled, 3 done").wait_for()
        site.go_to("3.png")
        until(site, lambda labels: (labels == examples.labels[3]).mean() > 0.9)
    assert {name: project.work_content(f"{name}.png") for name in range(3)} == done
    assert project.record.options.taught == ("taught/improved.words.safetensors",)
    # another change of the project keeps its taught words
    ben.type("sky")
    ben.tab.get_by_text("All changes are saved").wait_for()
    assert project.record.options.taught == ("taught/improved.words.safetensors",)
    context.close()
