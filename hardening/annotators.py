"""Scripted annotators in a project: no finished stroke is lost, whatever is killed, and whoever else works there.

    python -m hardening.annotators [--kills 200] [--minutes 10] [--store service|browser] [--seed 0] [--images 4]

One annotator paints lines with a brush, while its browser is killed (SIGKILL), its tab crashes, is closed or loaded
again, and the service is killed and started again, at random moments: before, while and right after a stroke. A stroke
counts as finished once the page doesn't say "Saving" any more. At the end each finished stroke is looked for in the
project's files; of strokes that were interrupted, either state is right.

Then two annotators paint in the same images for some minutes, each in rows of its own, without waiting for each other.
With `--store browser`, the page keeps the project by itself: there is no service to kill, and nobody else.
"""

import argparse
import contextlib
import functools
import http.server
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Error, Playwright, sync_playwright

from annotate.tests.web.conftest import copied_tiny
from annotate.tests.web.pages import HEADERS, ISOLATION, PageFiles
from annotate.tests.web.real_service import RealService
from annotate.tests.web.site import SAMPLES, Site
from segvoc_annotate.projects.archive import unpack_project
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.static_page import write_page

WORDS = ("wood", "metal", "glass")
SIZE = (320, 240)
ROWS = range(15, 230, 10)
"""Rows of pixels in which lines are painted; a brush of 2 pixels reaches none of the others."""

SAMPLE_NAMES = ("coffee.jpg", "rocket.jpg", "chelsea.jpg", "astronaut.jpg")
PATIENCE = 60_000
"""Time in which the page has to do what it is asked [ms]."""


@dataclass
class Line:
    """What a row of an image may have."""

    finished: int | None = None
    """The word of the last stroke that the page showed as finished."""
    begun: set[int] = field(default_factory=set)
    """Words of strokes after it that were interrupted."""


Lines = dict[tuple[str, int], Line]


