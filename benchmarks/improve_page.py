"""What "Improve" of the page learns from photographs that are done, beside `segvoc teach`; its time in the browser.

    python -m benchmarks.improve_page [--photos ../shared/data/photos] [--set indoor] [--done 12] [--others 15]

The page labels photographs of a set in headless Chromium with the words of the set; the right labels of some are put
in its database, as if a person had been done with them. Then the button is pressed. One row: the seconds from the
button to the scores, held-out scores [mean IoU and right pixels, before and after] by the page and by Python, scores of
the other photographs as the page labels them before and after, and how many of their pixels Python labels alike with
its own words.
"""

import argparse
import base64
import functools
import http.server
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from annotate.tests.web.conftest import copied_tiny
from annotate.tests.web.pages import HEADERS, ISOLATION, PageFiles
from annotate.tests.web.site import Site
from benchmarks.machine import keep
from segvoc.data.labeled_images import LabeledImages
from segvoc.exported.shipped import open_tiny
from segvoc.imaging.label_maps import UNLABELED
from segvoc.teaching.taught_words import TaughtWords
from segvoc_annotate.static_page import write_page

SETTLE = """async files => {
    const database = await new Promise((done, fail) => {
        const asked = indexedDB.open("segvoc");
        asked.onsuccess = () => done(asked.result);
        asked.onerror = () => fail(asked.error);
    });
    const told = request => new Promise(done => (request.onsuccess = () => done(request.result)));
    const images = await told(database.transaction("images").objectStore("images").getAll());
    const project = await told(database.transaction("settings").objectStore("settings").get("project"));
    const ids = new Map(project.words.map(({ name, id }) => [name, id]));
    for (const { name, words, labels } of files) {
        const entry = images.find(({ state }) => state.image === name);
        const places = new Uint16Array(Uint8Array.from(atob(labels), one => one.charCodeAt(0)).buffer);
        const settled = places.map(place => (place === 65535 ? 65535 : ids.get(words[place])));
        const writing = database.transaction(["images", "settled"], "readwrite");
        writing.objectStore("images").put({ ...entry, state: { ...entry.state, done: true } }, entry.id);
        writing.objectStore("settled").put(settled, entry.id);
        await new Promise(done => (writing.oncomplete = done));
    }
    database.close();
}"""
"""Writes right labels into the page's database."""


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--set", dest="chosen", default="indoor")
    parser.add_argument("--done", type=int, default=12)
    parser.add_argument("--others", type=int, default=15)
    given = parser.parse_args()
    folder = given.photos / given.chosen
    images = LabeledImages.from_folders(folder / "images", folder / "labels", folder / "classes.json")
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    done = images.only(sorted(order[: given.done]))
    others = images.only(sorted(order[given.done :][: given.others]))
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with (
        tempfile.TemporaryDirectory() as scratch,
        sync_playwright() as driver,
        driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        write_page(Path(scratch) / "site", copied_tiny)
        handler = functools.partial(PageFiles, directory=f"{scratch}/site", headers_too=HEADERS | ISOLATION)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            site = Site(
                browser.new_page(accept_downloads=True), f"http://127.0.0.1:{server.server_port}/", Path(scratch)
            )
            site.tab.set_default_timeout(900_000)
            row = measured(site, done, others)
            server.shutdown()
    print(row)
    keep("improve_page", [{"set": given.chosen, "done": len(done), "others": len(others), **row}])


def measured(site: Site, done: LabeledImages, others: LabeledImages) -> dict[str, Any]:
    """What the page and Python learn from the same photographs."""
    words = done.vocabulary.words
    site.open()
    site.type(", ".join(words))
    site.drop(*(one.image for one in (*done.images, *others.images)))
    labeled = f"{len(done) + len(others)} of {len(done) + len(others)} images labeled"
    site.tab.get_by_text(labeled).wait_for()
    before = scores(site, others)[0]
    site.tab.evaluate(SETTLE, [settled(done, index) for index in range(len(done))])
    site.tab.reload()
    site.tab.get_by_text(f"{labeled}, {len(done)} done").wait_for()
    start = time.perf_counter()
    site.press(f"Improve with {len(done)} done images")
    site.tab.get_by_role("table", name="IoU [%]").wait_for()
    seconds = time.perf_counter() - start
    site.tab.get_by_text(labeled).wait_for()
    after, found = scores(site, others)
    ours = TaughtWords.load(site.saved("Save the taught words")).record
    model = open_tiny()
    start = time.perf_counter()
    taught = model.teach(done)
    python, better = time.perf_counter() - start, model.with_taught(taught)
    alike = [(better.segment(others.read(at)[0], words).labels == one).mean() for at, one in enumerate(found)]
    return {
        "seconds": round(seconds, 1),
        "python_seconds": round(python, 1),
        "held_out_page": [ours.miou_before, ours.miou, ours.accuracy_before, ours.accuracy],
        "held_out_python": [
            taught.record.miou_before,
            taught.record.miou,
            taught.record.accuracy_before,
            taught.record.accuracy,
        ],
        "others_before": before,
        "others_after": after,
        "alike": round(float(np.mean(alike)), 4),
    }


def settled(images: LabeledImages, index: int) -> dict[str, Any]:
    """The right labels of a photograph, for the page's database."""
    labels = images.read(index).labels
    content = base64.b64encode(labels.astype("<u2").tobytes()).decode()
    return {"name": images.images[index].image.name, "words": images.vocabulary.words, "labels": content}


def scores(site: Site, images: LabeledImages) -> tuple[list[float], list[np.ndarray]]:
    """Mean IoU and right pixels [%] of the page's labels, and the labels."""
    words = len(images.vocabulary)
    confusion, found = np.zeros((words, words), np.int64), list[np.ndarray]()
    for index, one in enumerate(images.images):
        site.press(f"{one.image.name}, labeled")
        site.is_open(one.image.name)
        site.done()
        labels, truth = site.labels(), images.read(index).labels
        found.append(labels)
        known = (truth != UNLABELED) & (labels < words)
        pairs = truth[known].astype(np.int64) * words + labels[known]
        confusion += np.bincount(pairs, minlength=words * words).reshape(words, words)
    right, shown = np.diag(confusion), confusion.sum(axis=1)
    iou = right[shown > 0] / np.maximum(shown + confusion.sum(axis=0) - right, 1)[shown > 0]
    return [round(float(100 * iou.mean()), 1), round(float(100 * right.sum() / confusion.sum()), 1)], found


if __name__ == "__main__":
    main()
