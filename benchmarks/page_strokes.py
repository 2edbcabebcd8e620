"""Strokes of the brush on large images in headless Chromium: what a move of the pointer takes, and what comes after it.

    python -m benchmarks.page_strokes [--megapixels N ...] [--profile FILE]

A service that answers at once labels a photograph of N megapixels; then the brush is dragged over it in 30 moves, each
of which is waited for until it is drawn. One row for each size:

- `move_ms`, `slowest_move_ms`: processor time of the page's main thread for a move, drawn, in the mean and at most;
  `hover_ms`: for one that paints nothing.
- `after_ms`: the same from the end of the stroke until the page is at rest and the stroke is on the disk;
  `longest_task_ms`: the longest stretch of it that keeps the page from answering, in time of the clock.
- `undo_ms`: the same for taking the stroke back.
- `kept_kb`: what one more stroke adds to what the browser keeps.

Processor time says the same on a busy machine. --profile writes the CPU profile of the last size, which Chromium's
developer tools open.
"""

import argparse
import functools
import http.server
import io
import json
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from annotate.tests.web.conftest import copied_tiny
from annotate.tests.web.pages import HEADERS, ISOLATION, PageFiles
from annotate.tests.web.site import SAMPLES, Site
from benchmarks.machine import keep
from segvoc_annotate.static_page import write_page

MEGAPIXELS = (1, 12, 25, 40)
WORDS = ("cat", "wall", "sofa", "lamp", "floor", "window")
MOVES = 30

FRAME = "() => new Promise(done => requestAnimationFrame(() => done()))"
WATCH = """() => {
    window.tasks = [];
    new PerformanceObserver(list => window.tasks.push(...list.getEntries().map(entry => entry.duration)))
        .observe({ entryTypes: ["longtask"] });
}"""
KEPT = "async () => (await navigator.storage.estimate()).usage"


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS)
    parser.add_argument("--profile", type=Path)
    options = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        write_page(folder / "page", copied_tiny)
        for megapixels in options.megapixels:
            image, size = photograph(megapixels, folder)
            # a browser for each size, whose processes are the page's alone
            with (
                driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
                served(folder / "page", size) as address,
            ):
                measured = strokes(browser, address, image, options.profile)
            rows.append({"megapixels": round(size[0] * size[1] / 1e6, 1), **measured})
            print(rows[-1], flush=True)
    keep("page_strokes", rows)


def photograph(megapixels: float, folder: Path) -> tuple[Path, tuple[int, int]]:
    """A sample, enlarged: its file, width and height."""
    width = 16 * round((megapixels * 1e6 * 1.5) ** 0.5 / 16)
    height = 16 * round(width / 1.5 / 16)
    path = folder / f"{megapixels:g}mp.jpg"
    with Image.open(SAMPLES / "chelsea.jpg") as sample:
        sample.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
    return path, (width, height)