class Annotator:
    """A browser with a profile of its own, and hands.

    Args:
        driver: Playwright.
        profile: folder of the browser's profile.
        address: of the page.
        dice: for everything random.
        rows: in which it paints.
    """

    def __init__(
        self, driver: Playwright, profile: Path, address: str, dice: random.Random, rows: list[int] | None = None
    ) -> None:
        self._driver, self._profile, self._address, self._dice = driver, profile, address, dice
        self._rows = rows or list(ROWS)
        self._context: Any = None
        self.lines: Lines = {}
        self.dialogs = 0
        self.site = Site(None, address, profile.parent)

    def open(self) -> None:
        """Start the browser if it doesn't run, and open the page."""
        if self._context is None:
            self._context = self._driver.chromium.launch_persistent_context(
                self._profile,
                executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
                args=["--no-sandbox", "--disable-session-crashed-bubble"],
                viewport={"width": 1280, "height": 860},
                reduced_motion="reduce",
                accept_downloads=True,
            )
            self._context.set_default_timeout(PATIENCE)
        self.site.tab = self._context.new_page()
        for other in self._context.pages[:-1]:
            other.close()
        self.site.tab.goto(self._address)

    def ready(self) -> None:
        """Wait until the open image is labeled, and the brush is there."""
        tab = self.site.tab
        tab.get_by_role("button", name="Brush").and_(tab.locator(":enabled")).wait_for()
        self.site.press("Brush")
        tab.get_by_label("Size").fill("2")

    def choose(self, name: str) -> None:
        """Open an image."""
        self.site.tab.locator(f".thumbnail[title='{name}']").click()
        self.site.is_open(name)
        self.ready()

    def stroke(self, name: str, interrupt: float | None = None) -> None:
        """Paint a line; with a time to interrupt [share of the stroke], leave the stroke there."""
        row, word = self._dice.choice(self._rows), self._dice.randrange(len(WORDS))
        line = self.lines.setdefault((name, row), Line())
        tab, y = self.site.tab, (row + 0.5) / SIZE[1]
        tab.get_by_label("Paint").select_option(WORDS[word])
        start, end = self.site.place(0.1, y), self.site.place(0.9, y)
        tab.mouse.move(*start)
        tab.mouse.down()
        line.begun.add(word)
        if interrupt is not None and interrupt < 1:
            tab.mouse.move(start[0] + interrupt * (end[0] - start[0]), end[1], steps=2)
            return
        tab.mouse.move(*end, steps=3)
        tab.mouse.up()
        if interrupt is not None:
            tab.wait_for_timeout(100 * (interrupt - 1))
            if self.state() == "saving":
                return
        tab.locator(".saved:not([data-state=saving])").wait_for()
        line.finished, line.begun = word, set()

    def state(self) -> str:
        """What the page says of what was done: saving, waiting or saved."""
        return str(self.site.tab.locator(".saved").get_attribute("data-state"))

    def saved(self) -> None:
        """Wait until all is where it belongs."""
        for _ in range(PATIENCE // 200):
            self.answer()
            if self.state() == "saved":
                return
            self.site.tab.wait_for_timeout(200)
        raise AssertionError(f"the page still says: {self.site.tab.locator('.saved').inner_text()}")

    def answer(self) -> None:
        """Answer what the page asks about two versions."""
        combine = self.site.tab.get_by_role("button", name="Combine (mine on top)")
        if combine.count():
            self.dialogs += 1
            combine.click()

    def kill_browser(self) -> None:
        """End all processes of the browser with SIGKILL."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"--user-data-dir={self._profile}".encode() in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        with contextlib.suppress(Error):
            self._context.close()
        self._context = None

    def crash_tab(self) -> None:
        """Let the tab's process crash."""
        with contextlib.suppress(Error):
            self.site.tab.goto("chrome://crash", timeout=3000)

    def close_tab(self) -> None:
        """Close the tab, without asking it."""
        keeper = self._context.new_page()
        self.site.tab.close()
        self.site.tab = keeper

    def close(self) -> None:
        """End the browser."""
        if self._context is not None:
            self._context.close()
            self._context = None


def images(folder: Path, count: int) -> list[Path]:
    """Small photographs."""
    folder.mkdir(parents=True)
    made = []
    for number in range(count):
        path = folder / f"photo-{number}.png"
        with Image.open(SAMPLES / SAMPLE_NAMES[number % len(SAMPLE_NAMES)]) as sample:
            sample.convert("RGB").resize(SIZE).rotate(90 * (number // len(SAMPLE_NAMES)) % 360).save(path)
        made.append(path)
    return made


def lost(lines: Lines, project: ProjectFolder) -> list[str]:
    """A line for each finished stroke that the project doesn't have."""
    problems = []
    for (name, row), line in sorted(lines.items()):
        if line.finished is None:
            continue
        labels = project.work(name)[1].labels[row, int(0.2 * SIZE[0]) : int(0.8 * SIZE[0])]
        allowed = {line.finished, *line.begun}
        # an interrupted stroke may have ended half-way
        if not set(np.unique(labels).tolist()) <= allowed:
            problems.append(f"{name}, row {row}: {np.unique(labels).tolist()} instead of {sorted(allowed)}")
    return problems


@contextlib.contextmanager
def static_page(folder: Path) -> Iterator[str]:
    """The page with the network inside of it; its address."""
    write_page(folder, copied_tiny)
    handler = functools.partial(PageFiles, directory=str(folder), headers_too=HEADERS | ISOLATION)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def outage(annotator: Annotator, name: str, service: RealService) -> None:
    """Kill the service, paint meanwhile, and start it again."""
    service.kill()
    if annotator.state() != "saving":
        # what is painted meanwhile waits
        with contextlib.suppress(Error):
            annotator.site.tab.mouse.up()
        annotator.stroke(name)
    service.start()
    annotator.saved()


def killed(
    annotator: Annotator, names: list[str], kills: int, dice: random.Random, service: RealService | None
) -> Counter[str]:
    """Paint, and kill something again and again; how often what was killed."""
    ends = {
        "browser": annotator.kill_browser,
        "crash": annotator.crash_tab,
        "close": annotator.close_tab,
    }
    kinds = [*ends, "reload", *(["service", "service"] if service else [])]
    counts: Counter[str] = Counter()
    for kill in range(kills):
        kind, name = dice.choice(kinds), dice.choice(names)
        annotator.choose(name)
        for _ in range(dice.randrange(1, 4)):
            annotator.stroke(name)
        annotator.stroke(name, interrupt=dice.uniform(0, 3))
        counts[kind] += 1
        if service is not None and kind == "service":
            outage(annotator, name, service)
        elif kind == "reload":
            annotator.site.tab.reload()
        else:
            ends[kind]()
            annotator.open()
        if kill % 10 == 9:
            print(json.dumps({"kills": dict(counts), "lines": len(annotator.lines)}), flush=True)
    annotator.ready()
    annotator.saved()
    return counts


def together(one: Annotator, other: Annotator, names: list[str], minutes: float, dice: random.Random) -> int:
    """Two annotators paint in the same images; how many strokes."""
    end, strokes = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < end:
        name = dice.choice(names)
        for annotator in (one, other):
            annotator.choose(name)
        for _ in range(dice.randrange(2, 8)):
            for annotator in dice.sample((one, other), 2):
                annotator.answer()
                annotator.stroke(name)
                strokes += 1
    for annotator in (one, other):
        annotator.saved()
    return strokes


def of_service(driver: Playwright, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Work on a project of a service."""
    dice = random.Random(options.seed)
    paths = images(folder / "street" / "images", options.images)
    Project.create(folder / "street", words=WORDS)
    service = RealService(folder / "street")
    service.start()
    names = [path.name for path in paths]
    figures: dict[str, object] = {}
    try:
        annotator = Annotator(driver, folder / "anna", service.address, dice)
        annotator.open()
        annotator.site.tab.get_by_text(f"{len(names)} of {len(names)} images labeled").wait_for()
        begun = time.monotonic()
        counts = killed(annotator, names, options.kills, dice, service) if options.kills else Counter()
        problems = lost(annotator.lines, ProjectFolder.open(service.folder))
        figures = {"kills": dict(counts), "kill_minutes": round((time.monotonic() - begun) / 60, 1), "lost": problems}
        annotator.close()
        if options.minutes:
            rows = list(ROWS)
            pair = [
                Annotator(driver, folder / f"pair-{at}", service.address, random.Random(options.seed + at), rows[at::2])
                for at in range(2)
            ]
            for one in pair:
                one.open()
                one.ready()
            strokes = together(pair[0], pair[1], names, options.minutes, dice)
            project = ProjectFolder.open(service.folder)
            figures |= {
                "pair_minutes": options.minutes,
                "pair_strokes": strokes,
                "pair_questions": sum(one.dialogs for one in pair),
                "pair_lost": [problem for one in pair for problem in lost(one.lines, project)],
            }
            for one in pair:
                one.close()
    finally:
        service.kill()
    return figures


def of_browser(driver: Playwright, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Work on a project in the browser."""
    dice = random.Random(options.seed)
    paths = images(folder / "photos", options.images)
    with static_page(folder / "page") as address:
        annotator = Annotator(driver, folder / "anna", address, dice)
        annotator.open()
        annotator.site.drop(*paths)
        annotator.site.type(", ".join(WORDS))
        annotator.site.tab.get_by_text(f"{len(paths)} of {len(paths)} images labeled").wait_for()
        begun = time.monotonic()
        counts = killed(annotator, [path.name for path in paths], options.kills, dice, None)
        # until the model is there, the page can't know that all labels are new
        annotator.site.tab.get_by_text(f"{len(paths)} of {len(paths)} images labeled").wait_for()
        project = unpack_project(annotator.site.saved("Save project"), folder / "unpacked")
        annotator.close()
    problems = lost(annotator.lines, project)
    return {"kills": dict(counts), "kill_minutes": round((time.monotonic() - begun) / 60, 1), "lost": problems}


def main() -> None:
    """Work, and print what was lost; exit with 1 if anything was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--store", choices=("service", "browser"), default="service")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        work = of_service if options.store == "service" else of_browser
        figures = {"store": options.store, "seed": options.seed, **work(driver, Path(folder), options)}
    print(json.dumps(figures, indent=1))
    if figures.get("lost") or figures.get("pair_lost"):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
