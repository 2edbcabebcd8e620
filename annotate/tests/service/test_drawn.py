"""Three people, with two clients each, on two projects that one address serves in turn: drawn by seeds.

They paint, undo, merge, rename, remove, restore, add again, copy and work offline, while the service is killed and
older work files are put back. Each stroke is in the files under its word, or its answer said why not.
`SEGVOC_DRAWN_SEEDS="2 3 4"` draws other runs.
"""

import io
import multiprocessing
import os
import random
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL.PngImagePlugin import PngImageFile

from annotate.tests.services import NO_PAGE
from segvoc.imaging.label_maps import UNLABELED, labels_of, read_label_map
from segvoc.serving.server import run
from segvoc.serving.settings import ServiceSettings
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork, packed_work, read_work
from segvoc_annotate.service_extension import AnnotateRoutes
from segvoc_annotate.settings import AnnotateSettings
from tests.inference.numpy_engine import NumpySegmenter
from tests.processes import free_port
from tests.serving.services import drawn_image, png

SEEDS = [int(seed) for seed in os.environ.get("SEGVOC_DRAWN_SEEDS", "1").split()]
ACTIONS = 300 if "SEGVOC_DRAWN_SEEDS" in os.environ else 120

PEOPLE = ("anna", "ben", "cleo")
TABS = [(person, number) for person in PEOPLE for number in (1, 2)]
SIZE = HEIGHT, WIDTH = 16, 2 * len(TABS)
"""Nobody else paints in a tab's two columns, of which a line is a slot."""


def serve(folder: Path, port: int) -> None:
    os.fsync = lambda _: None  # what a killed process wrote stays
    routes = AnnotateRoutes(AnnotateSettings(page=NO_PAGE, project=folder))
    run([NumpySegmenter], ServiceSettings(extensions=(routes,)), host="127.0.0.1", port=port)


@dataclass
class Service:
    """One address, at which one of the projects answers, from a process that is killed."""

    port: int = field(default_factory=free_port)
    process: Any = None
    folder: Path | None = None

    def start(self, folder: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "segvoc_annotate.service.project_service"])
        self.folder, self.process = folder, context.Process(target=serve, args=(folder, self.port))
        self.process.start()
        while True:
            assert self.process.is_alive()
            try:
                return httpx2.get(f"{self.address}/healthz").raise_for_status().close()
            except httpx2.HTTPError:
                time.sleep(0.01)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@dataclass
class Known:
    """What must be in a project."""

    folder: Path
    id: str
    images: dict[str, dict[tuple[int, int], set[int]]] = field(default_factory=dict)
    """By image, also removed ones: the words that a slot may have; more than one where an answer was lost."""
    merged: dict[int, int] = field(default_factory=dict)
    names: dict[int, set[str]] = field(default_factory=dict)
    backups: dict[str, tuple[bytes, dict[tuple[int, int], set[int]]]] = field(default_factory=dict)

    def meant(self, word: int) -> int:
        while word in self.merged:
            word = self.merged[word]
        return word


@dataclass
class Stroke:
    image: str
    row: int
    word: int
    change: str
    undone: int | None = None
    """Only where the slot has this word."""
    was: set[int] | None = None
    """What the slot may have had before it was sent first; None: it wasn't."""


class Refused(Exception):
    """An answer that says so."""