def strokes(browser: Browser, address: str, image: Path, profile: Path | None) -> dict[str, object]:
    """Label the image, and paint."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(300_000)
    site = Site(context.new_page(), address, image.parent)
    site.open()
    site.tab.locator("input[accept='image/*']").set_input_files(image)
    site.tab.get_by_role("button", name=f"{image.name}, ").wait_for()
    site.type(", ".join(WORDS))
    site.done()
    site.press("Brush")
    site.tab.get_by_label("Size").fill("60")
    protocol = context.new_cdp_session(site.tab)
    thread = main_thread(browser)
    site.tab.evaluate(WATCH)
    # the first stroke compiles the page's functions
    stroke(site, 0.3, thread)
    if profile:
        protocol.send("Profiler.enable")
        protocol.send("Profiler.start")
    kept = site.tab.evaluate(KEPT)
    site.tab.evaluate("() => void (window.tasks = [])")
    hovers, _ = stroke(site, 0.6, thread, is_down=False)
    moves, after = stroke(site, 0.6, thread)
    longest = max(site.tab.evaluate("() => window.tasks"), default=0)
    kept = site.tab.evaluate(KEPT) - kept
    before = busy(thread)
    site.tab.keyboard.press("Control+z")
    rest(site, thread)
    undo = busy(thread) - before
    if profile:
        profile.write_text(json.dumps(protocol.send("Profiler.stop")["profile"]), encoding="utf-8")
    context.close()
    return {
        "move_ms": round(sum(moves) / len(moves), 1),
        "hover_ms": round(sum(hovers) / len(hovers), 1),
        "slowest_move_ms": round(max(moves), 1),
        "after_ms": round(after, 1),
        "longest_task_ms": round(longest),
        "undo_ms": round(undo, 1),
        "kept_kb": round(kept / 1e3),
    }


def stroke(site: Site, y: float, thread: Path, *, is_down: bool = True) -> tuple[list[float], float]:
    """One stroke, or a way of the pointer without one: the time of each move, and the time after the last one [ms]."""
    start, end = site.place(0.1, y), site.place(0.9, y + 0.15)
    site.tab.mouse.move(*start)
    if is_down:
        site.tab.mouse.down()
    site.tab.evaluate(FRAME)
    moves = []
    for step in range(1, MOVES + 1):
        share = step / MOVES
        before = busy(thread)
        site.tab.mouse.move(*(one + share * (other - one) for one, other in zip(start, end, strict=True)))
        site.tab.evaluate(FRAME)
        moves.append(busy(thread) - before)
    before = busy(thread)
    site.tab.mouse.up()
    rest(site, thread)
    return moves, busy(thread) - before


def rest(site: Site, thread: Path) -> None:
    """Wait until the page does nothing any more."""
    while True:
        before = busy(thread)
        site.tab.wait_for_timeout(500)
        if busy(thread) - before < 20:
            return


def main_thread(browser: Browser) -> Path:
    """The file in which the kernel counts the time of the page's main thread: that of the busiest renderer."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [process for process in processes if process["type"] == "renderer"]
    number = max(renderers, key=lambda process: process["cpuTime"])["id"]
    return Path(f"/proc/{number}/task/{number}/schedstat")


def busy(thread: Path) -> float:
    """Processor time so far [ms]."""
    return int(thread.read_text(encoding="ascii").split()[0]) / 1e6


@contextmanager
def served(folder: Path, size: tuple[int, int]) -> Iterator[str]:
    """The page with a service that knows the labels of one image: its address."""
    handler = functools.partial(_Handler, labels=answer(size), directory=str(folder), headers_too=HEADERS | ISOLATION)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def answer(size: tuple[int, int]) -> bytes:
    """Labels with curved borders, as the service sends them."""
    width, height = size
    y, x = np.mgrid[: height // 8, : width // 8] * 8.0
    waves = np.sin(9 * x / width + 3 * np.cos(5 * y / height)) + np.cos(11 * y / height)
    small = np.clip((waves + 2) / 4 * len(WORDS), 0, len(WORDS) - 1).astype(np.uint8)
    labels = Image.fromarray(small).resize(size, Image.Resampling.NEAREST)
    labels.putpalette(bytes(range(256)) * 3)
    confidence = Image.fromarray((128 + 60 * np.sin(waves)).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    classes = [{"name": name} for name in WORDS]
    report = {"model": "tiny", "width": width, "height": height, "classes": classes, "seconds": 0.1}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("result.json", json.dumps(report))
        for name, image in (("labels.png", labels), ("confidence.png", confidence)):
            content = io.BytesIO()
            image.save(content, "PNG", compress_level=1)
            archive.writestr(name, content.getvalue())
    return buffer.getvalue()


class _Handler(PageFiles):
    def __init__(self, *arguments: Any, labels: bytes, **options: Any) -> None:
        self.labels = labels
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        """Answer what the page asks for, and its files."""
        if self.path == "/backends.json":
            addresses = {"segment": "v1/segment", "models": "v1/models"}
            self._send("application/json", json.dumps({"service": addresses, "browser": None}).encode())
        elif self.path == "/v1/models":
            limits = {"bytes": 10**9, "pixels": 10**8, "words": 100}
            models = [{"name": "tiny", "parameters": 1, "parts": False, "taught": []}]
            self._send("application/json", json.dumps({"models": models, "limits": limits}).encode())
        else:
            super().do_GET()

    def do_POST(self) -> None:
        """Answer with the labels."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send("application/zip", self.labels)

    def _send(self, kind: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    main()
