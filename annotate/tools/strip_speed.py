"""How long the strip of a project with 500 images takes in headless Chromium, until all thumbnails in sight are drawn.

Usage: PYTHONPATH=. python annotate/tools/strip_speed.py. Prints the median and the slowest of some tries.
"""

import os
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from annotate.tests.web.test_shared_project import KilledService
from segvoc_annotate.projects.project import Project

NAMES = [f"{number:04}.png" for number in range(500)]

TRIES = 7

_NOTE_ACTIONS = 'addEventListener("input", (event) => (window.actedAt = event.timeStamp), true);'

_SECONDS = """async wanted => {
    const isDrawn = () => {
        const box = document.querySelector(".strip ul")?.getBoundingClientRect();
        const seen = [...document.querySelectorAll(".strip .thumbnail")].filter((one) => {
            const { left, right } = one.getBoundingClientRect();
            return right > box.left && left < box.right;
        });
        return seen.some(({ title }) => title === wanted) && seen.every((one) => one.querySelector("img")?.complete);
    };
    while (!isDrawn()) await new Promise(requestAnimationFrame);
    const listed = performance.getEntriesByType("resource").find(({ name }) => name.endsWith("v1/project"));
    return (performance.now() - (window.actedAt ?? listed.responseEnd)) / 1000;
}"""
"""Seconds since the last input, or since the service has listed the images, until a thumbnail is there."""


with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
    images = Path(scratch, "many", "images")
    images.mkdir(parents=True)
    drawn = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(drawn.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((320, 240)).save(images / name)
    Project.create(images.parent).close()
    service = KilledService(images.parent)
    service.start()
    browser = driver.chromium.launch(
        executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=["--no-sandbox"]
    )
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.add_init_script(_NOTE_ACTIONS)
    seconds = defaultdict(list)
    for _ in range(TRIES):
        page.goto(service.address)
        seconds["opened, once the service has listed the images"].append(page.evaluate(_SECONDS, NAMES[0]))
        page.get_by_role("button", name="Find images").click()
        for label, text, wanted in (
            ("File name", "99", NAMES[99]),
            ("File name", "", NAMES[0]),
            ("Go to image", "500", NAMES[-1]),
            ("Go to image", "250", NAMES[249]),
            ("Go to image", "1", NAMES[0]),
        ):
            page.get_by_label(label).fill(text)
            page.get_by_label(label).blur()
            seconds[f"{label} “{text}”"].append(page.evaluate(_SECONDS, wanted))
    service.kill()
    for what, times in seconds.items():
        print(f"{what}: {np.median(times):.2f} s, at most {max(times):.2f} s")