@dataclass
class Tab:
    """A client on one of the projects."""

    person: str
    column: int
    known: Known
    client: httpx2.Client
    changes: Callable[[], str]
    queue: list[Stroke] = field(default_factory=list)
    done: list[tuple[Stroke, int]] = field(default_factory=list)
    """Strokes that were made, and the words that they replaced."""
    bases: dict[str, tuple[int, np.ndarray]] = field(default_factory=dict)
    """Revisions and labels of images as they were seen last."""
    refused: list[str] = field(default_factory=list)
    offline: int = 0

    def ask(self, method: str, path: str = "", revision: int | None = None, **options: Any) -> Any:
        headers = {"X-Segvoc-Project": self.known.id, "X-Segvoc-User": self.person, **options.pop("headers", {})}
        headers |= {} if revision is None else {"If-Match": f'"{revision}"'}
        answer = self.client.request(method, f"/v1/project{path}", headers=headers, **options)
        # whoever answers says who it is
        assert (answer.headers["X-Segvoc-Project"] == self.known.id) == (
            answer.status_code != 409 or "done" in answer.text
        )
        return answer

    def see(self, image: str) -> None:
        answer = self.ask("GET", f"/work/{image}")
        if answer.status_code == 404 and "no labels yet" in answer.text:
            self.bases[image] = 0, np.full(SIZE, UNLABELED, np.uint16)
        elif answer.status_code == 404:
            raise Refused(answer.text)
        elif answer.status_code == 409:
            raise ConnectionError
        else:
            with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
                labels = labels_of(PngImageFile(io.BytesIO(archive.read("labels.png"))), "labels.png")
            self.bases[image] = int(answer.headers["etag"].strip('"')), labels.copy()

    def paint(self, image: str, row: int, word: int, undone: int | None = None) -> None:
        self.queue.append(Stroke(image, row, word, self.changes(), undone))

    def send(self) -> None:
        """Send what waits, until the service is away or another project answers."""
        while self.queue:
            stroke = self.queue[0]
            try:
                self._send(stroke)
            except (ConnectionError, httpx2.HTTPError):
                return
            except Refused as answer:
                self.refused.append(f"{stroke.change}: {answer}")
            self.queue.pop(0)

    def _drawn(self, stroke: Stroke) -> tuple[int, np.ndarray, int]:
        """The revision and the labels with a stroke, as the image was seen last, and the word that it replaces."""
        if stroke.image not in self.bases:
            self.see(stroke.image)
        revision, base = self.bases[stroke.image]
        labels, found = base.copy(), int(base[stroke.row, self.column])
        if stroke.undone is not None and stroke.was is None:
            if self.known.meant(found) != self.known.meant(stroke.undone):
                raise Refused("it has another word now")
        labels[stroke.row, self.column : self.column + 2] = stroke.word
        return revision, labels, found

    def _send(self, stroke: Stroke) -> None:
        known, slot = self.known.images[stroke.image], (stroke.row, self.column)
        while True:
            revision, labels, found = self._drawn(stroke)
            if stroke.was is None:
                stroke.was = set(known.get(slot, {UNLABELED}))
                known[slot] = stroke.was | {stroke.word}
            packed = packed_work(LabelWork(labels=labels), "a", {word: (0, 0, 0) for word in range(200)})
            answer = self.ask(
                "PUT",
                f"/work/{stroke.image}",
                revision,
                content=packed.content(packed.state),
                params={"change": stroke.change},
                headers={"Content-Type": "application/zip"},
            )
            if answer.status_code == 200:
                known[slot] = {stroke.word}
                self.done.append((stroke, found))
                del self.bases[stroke.image]
                state = answer.json()
                if state["change"] == stroke.change:  # others may have changed it since the answer that was lost
                    self.bases[stroke.image] = state["revision"], labels
                return
            code = answer.json()["error"]["code"]
            assert code in ("conflict", "done", "another_project", "not_found"), answer.text
            if code == "another_project":
                raise ConnectionError
            if code != "not_found":  # it wasn't made
                known[slot], stroke.was = stroke.was, None
                del self.bases[stroke.image]
            if code != "conflict":
                raise Refused(answer.text)


