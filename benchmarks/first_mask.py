"""The first mask of the static page: from opening it to the labels of its example, with an empty and with a full cache.

    python -m benchmarks.first_mask [--runs N]

`segvoc page tiny OUT` on a server of this machine that lets the page have threads, in headless Chromium. Each
run has a profile of its own on the disk:

- `cold`: the first visit. From the navigation to the labels of the example photograph, for which the page has words;
  the example is opened as soon as its button is there.
- `warm`: the same in a new browser with the same profile, after the page's images were cleared.
- `download_mb`: all that a visit transfers, without headers.
- `labels_equal`: share of the pixels that have the label of Python in float32.

The shortest and the median of N runs.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Playwright, sync_playwright

import segvoc
from annotate.tests.web.conftest import UNUSED_FEATURES
from annotate.tests.web.pages import PageFiles
from annotate.tests.web.site import Site
from benchmarks.machine import keep
from benchmarks.web_page import exported

EXAMPLE = Path(__file__).resolve().parents[1] / "annotate" / "web" / "example.jpg"


VISITOR = """new MutationObserver(() => {
    const example = [...document.querySelectorAll("button")].find(one => one.textContent.includes("Try an example"));
    if (example && !window.pressed) window.pressed = example.click() ?? true;
    if (document.querySelector("[aria-label^='example.jpg, labeled']"))
        requestAnimationFrame(() => { window.labeled ??= performance.timeOrigin + performance.now(); });
}).observe(document, { subtree: true, childList: true, attributes: true });"""
"""Opens the example as soon as it is offered, and takes the time when its labels are shown [ms since 1970]. Playwright
looks every half a second."""


class CountedFiles(PageFiles):
    """The page's files; what a browser has it may keep, but asks whether it is the newest."""

    sent = 0
    """Bytes of all answers' bodies."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Count what is sent."""
        CountedFiles.sent += os.fstat(source.fileno()).st_size
        super().copyfile(source, outputfile)


@dataclass(frozen=True)
class Visit:
    """One visit of the page."""

    seconds: float
    """Until the labels were there [s]."""
    sent: int
    """What was transferred [bytes]."""
    equal: float
    """Share of the pixels that have Python's label."""


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    visits: dict[str, list[Visit]] = {"cold": [], "warm": []}
    with exported(CountedFiles) as address, sync_playwright() as driver:
        for _ in range(runs):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
                for cache in ("cold", "warm"):
                    visits[cache].append(visit(driver, Path(profile), address))
    rows: list[dict[str, object]] = [
        {
            "cache": cache,
            "first_mask_s": round(min(one.seconds for one in found), 2),
            "median_s": round(statistics.median(one.seconds for one in found), 2),
            "download_mb": round(max(one.sent for one in found) / 1e6, 1),
            "labels_equal": round(min(one.equal for one in found), 5),
        }
        for cache, found in visits.items()
    ]
    keep("first_mask", rows)


def visit(driver: Playwright, profile: Path, address: str) -> Visit:
    """Open the page in a browser with this profile, label the example, and clear it again."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    arguments = ["--no-sandbox", f"--disable-features={','.join(UNUSED_FEATURES)}"]
    context = driver.chromium.launch_persistent_context(profile, executable_path=chromium, args=arguments)
    context.set_default_timeout(120_000)
    site = Site(context.pages[0], address, profile / "saved")
    site.tab.add_init_script(VISITOR)
    before, start = CountedFiles.sent, time.time()
    site.tab.goto(address, wait_until="commit")
    site.tab.get_by_role("button", name="example.jpg, labeled").wait_for()
    site.done()
    seconds = site.tab.evaluate("() => window.labeled") / 1000 - start
    sent = CountedFiles.sent - before
    words = site.tab.locator(".words .name").all_inner_texts()
    expected = segvoc.load("tiny", dtype="float32").segment(EXAMPLE, words).labels
    with Image.open(site.saved("Label map")) as saved:
        equal = float((np.array(saved) == expected).mean())
    site.press("Clear all")
    site.press("Remove everything")
    site.tab.get_by_role("button", name="Try an example").wait_for()
    context.close()
    return Visit(seconds, sent, equal)


if __name__ == "__main__":
    main()
