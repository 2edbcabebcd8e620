"""Clicks that a scripted annotator needs for regions of photographs, and what a click takes.

    python -m benchmarks.clicks [--photos ../shared/data/photos]

The annotator clicks the middle of the region, then the middle of the largest connected error, at most 20 times. Each
word of a data set gives its largest region; of more words than a set is asked for, every so-many-th by size. Nothing
of these photographs was in the training of the click network; `tiny`, whose features it reads, has learned words from
all of them but those of car-parts. The table is written to docs/explanation/clicks.md, between its marks.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import keep
from segvoc.inference.clicks import ClickedImage
from tools.clicks.clicker import iou_of, next_click
from tools.clicks.views import is_held_out, regions_of
from tools.make_tables import markdown, with_block
from tools.tiny.photos import UNLABELED, Photo, read_photos

REGIONS = {"voc": 20, "coco-panoptic": 20, "coco-minis": 20, "clothing": 15, "car-parts": 15, "indoor": 10}
"""Regions of each data set."""

UNSEEN = "car-parts"
"""Photographs that nothing was learned from."""

MOST = 20
"""Clicks at most."""

LEVELS = (0.8, 0.85, 0.9)

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "clicks.md"


@dataclass(frozen=True, eq=False)
class Wanted:
    """A region to click."""

    photo: Photo
    word: str
    inside: np.ndarray
    known: np.ndarray


def wanted_regions(root: Path, name: str, count: int) -> list[Wanted]:
    """Regions of a data set."""
    largest: dict[str, Wanted] = {}
    for photo in read_photos(root / name, name):
        if name != UNSEEN and not is_held_out(photo):
            continue
        labels = photo.labels()
        for value, inside in regions_of(labels):
            word = photo.words[value]
            if word is not None and (word not in largest or inside.sum() > largest[word].inside.sum()):
                largest[word] = Wanted(photo, word, inside, labels != UNLABELED)
    by_size = sorted(largest.values(), key=lambda one: (-int(one.inside.sum()), one.word))
    places = np.linspace(0, len(by_size) - 1, min(count, len(by_size))).round().astype(int)
    return [by_size[place] for place in places]


def ious_of(wanted: Wanted, seconds: list[float]) -> list[float]:
    """IoU after each click; times of all but the first are added to `seconds`."""
    image = ClickedImage(np.asarray(wanted.photo.pixels()))
    found, guess, ious = np.zeros_like(wanted.inside), None, []
    for number in range(MOST):
        click = next_click(found, wanted.inside, wanted.known)
        if click is None:
            break
        start = time.process_time()
        guess = image.clicked(click, guess)
        found = image.mask(guess)
        if number:
            seconds.append(time.process_time() - start)
        ious.append(iou_of(found, wanted.inside, wanted.known))
        if ious[-1] >= max(LEVELS):
            break
    return ious


def row_of(name: str, curves: Sequence[Sequence[float]]) -> dict[str, object]:
    """Mean number of clicks, those who never reach a level counted as 20, and the share that reaches it."""
    row: dict[str, object] = {"set": name, "regions": len(curves)}
    for level in LEVELS:
        counts = [next((number for number, iou in enumerate(curve, 1) if iou >= level), None) for curve in curves]
        row[f"clicks_{level}"] = round(float(np.mean([count or MOST for count in counts])), 2)
        row[f"reached_{level}"] = round(float(np.mean([count is not None for count in counts])), 3)
    for number in (1, 3, 5):
        row[f"iou_{number}"] = round(float(np.mean([curve[min(number, len(curve)) - 1] for curve in curves])), 3)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The table of the page: the clicks of each data set, and of all."""
    clicks = (f"clicks to IoU {LEVELS[0]}", *map(str, LEVELS[1:]))
    head = ("data set", "regions", *clicks, "reach 0.9 in 20 clicks", "IoU after 1, 3, 5 clicks")
    lines = [
        (
            row["set"],
            row["regions"],
            *(f"{row[f'clicks_{level}']:.1f}" for level in LEVELS),
            f"{100 * row['reached_0.9']:.0f} %",
            ", ".join(f"{row[f'iou_{number}']:.2f}" for number in (1, 3, 5)),
        )
        for row in rows
    ]
    return markdown(iter([head, *lines]))


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    chosen = parser.parse_args()
    rows: list[dict[str, object]] = []
    everything: list[list[float]] = []
    seconds: list[float] = []
    for name, count in REGIONS.items():
        curves = [ious_of(wanted, seconds) for wanted in wanted_regions(chosen.photos, name, count)]
        everything += curves
        rows.append(row_of(name, curves))
        print(rows[-1], flush=True)
    rows.append(row_of("all", everything))
    milliseconds = [1000 * one for one in seconds]
    keep(
        "clicks",
        rows,
        milliseconds=f"{np.mean(milliseconds):.0f} of processor time a click after the first, with views that are new",
        slowest=f"{np.percentile(milliseconds, 95):.0f} at the 95th percentile",
    )
    PAGE.write_text(with_block(PAGE.read_text(encoding="utf-8"), "clicks", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
