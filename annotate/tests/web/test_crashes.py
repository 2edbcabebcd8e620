"""Two people in three tabs, with the service and the tabs killed at random moments: all that they did is there.

annotate/web/tests/drawn.test.ts draws all else that people do, with a stand-in for the service and for the browser.
`python -m pytest -m slow annotate/tests/web/test_crashes.py`; SEGVOC_CRASH_SEEDS="1 2 3" draws other runs.
"""

import os
import random
import signal
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotate.tests.web.conftest import SIZES, UNUSED_FEATURES
from annotate.tests.web.site import TIMEOUT, Site
from annotate.tests.web.test_shared_project import KilledService
from segvoc.vocabulary.names import folded
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import ImageState
from tests.serving.services import drawn_image, png

SERVICE_KILLS = TAB_KILLS = 20
OFFLINE_SECONDS = 60.0
WIDTH, HEIGHT = 200, 160
SLOTS = 3
"""Lines that each tab paints in an image; nobody else paints there."""
RADIUS = 5
"""Of the brush [px]; a line is narrower than the distance between two."""

OWNERS = ("anna-1", "anna-2", "ben")
SHARED = ("both-1.png", "both-2.png")
START_WORDS = ("sky", "wall")
SAME_NAMES = (
    ("mug", "Mug", "MUG"),
    ("café", "CAFÉ", unicodedata.normalize("NFD", "Café")),
    ("straße", "STRASSE", "Straße"),
)
"""Spellings of one word each, which all tabs add."""

AS_FOUND = "as the model found it"

SEEDS = [int(seed) for seed in os.environ.get("SEGVOC_CRASH_SEEDS", "1").split()]


class Lost(AssertionError):
    """Something was lost, changed or refused without a word."""


@dataclass
class World:
    """What must be there: the right states of each thing, which is one unless a kill came before it was saved."""

    words: dict[str, set[Any]] = field(default_factory=dict)
    """Names of each word by the first name that it had; None: it may not be there."""
    lines: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    """Words of painted lines, by image and slot."""
    marks: dict[str, set[str]] = field(default_factory=dict)
    """Whether the image of a tab is "open" or "done"."""
    reopened: set[str] = field(default_factory=set)
    """Images whose settled labels became corrections."""
    key_of: dict[str, str] = field(default_factory=dict)
    """The first name of a word by each name that it had, folded."""

    def word(self, key: str, name: str) -> str:
        return self.key_of.setdefault(folded(name), key)


class Change:
    """Something that a person begins to do; it is certain once the page says that it is saved."""

    def __init__(self, states: dict[Any, set[Any]], key: Any, before: Any, after: Any) -> None:
        self.states, self.key, self.after = states, key, after
        states[key] = states.get(key, {before}) | {after}

    def saved(self) -> None:
        self.states[self.key] = {self.after}


@dataclass
class Desk:
    """A person's browser, whose profile outlives it."""

    driver: Any
    program: str
    folder: Path
    context: Any = None
    offline_until: float = 0

    def open(self) -> None:
        wrapper, self.pid_file = self.folder / "browser.sh", self.folder / "pid"
        self.folder.mkdir(exist_ok=True)
        wrapper.write_text(f'#!/bin/sh\necho $$ > "{self.pid_file}"\nexec "{self.program}" "$@"\n')
        wrapper.chmod(0o755)
        features = f"--disable-features={','.join(UNUSED_FEATURES)}"
        self.context = self.driver.chromium.launch_persistent_context(
            self.folder / "profile",
            executable_path=wrapper,
            args=["--no-sandbox", features],
            accept_downloads=True,
            reduced_motion="reduce",
            **SIZES["desktop"],
        )
        self.context.set_default_timeout(TIMEOUT)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(int(self.pid_file.read_text()), signal.SIGKILL)
        with suppress(Exception):
            self.context.close()
        self.context = None

    @property
    def is_offline(self) -> bool:
        return bool(self.offline_until)


