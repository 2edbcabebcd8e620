"""A project on the real service: two people on it, keys and nginx, refusals, videos, learning from done images."""

import base64
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotate.tests.drawn_video import drawn_video
from annotate.tests.web.conftest import SIZES, OpenTab, serving_project
from annotate.tests.web.site import Site, check, has_line
from benchmarks.service import behind_nginx
from segvoc.models.shipped import open_tiny
from segvoc.vocabulary import Vocabulary
from segvoc_annotate.projects.contributions import contributions
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork
from tests.inference.taught.drawn_examples import DrawnExamples
from tests.processes import free_port
from tests.serving.services import png


@dataclass
class KilledService:
    """`segvoc serve` in a process of its own, which can be killed."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "segvoc", "serve", "tiny", "--project", str(self.folder)]
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
    # while images are dealt out, the names change places
    anna.tab.get_by_role("button", name="ben", exact=True).wait_for()
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
    anna.stage_key("n")
    anna.press("Accept")
    anna.shows("Accepted by someone")
    anna.press("0 sent back")
    assert anna.tab.locator(".thumbnail").count() == 2
    anna.all_saved()
    state = ProjectFolder(street).states()[0][0]
    assert state.done and state.review is not None and state.review.verdict == "accepted"


KEYS = {name: name[0] * 24 for name in ("anna", "ben")}
_UPLOAD = """async ([key, image, sizes]) => {
    const form = new FormData(), drawn = Uint8Array.from(atob(image), (one) => one.charCodeAt(0));
    for (const size of sizes)
        form.append("image", new Blob([drawn, new Uint8Array(size)]), `${size}.png`);
    const headers = { Authorization: `Bearer ${key}` };
    const answer = await fetch("v1/project/images", { method: "POST", headers, body: form });
    return [answer.status, await answer.json()];
}"""
"""Sends images that have few pixels and many bytes, which is cheap for whoever reads them."""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Anna may annotate, and Ben everything."""
    path = tmp_path / "keys"
    path.write_text(f"anna: {KEYS['anna']} annotate\nben: {KEYS['ben']}\n", encoding="utf-8")
    return path


def sign_in(site: Site, name: str) -> None:
    site.tab.goto(site.address)
    site.tab.get_by_label("API key of the service").fill(KEYS[name])
    site.press("Use it")


@pytest.fixture
def proxy(street: Path, keys: Path) -> Iterator[str]:
    """The page as it is deployed: behind nginx with the site of deploy/, by TLS and with API keys."""
    if shutil.which("nginx") is None:
        pytest.skip("there is no nginx: install Debian's package nginx")
    with (
        serving_project(street, api_key_file=keys) as address,
        behind_nginx(address.rstrip("/"), tls=True) as front,
    ):
        yield f"{front}/"


def test_two_people_open_paint_upload_and_export_through_the_proxy(open_tab: OpenTab, proxy: str, street: Path):
    def signed_in(name: str) -> Site:
        site = open_tab(proxy)
        sign_in(site, name)
        site.tab.locator(".strip .thumbnail").first.wait_for()
        site.complaints.clear()  # that the page was refused without a key
        return site

    anna = signed_in("anna")
    anna.type("cup, table")
    anna.done()
    ben = signed_in("ben")
    ben.done()
    anna.paint_line("table", 0.3)
    anna.all_saved()
    ben.shows_line(0.3, 1)
    project = ProjectFolder(street)
    assert has_line(project.work("coffee.jpg")[1].labels, 0.3, 1)
    assert project.state(project.image("coffee.jpg")).by == "anna"
    # in one request: more than other addresses take, and an image of it has more bytes than the service takes
    image = base64.b64encode(png(np.full((16, 16, 3), 90, np.uint8))).decode()
    status, answer = anna.tab.evaluate(_UPLOAD, [KEYS["anna"], image, [8_500_000, 21_000_000]])
    (added,), (problem,) = answer["added"], answer["problems"]
    assert (status, added["image"]) == (200, "8500000.png") and problem.startswith("'21000000.png' has 21")
    assert (street / "images/8500000.png").stat().st_size > 8_500_000
    ben.shows("3 of 3 images labeled")
    with zipfile.ZipFile(ben.saved("YOLO segmentation")) as archive:
        assert {"data.yaml", "labels/coffee.txt", "images/coffee.jpg"} <= set(archive.namelist())
    assert not anna.surprises + ben.surprises


