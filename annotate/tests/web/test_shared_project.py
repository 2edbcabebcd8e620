"""A project on the real service: two people on it, learning from done images, and a service that is killed."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from annotate.tests.services import listening
from annotate.tests.web.conftest import SIZES, OpenTab
from annotate.tests.web.fake_service import tiny
from annotate.tests.web.site import Site, check, has_line
from segvoc.vocabulary import Vocabulary
from segvoc_annotate.projects.contributions import contributions
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork
from segvoc_annotate.settings import WEB
from tests.inference.taught.drawn_examples import DrawnExamples
from tests.processes import free_port
from tests.serving.services import png


def new_project(folder: Path, photos: Path) -> Path:
    """A project of two photographs."""
    (folder / "images").mkdir(parents=True)
    for name in ("coffee.jpg", "rocket.jpg"):
        shutil.copy(photos / name, folder / "images" / name)
    Project.create(folder).close()
    return folder


@dataclass
class KilledService:
    """`segvoc serve` in a process of its own, which can be killed."""

    folder: Path
    port: int = field(default_factory=free_port)
    arguments: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "segvoc", "serve", "tiny", "--project", str(self.folder), *self.arguments]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )
        while self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}healthz", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"the service didn't start; see {self.folder}.log")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def street(tmp_path: Path, photos: Path) -> Path:
    return new_project(tmp_path / "street", photos)


@pytest.fixture
def address(street: Path) -> Iterator[str]:
    """A service of the project, in a thread of this process."""
    with listening(tiny(), page=WEB, project=street) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def anna(open_tab: OpenTab, address: str) -> Site:
    return open_tab(address)


def begin(site: Site, words: str) -> None:
    site.tab.goto(site.address)
    site.type(words)
    site.done()


def test_two_people_lose_nothing_and_are_asked_where_they_collide(open_tab: OpenTab, anna: Site, street: Path):
    begin(anna, "cup, table, spoon")
    anna.tab.get_by_label("Your name").fill("anna")
    anna.tab.get_by_label("Your name").press("Tab")
    ben = open_tab(anna.address)
    ben.tab.goto(ben.address)
    ben.done()
    anna.paint_line("table", 0.2)
    ben.shows_line(0.2, 1)
    # both paint while neither hears of the other
    for one in (anna, ben):
        one.tab.context.set_offline(True)
    anna.paint_line("spoon", 0.5)
    ben.paint_line("table", 0.5)
    ben.paint_line("table", 0.8)
    for one in (anna, ben):
        one.shows("1 change waits for the service")
    # whoever comes back last is asked
    anna.tab.context.set_offline(False)
    anna.all_saved()
    ben.tab.context.set_offline(False)
    ben.press("Combine (mine on top)")
    ben.all_saved()
    for one in (anna, ben):
        one.shows_line(0.5, 1)
        assert has_line(one.labels(), 0.2, 1) and has_line(one.labels(), 0.8, 1)
    project = ProjectFolder(street)
    told = [(change.what, change.by) for change in project.index.changes(0) if change.image == "coffee.jpg"]
    assert ("labels", "anna") in told and told[-1] == ("labels", "someone")
    # what the pages' models found is nobody's work, and ben has no name
    acted = [(one.person, one.image, one.actions) for one in contributions(project).images]
    assert acted == [("anna", "coffee.jpg", 2), ("someone", "coffee.jpg", 1)]
    # a word of each of them, and nobody's is lost
    anna.type("floor")
    ben.type("wall")
    for one in (anna, ben):
        for word in ("floor", "wall"):
            one.has_word(word)
    # what is done is locked for the other one
    anna.done()
    anna.all_saved()
    anna.stage_key("n")
    anna.is_open("rocket.jpg")
    ben.tab.get_by_role("button", name="coffee.jpg, done").wait_for()
    assert ben.tab.get_by_role("button", name="Brush").is_disabled()


def test_datasets_are_jobs_and_images_are_listed_by_person(anna: Site, street: Path):
    begin(anna, "cup, table")
    anna.all_saved()
    with zipfile.ZipFile(anna.saved("YOLO segmentation")) as archive:
        assert {"data.yaml", "labels/coffee.txt", "images/coffee.jpg"} <= set(archive.namelist())
    # an open image that isn't looked for isn't dealt out
    anna.press("Find images")
    anna.tab.get_by_label("File name").fill("rock")
    anna.press("People", exact=True)
    anna.tab.get_by_label("Who labels the 1 listed image, in turn").wait_for()
    anna.press("Close")
    anna.press("Show all", exact=True)
    anna.press("People", exact=True)
    anna.tab.get_by_label("Who labels the 2 listed images, in turn").fill("anna, ben")
    anna.press("Assign")
    anna.press("anna", exact=True)
    anna.shows("1 of 2 images")
    people = {state.image: state.person for state in ProjectFolder(street).states()[0]}
    assert people == {"coffee.jpg": "anna", "rocket.jpg": "ben"}
    anna.tab.get_by_label("Person").select_option("Anybody")
    anna.press("People", exact=True)
    anna.press("Compare two people")
    anna.shows("no image is done by two people")
    anna.press("Time and gold scores")
    anna.tab.get_by_role("region", name="What people did").get_by_role("row", name="ben").wait_for()


@pytest.fixture
def killed(street: Path) -> Iterator[KilledService]:
    service = KilledService(street)
    service.start()
    yield service
    service.kill()


@pytest.mark.slow
def test_a_stroke_survives_a_killed_service_and_a_closed_tab(open_tab: OpenTab, street: Path, killed: KilledService):
    anna = open_tab(killed.address)
    begin(anna, "cup, table")
    anna.all_saved()
    killed.kill()
    anna.paint_line("table", 0.2)
    anna.shows("1 change waits for the service")
    anna.tab.close()
    # somebody else was faster
    project = Project(street)
    state, work = project.work("coffee.jpg")
    assert work.corrections is not None
    height, width = work.labels.shape
    for plane, value in ((work.labels, 0), (work.corrections, 2)):
        plane[int(0.6 * height), int(0.2 * width) : int(0.8 * width)] = value
    project.write("coffee.jpg", work, expected=state.revision, by="ben")
    project.close()
    killed.start()
    anna.tab = anna.tab.context.new_page()
    anna.tab.goto(anna.address)
    anna.done()
    anna.all_saved()
    assert has_line(anna.labels(), 0.2, 1)
    project = ProjectFolder(street)
    labels = project.work("coffee.jpg")[1].labels
    assert has_line(labels, 0.2, 1) and has_line(labels, 0.6, 0)


def test_words_are_merged_for_everybody(anna: Site, street: Path):
    begin(anna, "cup, mug, table")
    anna.paint_line("mug", 0.3)
    anna.all_saved()
    anna.tab.get_by_role("list", name="Words").get_by_role("button", name="mug", exact=True).click()
    # what is typed at once is the new name
    anna.tab.keyboard.type("Cup")
    anna.tab.keyboard.press("Enter")
    anna.press("Merge them")
    anna.shows("“mug” is “cup” now.")
    anna.shows_line(0.3, 0)
    assert [word.name for word in ProjectFolder(street).record.present] == ["cup", "table"]
    # what is removed stays where somebody painted it
    anna.remove_word("cup")
    anna.press("Remove", exact=True)
    anna.shows("Removed “cup”.")
    anna.shows_line(0.3, 0)


def test_what_was_removed_is_deleted_for_good_once_the_trash_is_emptied(anna: Site, street: Path):
    begin(anna, "cup, table")
    anna.press("Remove rocket.jpg")
    anna.all_saved()
    anna.press("Empty the trash")
    anna.press("Delete", exact=True)
    anna.tab.get_by_role("button", name="Put back").wait_for(state="detached")
    assert not any(path.is_file() for path in (street / "trash").rglob("*"))
    anna.tab.reload()
    anna.done()
    assert anna.tab.get_by_role("button", name="trash").count() == 0


def test_a_number_that_is_typed_stays_while_the_page_changes(anna: Site) -> None:
    begin(anna, "cup, table")
    place = anna.tab.get_by_label("Go to image")
    place.fill("2")
    # a click of a program leaves the focus where it is
    anna.tab.get_by_role("button", name="Polygon", exact=True).evaluate("button => button.click()")
    anna.tab.get_by_role("button", name="Polygon", exact=True, pressed=True).wait_for()
    assert place.input_value() == "2"
    place.press("Enter")
    anna.is_open("rocket.jpg")
    assert place.input_value() == "2"


def test_a_done_image_is_sent_back_and_accepted(anna: Site, street: Path):
    begin(anna, "cup, table")
    anna.paint_line("table", 0.3)
    anna.stage_key("n")
    anna.is_open("rocket.jpg")
    anna.tab.get_by_label("Go to image").fill("1")
    anna.tab.get_by_label("Go to image").press("Enter")
    anna.is_open("coffee.jpg")
    anna.press("Send back")
    anna.tab.get_by_label("What has to be changed").fill("the spoon")
    anna.press("Send it back")
    anna.shows("Sent back by someone: the spoon")
    anna.shows_line(0.3, 1)
    # it is found, with who says what, from another image, too
    anna.go_to("rocket.jpg")
    anna.press("1 sent back")
    anna.tab.get_by_role("button", name="coffee.jpg, Sent back by someone: the spoon").wait_for()
    anna.is_open("coffee.jpg")
    anna.tab.get_by_text("1 of 2 images", exact=True).wait_for()
    assert anna.tab.locator(".entry .caption").inner_text() == "someone: the spoon"
    anna.press("1 sent back")
    assert anna.tab.locator(".thumbnail").count() == 2
    anna.stage_key("n")
    anna.press("Accept")
    anna.shows("Accepted by someone")
    anna.all_saved()
    state = ProjectFolder(street).states()[0][0]
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
def painted(tmp_path: Path) -> Iterator[KilledService]:
    """A service whose project has three images that are done, and another."""
    examples = drawn()
    project = Project.create(tmp_path / "halves", words=TAUGHT_WORDS)
    for number, image in enumerate(examples.images):
        project.add(name := f"{number}.png", png(image))
        if number < 3:
            state = project.write(name, LabelWork.of_labels(examples.labels[number]), expected=0)
            project.set_done(name, True, expected=state.revision)
    service = KilledService(project.folder)
    project.close()
    service.start()
    yield service
    service.kill()


@pytest.mark.slow
@pytest.mark.parametrize("screen", SIZES)
def test_done_images_teach_the_service_and_everybody_on_it(open_tab: OpenTab, painted: KilledService, screen: str):
    examples, project = drawn(), ProjectFolder(painted.folder)
    done = {name: project.work_content(f"{name}.png") for name in range(3)}
    anna, ben = (open_tab(painted.address) for _ in range(2))
    for site in (anna, ben):
        site.tab.goto(site.address)
        site.shows("4 of 4 images labeled, 3 done")
    anna.press("Improve with 3 done images")
    anna.tab.get_by_role("table", name="IoU [%] on corrected images that were held out of the 3").wait_for()
    check(anna, "improved on the service")
    for site in (anna, ben):
        site.tab.get_by_title("grass, brick").wait_for()
        site.shows("4 of 4 images labeled, 3 done")
        site.go_to("3.png")
        site.labels_once(lambda labels: (labels == examples.labels[3]).mean() > 0.9)
    assert {name: project.work_content(f"{name}.png") for name in range(3)} == done
    assert project.record.options.taught == ("taught/improved.words.safetensors",)
    # another change of the project keeps its taught words
    ben.type("sky")
    ben.all_saved()
    assert project.record.options.taught == ("taught/improved.words.safetensors",)