@dataclass
class Tab:
    name: str
    desk: Desk
    address: str
    folder: Path
    complaints: list[str] = field(default_factory=list)
    site: Site = field(init=False)

    @property
    def page(self) -> Any:
        return self.site.tab

    @property
    def own(self) -> str:
        return f"{self.name}.png"

    def slot(self, number: int) -> int:
        return OWNERS.index(self.name) * SLOTS + number

    def open(self) -> None:
        """Open the page, also if the service is killed on the way."""
        page = self.desk.context.new_page()
        self.site = Site(page, self.address, self.folder, self.folder)
        page.on("pageerror", lambda error: self.complaints.append(f"{self.name}: {error}"))
        for _ in range(100):
            try:
                page.goto(self.address, timeout=30_000)
                return page.locator(".strip .thumbnail").first.wait_for(timeout=30_000)
            except Exception:
                time.sleep(0.2)
        raise Lost(f"{self.name} doesn't open")

    # ---- what the page shows

    @property
    def is_saving(self) -> bool:
        return self.page.locator(".saved").get_attribute("data-state") == "saving"

    @property
    def refusals(self) -> int:
        button = self.page.get_by_role("button", name="refused")
        return sum(int(text.split()[0]) for text in button.all_inner_texts())

    @property
    def is_open(self) -> str | None:
        chosen = self.page.locator(".thumbnail[aria-current=true]")
        return _name_in(chosen.get_attribute("aria-label")) if chosen.count() else None

    @property
    def names(self) -> list[str]:
        labels = self.page.evaluate(
            "() => [...document.querySelectorAll('.thumbnail')].map((entry) => entry.ariaLabel)"
        )
        return [_name_in(label) for label in labels]

    def entry(self, name: str) -> Any:
        """An image in the strip; the title of one that couldn't be labeled says why."""
        return self.page.locator(f".thumbnail[aria-label^='{name}, ']")

    def mark(self, name: str) -> str:
        return "done" if self.entry(name).get_attribute("aria-label") == f"{name}, done" else "open"

    def once(self, holds: Callable[[], object], seconds: float) -> bool:
        """Whether something holds within some time; a page that is away may need longer than anybody waits."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def saved(self, change: Change) -> None:
        if self.once(lambda: not self.is_saving, 30):
            change.saved()


def _name_in(label: str) -> str:
    """The name of an image by the label of its entry, which has its state, too."""
    return label.rpartition(", ")[0]


class Run:
    """One run, drawn by a seed."""

    def __init__(self, seed: int, folder: Path, driver: Any, program: str) -> None:
        self.random, self.folder, self.world = random.Random(seed), folder, World()
        self.project = folder / "street"
        self.service = KilledService(self.project)
        self.desks = {person: Desk(driver, program, folder / person) for person in ("anna", "ben")}
        self.tabs = [Tab(name, self.desks[name.split("-")[0]], self.service.address, folder) for name in OWNERS]
        self.acts, self.tab_kills, self.offline, self.words = 0, 0, 0.0, 0
        self.log: list[str] = []
        self.ending = threading.Event()
        self.service_kills = 0
        self.problem: BaseException | None = None

    # ---- the service

    def new_project(self) -> None:
        project = Project.create(self.project, words=START_WORDS)
        for name in (*SHARED, *(tab.own for tab in self.tabs)):
            project.add(name, png(drawn_image(self.random.randrange(2**32), (HEIGHT, WIDTH))))
        project.close()
        for name in START_WORDS:
            self.world.words[self.world.word(name, name)] = {name}
        for tab in self.tabs:
            self.world.marks[tab.own] = {"open"}

    def kill_services(self, drawn: random.Random) -> None:
        try:
            while self.service_kills < SERVICE_KILLS:
                after = self.acts + drawn.randrange(1, 7)
                while self.acts < after and not self.ending.is_set():
                    time.sleep(0.02)
                if self.ending.wait(drawn.uniform(0, 2)):
                    return
                self.service.kill()
                self.service_kills += 1
                self.log.append(f"{time.strftime('%T')} service killed")
                time.sleep(drawn.uniform(0, 1))
                self.service.start()
                self.log.append(f"{time.strftime('%T')} service up")
        except BaseException as problem:
            self.problem = problem

    # ---- tabs

    def kill_tab(self, tab: Tab) -> None:
        self.note(tab, "kill")
        way = self.random.choice(("close", "crash", "browser"))
        both = [one for one in self.tabs if one.desk is tab.desk]
        if way == "close":
            tab.page.close()
        elif way == "crash":
            with suppress(Exception):
                tab.page.goto("chrome://crash", timeout=5000)
            with suppress(Exception):
                tab.page.close()
        else:
            tab.desk.kill()
        self.tab_kills += 1
        self.online(tab.desk)
        if way != "browser":
            return tab.open()
        tab.desk.open()
        self.random.shuffle(both)
        for number, one in enumerate(both):
            one.open()
            # the first has what both left, which the second is to go on from
            if number + 1 < len(both) and not one.once(lambda one=one: self.is_idle(one), 60):
                raise Lost(f"{one.name} doesn't send what a killed browser left")

    def is_idle(self, tab: Tab) -> bool:
        return tab.page.locator(".saved").get_attribute("data-state") in (None, "saved")

    def is_settled(self, desk: Desk) -> bool:
        """Whether nothing of a browser waits or was refused, in whichever tab it may be by now."""
        return all(self.is_idle(tab) and not tab.refusals for tab in self.tabs if tab.desk is desk)

    def online(self, desk: Desk) -> None:
        if desk.is_offline:
            if desk.context is not None:
                desk.context.set_offline(False)
            desk.offline_until = 0

    def rests(self) -> None:
        """People go on- and offline."""
        for desk in self.desks.values():
            if desk.is_offline and time.monotonic() > desk.offline_until:
                self.online(desk)
            if not desk.is_offline and self.offline < OFFLINE_SECONDS and self.random.random() < 0.08:
                seconds = self.random.uniform(2, 8)
                self.offline += seconds
                desk.context.set_offline(True)
                desk.offline_until = time.monotonic() + seconds

    # ---- what people do

    def note(self, tab: Tab, *what: object) -> None:
        self.log.append(
            f"{time.strftime('%T')} {tab.name}{' (offline)' * tab.desk.is_offline}: {' '.join(map(str, what))}"
        )

    def go_to(self, tab: Tab, name: str) -> bool:
        """Open an image in which the brush can be used."""
        # also if it is open: another one may be on its way
        tab.entry(name).click()
        if not tab.once(lambda: tab.is_open == name, 2):
            self.note(tab, "can't open", name)
            return False
        return True

    def stroke(self, tab: Tab) -> bool:
        """Paint a line; True: the tab is to be killed at once."""
        world, page = self.world, tab.page
        own = [tab.own] if world.marks[tab.own] == {"open"} else []
        name = self.random.choice([*SHARED, *own])
        if not self.go_to(tab, name):
            return False
        brush = page.get_by_role("button", name="Brush")
        if not tab.once(lambda: brush.count() and brush.is_enabled(), 2):
            self.note(tab, "can't paint", name, tab.page.locator(".status").inner_text())
            return False
        brush.click()
        size = page.get_by_label("Size")
        if float(size.input_value()) != RADIUS:
            size.fill(str(RADIUS))
        options = [text for text in page.get_by_label("Paint").locator("option").all_inner_texts()]
        known = [text for text in options if folded(text) in world.key_of]
        word = self.random.choice([*known, AS_FOUND])
        try:
            page.get_by_label("Paint").select_option(label=word, timeout=500)
        except Exception:  # another spelling came first just now
            return False
        slot = tab.slot(self.random.randrange(SLOTS))
        y = (slot + 1) / (len(OWNERS) * SLOTS + 1)
        key = AS_FOUND if word == AS_FOUND else world.key_of[folded(word)]
        before = world.lines.get((name, slot), {AS_FOUND})
        change = Change(world.lines, (name, slot), AS_FOUND, key)
        self.note(tab, "paints", name, slot, word)
        kill = self.random.random()
        # a button that stays down in a tab that lives on would paint on the way to the next thing pressed
        if kill < 0.05 and self.tab_kills < TAB_KILLS:  # in the middle of it
            tab.site.drag((0.1, y), (0.5, y), is_ended=False)
            return True
        tab.site.drag((0.1, y), (0.9, y))
        if kill < 0.15:
            return True
        if brush.is_enabled():
            tab.saved(change)
        is_known = len(before) == 1 and key not in before
        if kill < 0.3 and is_known and brush.is_enabled() and tab.is_open == name:
            change = Change(world.lines, (name, slot), key, *before)
            self.note(tab, "takes it back")
            tab.site.stage_key("Control+z")
            tab.saved(change)
        return kill > 0.9

    def add_word(self, tab: Tab) -> bool:
        if self.random.random() < 0.5:
            spelled = self.random.choice(SAME_NAMES)
            name, key = self.random.choice(spelled), spelled[0]
            states = set(spelled) | {unicodedata.normalize("NFC", one) for one in spelled}
            before = self.world.words.get(key, {None})
        else:
            self.words += 1
            name = key = f"{self.random.choice(('Zaun', 'clé', 'Ärmel'))} {tab.name} {self.words}"
            states, before = {name}, {None}
        for one in states:
            self.world.word(key, str(one))
        self.world.words[key] = before | states
        self.note(tab, "adds", name)
        tab.site.type(name)
        if self.random.random() < 0.1:
            return True
        if tab.once(lambda: not tab.is_saving, 30):
            self.world.words[key] -= {None}
        return False

    def mark(self, tab: Tab) -> bool:
        """Mark the tab's image as done, or open it again."""
        marks, name = self.world.marks, tab.own
        if len(marks[name]) > 1:
            marks[name] = {tab.mark(name)} if self.is_settled(tab.desk) else marks[name]
            return False
        (now,) = marks[name]
        if not self.go_to(tab, name):
            return False
        after, text = ("open", "Reopen") if now == "done" else ("done", "Done")
        button = tab.page.get_by_role("button", name=text, exact=True)
        if not tab.once(lambda: button.count() and button.is_enabled(), 1):
            return False
        if after == "open":
            self.world.reopened.add(name)
        change = Change(marks, name, now, after)
        self.note(tab, "marks", name, after)
        button.click()
        if self.random.random() < 0.1:
            return True
        tab.saved(change)
        return False

    def act(self) -> None:
        if self.problem:
            raise self.problem
        self.rests()
        tab = self.random.choice(self.tabs)
        acts = [self.stroke] * 10 + [self.add_word] * (self.words < 14) + [self.mark] * 3
        if dialog := self.question(tab):
            raise Lost(f"{tab.name} is asked though nobody painted the same pixels: {dialog}")
        is_killed = self.random.choice(acts)(tab)
        self.acts += 1
        is_due = self.tab_kills + 2 < self.service_kills
        if (is_killed or is_due) and self.tab_kills < TAB_KILLS:
            self.kill_tab(tab)

    def question(self, tab: Tab) -> str:
        dialog = tab.page.get_by_role("dialog")
        return dialog.first.inner_text() if dialog.count() else ""

    def looks(self, tab: Tab) -> str:
        with suppress(Exception):
            header = " ".join(tab.page.locator("header").inner_text().split())
            refused = tab.page.get_by_role("button", name="refused")
            if refused.count() and not self.question(tab):
                refused.click()
            return " ".join([header, *tab.page.get_by_role("alert").all_inner_texts(), self.question(tab)])
        return "no page"

    def work(self, seed: int) -> None:
        self.new_project()
        self.service.start()
        for desk in self.desks.values():
            desk.open()
        for tab in self.tabs:
            tab.open()
        killer = threading.Thread(target=self.kill_services, args=(random.Random(f"kills {seed}"),))
        killer.start()
        try:
            while killer.is_alive() or self.tab_kills < TAB_KILLS or self.offline < OFFLINE_SECONDS:
                self.act()
                if not killer.is_alive() and self.tab_kills < TAB_KILLS:
                    self.kill_tab(self.random.choice(self.tabs))
        finally:
            self.ending.set()
            killer.join()

    # ---- what came of it

    def settle(self) -> None:
        """Everybody is online, and nothing was refused."""
        for tab in self.tabs:
            self.online(tab.desk)
            tab.page.close()
            tab.open()
        for tab in self.tabs:
            if not tab.once(lambda tab=tab: self.is_idle(tab) or tab.refusals, 60):
                raise Lost(f"{tab.name} doesn't send its changes")
            if tab.refusals:
                raise Lost(f"something of {tab.name} was refused")

    def check(self) -> None:
        project = ProjectFolder(self.project)
        states = {state.image: state for state in project.states()[0]}
        ids, wrong = self.word_ids(project)
        wrong += self.wrong_images(states)
        for name, state in states.items():
            wrong += self.wrong_lines(project, name, ids) if state.revision else ()
        for tab in self.tabs:
            wrong += self.wrong_view(tab, list(states), [word.name for word in project.record.present])
            wrong += tab.complaints
        if wrong:
            raise Lost("\n".join(wrong))

    def word_ids(self, project: ProjectFolder) -> tuple[dict[str, int], list[str]]:
        """The id of each word by its first name, and what is wrong with the project's words."""
        ids, wrong = dict[str, int](), list[str]()
        for word in project.record.present:
            key = self.world.key_of.get(folded(word.name))
            if key is None or key in ids or word.name not in self.world.words[key]:
                wrong.append(f"the word {word.name} isn't one of {self.world.words}, or is there twice")
            else:
                ids[key] = word.id
        wrong += [
            f"the word {key} is lost"
            for key, names in self.world.words.items()
            if not names & {None} | ids.keys() & {key}
        ]
        return ids, wrong

    def wrong_images(self, states: Mapping[str, ImageState]) -> Iterator[str]:
        for name, marks in self.world.marks.items():
            if ("done" if states[name].done else "open") not in marks:
                yield f"{name} is done: {states[name].done}, not {marks}"

    def wrong_lines(self, project: ProjectFolder, name: str, ids: dict[str, int]) -> Iterator[str]:
        """Painted lines whose pixels aren't what was painted, and pixels that nobody painted."""
        work = project.work(name)[1]
        corrections = np.zeros((HEIGHT, WIDTH), np.uint16) if work.corrections is None else work.corrections
        is_free = np.ones(HEIGHT, bool)
        for slot in range(len(OWNERS) * SLOTS):
            y = round((slot + 1) / (len(OWNERS) * SLOTS + 1) * HEIGHT)
            rows, columns = slice(y - 2, y + 2), slice(WIDTH // 5, WIDTH * 4 // 5)
            is_free[y - RADIUS - 2 : y + RADIUS + 2] = False
            right = self.world.lines.get((name, slot), {AS_FOUND})
            values = {ids[key] for key in right if key in ids}
            labels, decided = work.labels[rows, columns], corrections[rows, columns]
            is_right = any((labels == value).all() for value in values)
            if AS_FOUND in right and (name in self.world.reopened or not decided.any()):
                is_right = True
            if not is_right:
                where = {
                    int(value): np.flatnonzero((labels == value).any(0)) + columns.start for value in set(labels.flat)
                }
                spans = {value: f"{at[0]} to {at[-1]}" for value, at in where.items()}
                yield f"line {slot} of {name} has {spans} by {set(decided.flat)}, not {right} of {ids}"
        if name not in self.world.reopened and corrections[is_free].any():
            yield f"{name} has pixels that nobody painted"

    def is_shown(self, tab: Tab, name: str) -> bool:
        """Whether a tab has the labels of the open image that are on disk."""
        shown = tab.site.labels()  # waits until it is labeled
        with (
            suppress(FileNotFoundError),
            Image.open(self.project / "labels" / f"{name.rsplit('.', 1)[0]}.png") as labels,
        ):
            return np.array_equal(np.array(labels), shown)
        return False

    def wrong_view(self, tab: Tab, images: list[str], words: list[str]) -> Iterator[str]:
        """What a tab shows otherwise than it is on disk, once it has heard of everything."""
        listed = tab.page.get_by_role("list", name="Words").locator("button.name")
        if not tab.once(lambda: sorted(listed.all_inner_texts()) == sorted(words), 20):
            yield f"{tab.name} shows the words {listed.all_inner_texts()}, not {words}"
        if not tab.once(lambda: sorted(tab.names) == sorted(images), 20):
            yield f"{tab.name} shows the images {tab.names}, not {images}"
        for name in images:
            marks = self.world.marks.get(name)
            if not tab.once(lambda name=name, marks=marks: marks is None or tab.mark(name) in marks, 20):
                yield f"{tab.name} shows {name} as {tab.mark(name)}, not {marks}"
            if not tab.once(lambda name=name: self.go_to(tab, name), 60):
                yield f"{tab.name} doesn't open {name}"
            elif not tab.once(lambda name=name: self.is_shown(tab, name), 20):
                yield f"{tab.name} shows other labels of {name} than those on disk"

    def close(self) -> None:
        self.service.kill()
        for desk in self.desks.values():
            if desk.context is not None:
                desk.kill()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_between_kills(tmp_path: Path, seed: int, driver: Any, chromium: str):
    run = Run(seed, tmp_path, driver, chromium)
    try:
        run.work(seed)
        run.settle()
        run.check()
    except Exception as failure:
        lines = [f"{tab.name}: {run.looks(tab)}" for tab in run.tabs]
        lines += [
            f"on disk: {change.at} {change.what} {change.image} at revision {change.revision} by {change.change}"
            for change in ProjectFolder(run.project).index.history()
        ]
        raise Lost("\n".join([*run.log, *lines, str(failure)])) from failure
    finally:
        run.close()
