"""A served page in a browser tab, and what a person does with it."""

import base64
import functools
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import segvoc
from segvoc.inference.segmenter import Segmenter

SAMPLES = Path(__file__).resolve().parents[3] / "samples"

TIMEOUT = 120_000
"""How long the browser may take for a step [ms]."""

AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
"""The rules of axe-core, if they are installed."""

_TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"

_SHOWS = """([text, within, milliseconds]) => new Promise((done, fail) => {
    const end = performance.now() + milliseconds;
    const look = () => {
        if ([...document.querySelectorAll(within)].some((one) => one.innerText.includes(text))) done();
        else if (performance.now() > end) fail(new Error(`the page doesn't show “${text}”`));
        else setTimeout(look, 10);
    };
    look();
})"""
"""Looks more often than Playwright, which comes to look twice a second."""

_DROP = """files => {
    const transfer = new DataTransfer();
    for (const [bytes, name, type] of files)
        transfer.items.add(new File([Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0))], name, { type }));
    return transfer;
}"""


@dataclass
class Site:
    """A served page, and what the browser did with it."""

    tab: Any
    address: str
    folder: Path
    photos: Path
    """The samples, small."""
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings on the console, uncaught ones included."""

    @property
    def surprises(self) -> list[str]:
        """Complaints, but for answers 412: who labels a new image at the same time as somebody else may come second."""
        return [line for line in self.complaints if "412 (Precondition Failed)" not in line]

    def open(self) -> None:
        self.tab.goto(self.address)
        self.shows("The model is ready")

    def transfer(self, paths: Sequence[Path]) -> Any:
        types = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
        files = [(path, types.get(path.suffix, "text/plain")) for path in paths]
        sent = [[base64.b64encode(path.read_bytes()).decode(), path.name, kind] for path, kind in files]
        return self.tab.evaluate_handle(_DROP, sent)

    def drop(self, *paths: Path) -> None:
        self.tab.dispatch_event("main", "drop", {"dataTransfer": self.transfer(paths)})

    def type(self, words: str) -> None:
        self.tab.get_by_label("Words to look for").fill(words)
        self.tab.get_by_label("Words to look for").press("Enter")

    def label(self, image: Path, words: str) -> None:
        self.drop(image)
        self.tab.get_by_role("button", name=f"{image.name}, ").last.wait_for()
        self.type(words)
        self.done()

    def open_and_label(self, sample: str, words: str) -> None:
        self.open()
        self.label(self.photos / sample, words)

    def done(self) -> None:
        self.shows(" labeled ", "[role=status]")

    def shows(self, text: str, within: str = "body") -> None:
        """Wait until the page shows a text."""
        self.tab.evaluate(_SHOWS, [text, within, TIMEOUT])

    def is_open(self, name: str) -> None:
        self.tab.locator(f".thumbnail[aria-current=true][title^='{name}']").wait_for()

    def go_to(self, name: str, state: str = "labeled") -> None:
        self.press(f"{name}, {state}")
        self.is_open(name)

    def press(self, name: str, *, exact: bool = False) -> None:
        self.tab.get_by_role("button", name=name, exact=exact).click()

    def has_word(self, name: str) -> None:
        """Wait until a word is looked for, found or not."""
        self.tab.locator(".word-rows .name", has_text=name).wait_for(state="attached")

    def remove_word(self, name: str) -> None:
        field = self.tab.get_by_label("Words to look for")
        # what is typed narrows the list, in which words that weren't found are folded
        field.fill(name)
        self.press(f"Remove {name}", exact=True)
        field.fill("")

    def export(self, file: str) -> None:
        self.press("Export", exact=True)
        self.tab.get_by_role("dialog", name="Export").get_by_role("button", name=file).click()

    def saved(self, file: str) -> Path:
        return self.download(lambda: self.export(file))

    def download(self, act: Callable[[], None]) -> Path:
        with self.tab.expect_download() as download:
            act()
        path = self.folder / "saved" / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def labels(self) -> np.ndarray:
        """The labels as they are saved; 255: no word."""
        with Image.open(self.saved("Label map")) as saved:
            assert saved.mode == "P"
            return np.array(saved)

    def labels_of(self, words: Sequence[str]) -> np.ndarray:
        """The same as places in a list of all its words; a word that was added later has a higher number in files."""
        report = json.loads(self.saved("Shares").read_text(encoding="utf-8"))
        places = np.full(256, 255)
        for entry in report["classes"]:
            places[entry["id"]] = list(words).index(entry["name"])
        return places[self.labels()]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the open image is in the window, if all of the image is seen; both in [0, 1]."""
        self.tab.locator(".stage").evaluate("stage => stage.scrollIntoView({ block: 'center' })")
        box = self.tab.locator(".stage canvas").bounding_box()
        shape = float(self.tab.locator(".stage").evaluate("stage => stage.style.getPropertyValue('--shape')"))
        width = min(box["width"] - 24, (box["height"] - 24) * shape)
        height = width / shape
        left, top = (box["width"] - width) / 2, (box["height"] - height) / 2
        return box["x"] + left + x * width, box["y"] + top + y * height

    def drag(self, *places: tuple[float, float], is_ended: bool = True) -> None:
        targets: list[tuple[float, float]] = []
        # the page may be laid out anew before the press, and what is pressed goes on as it began
        while targets != (newest := [self.place(*place) for place in places]):
            targets = newest
            self.tab.mouse.move(*targets[0], steps=4)
        self.tab.mouse.down()
        for target in targets[1:]:
            self.tab.mouse.move(*target, steps=4)
        if is_ended:
            self.tab.mouse.up()

    def paint(self, word: str, *places: tuple[float, float]) -> None:
        self.press("Brush")
        self.tab.get_by_label("Paint").select_option(word)
        self.drag(*places)

    def paint_line(self, word: str, y: float) -> None:
        self.paint(word, (0.1, y), (0.9, y))

    def all_saved(self) -> None:
        self.shows("All changes are saved")

    def labels_once(self, holds: Callable[[np.ndarray], bool]) -> np.ndarray:
        """The labels as soon as somebody else, or something learned, has made them so."""
        for _ in range(300):
            if holds(labels := self.labels()):
                return labels
        raise AssertionError("the labels stay as they are")

    def shows_line(self, y: float, value: int) -> None:
        self.labels_once(lambda labels: has_line(labels, y, value))

    def painted(self) -> str:
        """The word that the tools paint."""
        return self.tab.get_by_label("Paint").locator("option:checked").inner_text()

    def click(self, x: float, y: float) -> None:
        self.tab.mouse.click(*self.place(x, y))

    def reading(self) -> str:
        """What the page says of the place under the pointer."""
        return " ".join(self.tab.locator("output").inner_text().split())

    def image_once(self, holds: Callable[[np.ndarray], object] = lambda _: True) -> np.ndarray:
        """What the stage shows while the pointer is elsewhere, RGB, as soon as it is so and stays."""
        self.tab.mouse.move(1, 1)
        seen = b""
        for _ in range(100):
            self.tab.evaluate(_TWO_FRAMES)
            before, seen = seen, self.tab.locator(".stage canvas").screenshot()
            image = np.array(Image.open(io.BytesIO(seen)).convert("RGB")).astype(int)
            if seen == before and holds(image):
                return image
        raise AssertionError("the stage looks otherwise")

    def pointed_once(self, holds: Callable[[np.ndarray], object]) -> np.ndarray:
        """What the stage shows, RGB, as soon as it is so; the pointer stays where it is."""
        for _ in range(600):
            self.tab.evaluate(_TWO_FRAMES)
            seen = self.tab.locator(".stage canvas").screenshot()
            image = np.array(Image.open(io.BytesIO(seen)).convert("RGB")).astype(int)
            if holds(image):
                return image
        raise AssertionError("the stage doesn't show what is pointed at")

    def stage_key(self, *keys: str) -> None:
        self.tab.get_by_role("application").focus()
        for key in keys:
            self.tab.keyboard.press(key)


def has_line(labels: np.ndarray, y: float, value: int, left: float = 0.2, right: float = 0.8) -> bool:
    height, width = labels.shape
    return bool((labels[int(y * height), int(left * width) : int(right * width)] == value).all())


@functools.cache
def _loaded() -> Segmenter:
    return segvoc.load("tiny", dtype="float32")


def in_python(image: Path | np.ndarray, words: Sequence[str], **options: Any) -> segvoc.Segmentation:
    """What the model of the page finds in Python."""
    return _loaded().segment(image, list(words), **options)


def check(site: Site, state: str) -> None:
    """Nothing beside the window and, where `npm ci` has installed axe-core, no serious or critical finding of it."""
    hidden = site.tab.evaluate("() => document.documentElement.scrollWidth - visualViewport.width")
    assert hidden <= 0, f"{state}: {hidden:g} pixels are beyond the side of the window"
    if not AXE.is_file():
        return
    site.tab.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = site.tab.evaluate("async () => (await axe.run()).violations")
    bad = [
        f"{state}: {one['impact']}: {one['help']}: {node['html'][:150]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert bad == []
