"""Clicks that a scripted annotator needs for regions of photographs, and what a click takes.

    python -m benchmarks.clicks [--photos ../shared/data/photos]
    python -m benchmarks.clicks objects [--photos ../shared/data/photos]    # what `benchmarks/objects.py` counts
    python -m benchmarks.clicks --images voc/images --labels voc/labels --classes voc/classes.json [--count 10]

The annotator clicks the middle of the region, then the middle of the largest connected error, at most 20 times. Each
word of a data set gives its largest region; of more words than a set is asked for, every so-many-th by size. Nothing
of these photographs was in the training of the click network; `tiny`, whose features it reads, has learned words from
all of them but those of car-parts. `python tools/make_tables.py` then renews the
table of docs/explanation/clicks.md.

With `--images` it counts the clicks that bring photographs to a mean IoU of 0.85 after `tiny` has labeled them by the
words that each shows, and the background: always on the region of the label map that has most wrong pixels, until that
region is right. They should be photographs that nothing was learned from.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import segvoc
from benchmarks.machine import keep
from benchmarks.objects import count_objects
from segvoc.inference.clicks import ClickedImage
from tools.clicks.clicker import iou_of, next_click
from tools.clicks.views import is_held_out, regions_of
from tools.tiny.photos import NO_WORD, UNLABELED, Photo, read_photos

REGIONS = {"voc": 20, "coco-panoptic": 20, "coco-minis": 20, "clothing": 15, "car-parts": 15, "indoor": 10}
"""Regions of each data set."""

UNSEEN = "car-parts"
"""Photographs that nothing was learned from."""

MOST = 20
"""Clicks at most."""

LEVELS = (0.8, 0.85, 0.9)
WANTED, MOST_ON_REGION = 0.85, 4
"""Mean IoU of a photograph that is enough, and clicks on one region at most."""


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


def clicks_after_words(truth: np.ndarray, labels: np.ndarray, image: ClickedImage) -> int:
    """How many clicks bring labels (H W) to `WANTED`, or `MOST`; labels and truth are the same numbers."""
    known, clicks = truth != UNLABELED, 0
    shown = np.unique(truth[known])

    def is_done() -> bool:
        ious = [iou_of(labels == one, truth == one, known) for one in shown]
        return float(np.mean(ious)) >= WANTED or clicks >= MOST

    while not is_done():
        wrong = (labels != truth) & known
        label, wanted = max(regions_of(truth), key=lambda one: int((wrong & one[1]).sum()))
        mask, guess, before = np.zeros_like(wanted), None, labels
        for _ in range(MOST_ON_REGION):
            click = next_click(mask, wanted, known)
            if click is None or is_done():
                break
            guess = image.clicked(click, guess)
            mask, clicks = image.mask(guess), clicks + 1
            labels = np.where(mask, label, before)
            if iou_of(mask, wanted, known) > WANTED:
                break
    return clicks


def annotate(model: segvoc.Segmenter, images: segvoc.LabeledImages, place: int) -> int:
    """Label a photograph by its words, and count the clicks that correct it."""
    words, (pixels, truth) = images.vocabulary.words, images.read(place)
    truth, background = np.minimum(truth, UNLABELED).astype(np.uint8), words.index(NO_WORD)
    things = [one for one in np.unique(truth).tolist() if one not in (background, UNLABELED)]
    result = model.segment(pixels, [words[one] for one in things], background=NO_WORD)
    # the background follows the words, or there is none
    labels = np.array([*things, background], np.uint8)[np.minimum(result.labels, len(things))]
    clicks = clicks_after_words(truth, labels, ClickedImage(pixels))
    print(f"{images.images[place].identity}: {clicks} clicks", flush=True)
    return clicks


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    for name in ("images", "labels", "classes"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--count", type=int, default=10, help="photographs of --images, evenly chosen by name")
    parser.add_argument("what", nargs="?", choices=("clicks", "objects"), default="clicks")
    chosen = parser.parse_args()
    if chosen.what == "objects":
        count_objects(chosen.photos)
        return
    if chosen.images:
        images = segvoc.LabeledImages.from_folders(chosen.images, chosen.labels, chosen.classes)
        places = range(0, len(images), max(1, len(images) // chosen.count))[: chosen.count]
        model = segvoc.load("tiny")
        print(f"{sum(annotate(model, images, place) for place in places)} clicks")
        return
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


if __name__ == "__main__":
    main()
