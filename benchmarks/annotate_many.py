"""A thousand images in one project: opening it, moving through it, and the memory of the tab.

    python -m benchmarks.annotate_many [--images 1000] [--moves 300] [--store service browser]

One row for a project on a service, one for a project in the browser. The images are small photographs that are labeled
by words already, so that nothing else happens meanwhile.

- `open_s`: from loading the page to the first image with its labels and the strip, the shortest of three.
- `next_ms`: from Page Down to the next image on the stage, median and 95th percentile.
- `heap_mb`: the JavaScript heap of the tab after garbage collection, at the start and after the moves; `entries`:
  images that the strip holds at most.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from annotate.tests.web.fake_service import FakeService
from annotate.tests.web.real_service import RealService
from annotate.tests.web.site import SAMPLES
from benchmarks.machine import keep
from segvoc_annotate.projects.archive import archived
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.work_files import LabelWork
from segvoc_annotate.static_page import WEB

WORDS = ("wood", "metal", "glass")
SIZE = (640, 480)
OPENINGS = 3

MOVE = """name => new Promise(done => {
    const begun = performance.now();
    const stage = document.querySelector('.stage');
    const look = () => {
        if (document.querySelector('.stage').ariaLabel.startsWith(name + ':')) done(performance.now() - begun);
        else requestAnimationFrame(look);
    };
    stage.dispatchEvent(new KeyboardEvent('keydown', { key: 'PageDown', bubbles: true }));
    look();
})"""


def make(folder: Path, count: int) -> Project:
    """A project of labeled photographs."""
    (folder / "images").mkdir(parents=True)
    with Image.open(SAMPLES / "coffee.jpg") as sample:
        pixels = np.array(sample.convert("RGB").resize(SIZE))
    names = [f"photo-{number:04}.jpg" for number in range(count)]
    for number, name in enumerate(names):
        Image.fromarray(np.roll(pixels, 7 * number, axis=1)).save(folder / "images" / name, quality=85)
    project = Project.create(folder, words=WORDS)
    draft = (np.indices(SIZE[::-1]).sum(0) // 160 % len(WORDS)).astype(np.uint16)
    confidence = np.full(draft.shape, 200, np.uint8)
    for name in names:
        work = LabelWork(labels=draft, draft=draft, confidence=confidence, source="import")
        project.write(name, work, expected=0)
    return project


def measure(tab: Any, open_page: Callable[[], None], moves: int) -> dict[str, object]:
    """Open the page several times, and move through the images."""
    openings = []
    for _ in range(OPENINGS):
        begun = time.perf_counter()
        open_page()
        tab.locator(".toolbar button[aria-label=Brush]:enabled").wait_for()
        tab.locator(".thumbnail").nth(10).wait_for()
        openings.append(time.perf_counter() - begun)
    session = tab.context.new_cdp_session(tab)

    def heap() -> float:
        session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 1e6

    before, times, entries = heap(), [], 0
    name = tab.locator(".thumbnail[aria-current=true]").get_attribute("title")
    number = int(name[6:10])
    for move in range(moves):
        times.append(float(tab.evaluate(MOVE, f"photo-{number + move + 1:04}.jpg")))
        # a person looks at an image for a while
        tab.wait_for_timeout(250)
        entries = max(entries, tab.locator(".thumbnail").count())
    return {
        "open_s": round(min(openings), 2),
        "next_ms": round(statistics.median(times)),
        "next_p95_ms": round(statistics.quantiles(times, n=20)[-1]),
        "heap_mb": [round(before, 1), round(heap(), 1)],
        "entries": entries,
    }


def on_service(tab: Any, project: ProjectFolder, moves: int) -> dict[str, object]:
    """A project on `segvoc serve --project`."""
    service = RealService(project.folder)
    service.start()
    try:
        return measure(tab, lambda: tab.goto(service.address), moves)
    finally:
        service.kill()


def in_browser(tab: Any, project: ProjectFolder, folder: Path, moves: int) -> dict[str, object]:
    """The same project, opened from its zip into the browser's database."""
    path = folder / "project.zip"
    with path.open("wb") as file:
        for piece in archived(project):
            file.write(piece)
    pages = folder / "page"
    shutil.copytree(WEB, pages)
    server = FakeService(pages).server()
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        tab.goto(address)
        tab.get_by_label("Open project").set_input_files(path)
        count = len(project.images())
        begun = time.perf_counter()
        tab.get_by_text(f"{count} of {count} images labeled").wait_for()
        unpacking = round(time.perf_counter() - begun)
        tab.locator(".saved[data-state=saved]").wait_for()
        found = {"unpack_s": unpacking, **measure(tab, lambda: tab.goto(address), moves)}
        server.shutdown()
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--moves", type=int, default=300)
    parser.add_argument("--store", nargs="+", choices=("service", "browser"), default=["service", "browser"])
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        project = ProjectFolder.open(make(folder / "project", options.images).folder)
        for store in options.store:
            context = driver.chromium.launch_persistent_context(
                folder / f"profile-{store}",
                executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
                args=["--no-sandbox"],
                viewport={"width": 1280, "height": 860},
            )
            context.set_default_timeout(600_000)
            tab = context.new_page()
            row = (
                on_service(tab, project, options.moves)
                if store == "service"
                else in_browser(tab, project, folder, options.moves)
            )
            rows.append({"store": store, "images": options.images, **row})
            print(json.dumps(rows[-1]), flush=True)
            context.close()
    keep("annotate_many", rows)


if __name__ == "__main__":
    main()