class Run:
    """One run, drawn by a seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random, self.service = random.Random(seed), Service()
        numbers = count()
        changes = lambda: f"change-{seed}-{next(numbers)}"  # noqa: E731
        self.changes, self.pictures, self.words = changes, count(), count()
        self.projects = [self.new_project(folder / name) for name in ("street", "kitchen")]
        self.client = httpx2.Client(base_url=self.service.address, timeout=60)
        self.tabs = [
            [Tab(person, 2 * at, known, self.client, changes) for at, (person, _) in enumerate(TABS)]
            for known in self.projects
        ]
        self.log: list[str] = []

    def new_project(self, folder: Path) -> Known:
        with Project.create(folder, words=[f"{folder.name} {next(self.words)}" for _ in range(6)]) as project:
            known = Known(folder, project.record.id)
            for name in ("a.png", "b.png"):
                known.images[project.add(name, self.picture()).id] = {}
            known.names = {word.id: {word.name} for word in project.record.words}
        return known

    def picture(self) -> bytes:
        return png(drawn_image(next(self.pictures), SIZE))

    # ---- what happens

    def act(self) -> None:
        at = self.served if self.random.random() < 0.8 else 1 - self.served
        tab = self.random.choice(self.tabs[at])
        kind = self.random.choices([*KINDS], [*KINDS.values()])[0]
        self.log.append(
            f"{kind}: {tab.known.folder.name}, {tab.person}, {tab.column}{' (offline)' * (tab.offline > 0)}"
        )
        tab.offline = max(0, tab.offline - 1)
        if kind in ("kill", "switch", "burst"):
            getattr(self, f"_{kind}")(tab)
        elif kind in ("paint", "undo", "offline"):
            getattr(self, f"_{kind}")(tab)
            if not tab.offline:
                self.sent(tab)
        elif at == self.served and not tab.offline:
            getattr(self, f"_{kind}")(tab)

    @property
    def served(self) -> int:
        return [known.folder for known in self.projects].index(self.service.folder)  # type: ignore[arg-type]

    def sent(self, tab: Tab) -> None:
        """Send what waits, perhaps while the service is killed."""
        if tab.queue and self.random.random() < 0.02:
            delay = self.random.random() * 0.03
            with ThreadPoolExecutor(1) as threads:
                sending = threads.submit(tab.send)
                time.sleep(delay)
                self._kill(tab)
                sending.result()
        tab.send()

    def present(self, tab: Tab) -> list[dict[str, Any]]:
        answer = tab.ask("GET")
        assert answer.status_code == 200, answer.text
        return answer.json()["images"]

    def _paint(self, tab: Tab) -> None:
        words = [word for word in tab.known.names if self.random.random() < 0.5 or word not in tab.known.merged]
        for _ in range(self.random.randint(1, 3)):
            image = self.random.choice([*tab.known.images])
            tab.paint(image, self.random.randrange(HEIGHT), self.random.choice(words))

    def _undo(self, tab: Tab) -> None:
        if tab.done and not tab.queue:
            stroke, before = tab.done.pop()
            tab.paint(stroke.image, stroke.row, before, undone=stroke.word)

    def _offline(self, tab: Tab) -> None:
        tab.offline = self.random.randint(5, 40)

    def _burst(self, tab: Tab) -> None:
        """All who are online paint at once."""
        here = [one for one in self.tabs[self.served] if not one.offline]
        for one in here:
            self._paint(one)
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(Tab.send, here))

    def _kill(self, _: Tab) -> None:
        folder = self.service.folder
        assert folder is not None
        self.service.kill()
        self.service.start(folder)

    def _switch(self, _: Tab) -> None:
        other = self.projects[1 - self.served]
        self.service.kill()
        self.service.start(other.folder)

    def _merge(self, tab: Tab) -> None:
        left = [word for word in tab.known.names if word not in tab.known.merged]
        if len(left) > 2:
            word, into = self.random.sample(left, 2)
            for _ in range(2):  # the first answer was lost
                answer = tab.ask("POST", "/merged", json={"word": word, "into": into}, params={"change": f"m{word}"})
                assert answer.status_code == 200, answer.text
            tab.known.merged[word] = into

    def _words(self, tab: Tab) -> None:
        """Rename a word, and add one."""
        record = tab.ask("GET").json()
        word = self.random.choice([one for one in record["words"] if not one["removed"]])
        word["name"] = f"{tab.known.folder.name} {next(self.words)}"
        new = {"id": len(record["words"]), "name": f"{tab.known.folder.name} {next(self.words)}", "color": [1, 2, 3]}
        late = tab.ask("PUT", "", record["revision"] - 1, json={"words": [*record["words"], new]})
        assert late.status_code == 412, late.text
        answer = tab.ask("PUT", "", record["revision"], json={"words": [*record["words"], new]})
        assert answer.status_code == 200, answer.text
        tab.known.names[word["id"]], tab.known.names[new["id"]] = {word["name"]}, {new["name"]}

    def _remove(self, tab: Tab) -> None:
        if len(images := self.present(tab)) > 1:
            image, change = self.random.choice(images)["id"], self.changes()
            for _ in range(2):
                assert tab.ask("DELETE", f"/images/{image}", params={"change": change}).status_code == 200

    def _restore(self, tab: Tab) -> None:
        for one in tab.ask("GET").json()["removed"]:
            change = self.changes()
            answer = tab.ask("POST", f"/restored/{one['id']}", params={"change": change})
            # another image may have its name
            assert (answer.status_code == 200 and answer.json()["id"] == one["id"]) or "rename it" in answer.text
            if answer.status_code == 200:
                again = tab.ask("POST", f"/restored/{one['id']}", params={"change": change})
                assert again.status_code == 200, again.text
                return

    def _add(self, tab: Tab) -> None:
        """Add another photograph, whose name may be that of a removed one."""
        taken = {one["image"] for one in self.present(tab)}
        for name in ("a.png", "b.png", "c.png"):
            if name not in taken:
                files = {"image": (name, self.picture())}
                (added,) = tab.ask("POST", "/images", files=files, params={"change": self.changes()}).json()["added"]
                assert added["id"] not in tab.known.images and not added["revision"]
                tab.known.images[added["id"]] = {}
                return

    def _copy(self, tab: Tab) -> None:
        originals = [one["id"] for one in self.present(tab) if one["copy_of"] is None]
        if originals and len(tab.known.images) < 12:
            body = {"images": [self.random.choice(originals)], "people": [tab.person], "copies": True}
            (copy,) = tab.ask("POST", "/assigned", json=body).json()["images"]
            tab.known.images.setdefault(copy["id"], {})

    def _done(self, tab: Tab) -> None:
        state = self.random.choice(self.present(tab))
        is_done = not state["done"] and self.random.random() < 0.5
        answer = tab.ask("PUT", f"/done/{state['id']}", state["revision"], json={"done": is_done})
        assert answer.status_code == 200 or not state["revision"], answer.text

    def _backup(self, tab: Tab) -> None:
        """Keep a work file, or put it back, of an image without strokes whose answers were lost."""
        known, at = tab.known, self.served
        states = [one for one in self.present(tab) if one["revision"]]
        if not states:
            return
        state = self.random.choice(states)
        image, path = state["id"], (known.folder / "work" / state["image"]).with_suffix(".zip")
        if image not in known.backups:
            slots = {slot: set(words) for slot, words in known.images[image].items()}
            known.backups[image] = path.read_bytes(), slots
            return
        is_running = self.random.random() < 0.75
        for one in self.tabs[at]:
            if any(stroke.was is not None for stroke in one.queue):
                one.send()
        if not is_running:
            self.service.kill()
        content, slots = known.backups.pop(image)
        (path.parent / ".put-back").write_bytes(content)
        os.replace(path.parent / ".put-back", path)
        known.images[image] = slots
        if not is_running:
            self.service.start(known.folder)

    # ---- the end

    def settle(self) -> None:
        """All who have something left come back, to each project in turn."""
        for at, known in enumerate(self.projects):
            if at != self.served:
                self.service.kill()
                self.service.start(known.folder)
            for tab in self.tabs[at]:
                tab.send()
                assert not tab.queue
            record = self.tabs[at][0].ask("GET").json()
            assert record["id"] == known.id and record["name"] == known.folder.name and not record["problems"]
        self.service.kill()
        self.client.close()

    def check(self) -> None:
        for known in self.projects:
            with Project(known.folder) as project:
                assert project.recover() == []
                for removed in reversed(project.trash()):
                    while (other := project.index.owner(removed["image"])) is not None:
                        check_image(project, known, project.state(project.image(other)).id)
                        project.remove(other)
                        known.images.pop(project.trash()[-1]["id"])
                    project.restore(removed["id"])
                for state in project.states()[0]:
                    check_image(project, known, state.id)
                    known.images.pop(state.id)
                assert not known.images, "an image is gone"
                assert {word.id: {word.name} for word in project.record.words} == known.names
                assert project.record.merged == {word: known.meant(word) for word in known.merged}
                made = [change.change for change in project.index.history() if change.change]
                assert len(made) == len(set(made))


def check_image(project: Project, known: Known, image: str) -> None:
    """Each slot has the word of its last stroke, or what that was merged into, in all files."""
    state, slots = project.state(project.image(image)), known.images[image]
    if not state.revision:
        assert not any({UNLABELED} != words for words in slots.values() if UNLABELED not in words)
        return
    files = project.files(project.image(image))
    labels = read_work(files.work)[1].labels
    assert (read_label_map(files.labels) == labels).all()
    for row in range(HEIGHT):
        for column in range(0, WIDTH, 2):
            expected = {known.meant(word) for word in slots.get((row, column), {UNLABELED})}
            found = {known.meant(int(word)) for word in labels[row, column : column + 2]}
            assert len(found) == 1 and found <= expected, (state.image, image, row, column, found, expected)


KINDS: Mapping[str, float] = {
    **{"paint": 40, "undo": 12, "offline": 5, "burst": 4, "merge": 3, "words": 5, "remove": 6, "restore": 6, "add": 4},
    **{"copy": 4, "done": 6, "backup": 9, "kill": 0.6, "switch": 1},
}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_accepted_stroke_is_lost_and_projects_never_mix(tmp_path: Path, seed: int) -> None:
    drawn = Run(seed, tmp_path)
    try:
        drawn.service.start(drawn.projects[0].folder)
        for _ in range(ACTIONS):
            drawn.act()
        drawn.settle()
        drawn.check()
    except BaseException as error:
        kept = shutil.copytree(tmp_path, tmp_path.parent / f"seed-{seed}", dirs_exist_ok=True)
        error.add_note("\n".join([f"seed {seed}, kept in {kept}", *drawn.log[-40:]]))
        raise
    finally:
        drawn.service.kill()
