"""How a photograph of many megapixels does on the page of a project, in headless Chromium, beside `segvoc serve`.

Usage: PYTHONPATH=. python annotate/tools/large_image.py [--megapixels 42]. Prints seconds: until it is shown sharply
and labeled, of clicks, strokes (the longest frame meanwhile, and until they are saved), undo and a polygon, and of
opening it again; and the service's peak memory.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from annotate.tests.web.site import SAMPLES, Site
from annotate.tests.web.test_shared_project import KilledService
from segvoc_annotate.projects.project import Project

WORDS = "cup, table, spoon"

_FRAMES = """() => {
    window.longest = 0;
    let last = performance.now();
    const look = (now) => {
        window.longest = Math.max(window.longest, now - last);
        last = now;
        if (!window.stopped) requestAnimationFrame(look);
    };
    window.stopped = false;
    requestAnimationFrame(look);
}"""


def peak_of(pid: int) -> float:
    """Peak memory of a process [GB]."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def quiet(site: Site, seconds: float = 0.4) -> None:
    """Wait until no tile was asked for in a while."""
    count = -1
    while count != len(site.requests):
        count = len(site.requests)
        site.tab.wait_for_timeout(1000 * seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=42)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        folder = Path(scratch, "large")
        (folder / "images").mkdir(parents=True)
        with Image.open(SAMPLES / "coffee.jpg") as image:
            factor = (chosen.megapixels * 1e6 / (image.width * image.height)) ** 0.5
            size = round(image.width * factor), round(image.height * factor)
            image.resize(size, Image.Resampling.BICUBIC).save(folder / "images/coffee.jpg", quality=90)
        Project.create(folder).close()
        service = KilledService(folder)
        service.start()
        assert service.process is not None
        browser = driver.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 860})
        tab.set_default_timeout(60_000)
        site = Site(tab, service.address, Path(scratch), SAMPLES)
        tab.on("request", lambda request: site.requests.append(request.url) if "tiles" in request.url else None)
        tab.on("console", lambda line: print("console:", line.text) if line.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: print("page:", error))
        start = time.perf_counter()

        def tell(what: str, less: float = 0.0) -> None:
            nonlocal start
            print(f"{what}: {time.perf_counter() - start - less:.2f} s", flush=True)
            start = time.perf_counter()

        tab.goto(site.address)
        tab.locator(".stage canvas").wait_for()
        quiet(site)
        tell(f"{size[0]} x {size[1]} pixels are shown sharply", 0.8)
        site.type(WORDS)
        site.done()
        tell("labeled")
        site.all_saved()
        tell("the labels are saved")

        def click() -> None:
            tab.locator(".toolbar button:enabled", has_text="Give the word").wait_for()
            tab.locator(".toolbar").get_by_text("Looking").wait_for(state="detached")

        site.press("Click an object")
        quiet(site, 3)
        for number, place in enumerate(((0.35, 0.4), (0.5, 0.5), (0.6, 0.7)), 1):
            tab.mouse.move(*site.place(*place))
            start = time.perf_counter()
            tab.mouse.click(*site.place(*place))
            click()
            tell(f"click {number}")
        tab.get_by_role("combobox").first.select_option("spoon")
        start = time.perf_counter()
        site.press("Give the word")
        site.all_saved()
        tell("the clicked object is saved")
        for number in (1, 2):
            tab.evaluate(_FRAMES)
            site.paint("table", (0.2, 0.2 * number), (0.7, 0.25 * number))
            tab.evaluate("window.stopped = true")
            print(f"the longest frame of stroke {number}: {tab.evaluate('window.longest') / 1000:.3f} s")
            start = time.perf_counter()
            site.all_saved()
            tell(f"stroke {number} is saved")
        tab.evaluate(_FRAMES)
        tab.keyboard.press("Control+z")
        tab.evaluate("window.stopped = true")
        print(f"the longest frame of undo: {tab.evaluate('window.longest') / 1000:.3f} s")
        start = time.perf_counter()
        site.all_saved()
        tell("undo is saved")
        site.press("Polygon", exact=True)
        for place in ((0.2, 0.2), (0.3, 0.2), (0.3, 0.3)):
            site.click(*place)
        start = time.perf_counter()
        tab.keyboard.press("Enter")
        site.all_saved()
        tell("a polygon is saved")
        start = time.perf_counter()
        tab.reload()
        site.done()
        quiet(site)
        tell("opened again", 0.8)
        site.paint("spoon", (0.2, 0.8), (0.7, 0.8))
        start = time.perf_counter()
        site.all_saved()
        tell("the first stroke then is saved")
        start = time.perf_counter()
        labels = site.saved("Label map")
        tell(f"the label map of {labels.stat().st_size / 1e6:.1f} MB is there")
        start = time.perf_counter()
        site.press("Done", exact=True)
        site.all_saved()
        tell("done is saved")
        print(f"peak memory of the service: {peak_of(service.process.pid):.2f} GB")
        browser.close()
        service.kill()


if __name__ == "__main__":
    main()