@pytest.fixture
def annotator(open_tab: OpenTab, street: Path, keys: Path) -> Iterator[Site]:
    """The page of a service with keys, before Anna has typed hers."""
    with serving_project(street, api_key_file=keys) as address:
        yield open_tab(address)


def test_what_a_role_may_not_do_is_not_offered_and_a_refused_change_holds_up_no_other(annotator: Site):
    def promoted(route: Any) -> None:
        """As if the key had lost the role since: its holder may remove images, as far as the page knows."""
        answer = route.fetch()
        project = answer.json() if route.request.method == "GET" and answer.ok else None
        route.fulfill(response=answer, **({} if project is None else {"json": {**project, "role": "administer"}}))

    annotator.tab.goto(annotator.address)
    annotator.tab.get_by_label("API key of the service").and_(annotator.tab.locator(":focus")).wait_for()
    annotator.tab.keyboard.type(KEYS["anna"])
    annotator.press("Use it")
    annotator.type("cup, table")
    annotator.done()
    annotator.all_saved()
    annotator.tab.get_by_role("button", name="rocket.jpg").first.wait_for()
    assert not annotator.tab.get_by_role("button", name="Remove rocket.jpg").count()
    annotator.tab.route("**/v1/project", promoted)
    annotator.tab.reload()
    annotator.press("Remove rocket.jpg")
    annotator.press("1 change refused")
    annotator.shows("Removing “rocket.jpg”")
    annotator.shows("this needs an API key with the role administer")
    check(annotator, "a refused change")
    annotator.press("Close")
    # it is there again, isn't offered any more, and nothing waits for it
    annotator.tab.get_by_role("button", name="rocket.jpg, labeled").wait_for()
    assert not annotator.tab.get_by_role("button", name="Remove rocket.jpg").count()
    annotator.paint_line("table", 0.3)
    annotator.all_saved()
    annotator.tab.reload()
    annotator.done()
    assert has_line(annotator.labels(), 0.3, 1)
    annotator.press("1 change refused")
    annotator.press("Discard")
    annotator.tab.get_by_role("button", name="1 change refused").wait_for(state="detached")


def test_changes_wait_while_a_script_of_the_page_cannot_be_loaded(annotator: Site):
    annotator.tab.route("**/work.js", lambda route: route.abort())
    sign_in(annotator, "anna")
    annotator.type("cup, table")
    annotator.shows("wait for the service")
    assert not annotator.tab.get_by_role("button", name="refused").count()
    annotator.tab.unroute("**/work.js")
    annotator.all_saved()


@pytest.fixture
def empty(open_tab: OpenTab, tmp_path: Path) -> Iterator[Site]:
    """The page of a project without images, on a service whose model a second process can open."""
    Project.create(tmp_path / "street", words=["blue disk", "red disk", "stripes"]).close()
    with serving_project(tmp_path / "street", open_tiny) as address:
        yield open_tab(address)


def test_frames_are_added_and_take_over_from_one_that_is_done(empty: Site, tmp_path: Path) -> None:
    site = empty
    site.open()
    site.tab.get_by_label("Choose images").set_input_files(drawn_video(tmp_path / "clip.mp4"))
    dialog = site.tab.get_by_role("dialog", name="Add frames of “clip.mp4”")
    dialog.get_by_label("Distance of the frames").fill("2")
    dialog.get_by_role("button", name="Add them").click()
    site.is_open("clip/frame_000000.jpg")
    site.done()
    assert site.tab.locator(".strip .caption").all_inner_texts() == ["0:00.0", "0:00.2"]
    site.paint_line("stripes", 0.2)
    site.stage_key("n")
    site.is_open("clip/frame_000002.jpg")
    site.shows("A draft: words and objects are taken over from another frame (0:00.0), which is done")
    site.all_saved()
    (first, second) = ProjectFolder(tmp_path / "street").states()[0]
    assert first.done and first.id in (second.answers or "")
    # the first stroke makes the frame its own
    site.paint_line("red disk", 0.8)
    site.tab.get_by_text("A draft: words and objects").wait_for(state="detached")
    assert site.surprises == []


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
