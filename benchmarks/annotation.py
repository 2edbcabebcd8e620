"""What correcting photographs takes: clicks for regions, clicks after words, and actions for whole photographs.

    python -m benchmarks.annotation clicks [--photos ../shared/data/photos]
    python -m benchmarks.annotation words --images voc/images --labels voc/labels --classes voc/classes.json
    python -m benchmarks.annotation actions [--photos ../shared/data/photos]

A scripted annotator, who knows the truth, does it. `python tools/make_tables.py` then renews the tables of
docs/explanation/clicks.md.

`clicks`: it clicks the middle of the region, then the middle of the largest connected error, at most 20 times. Each
word of a data set gives its largest region; of more words than a set is asked for, every so-many-th by size. Nothing
of these photographs was in the training of the click network; `tiny`, whose features it reads, has learned words from
all of them but those of car-parts.

`words`: the clicks that bring photographs to a mean IoU of 0.85 after `tiny` has labeled them by the words that each
shows, and the background: always on the region of the label map that has most wrong pixels, until that region is
right. They should be photographs that nothing was learned from.

`actions`: what brings `tiny`'s labels to 90 % of the pixels of a photograph. It takes what wins most pixels an action:
another word for a region (a click and the word), or for all regions that a box touches (a drag and the word), two
words swapped (a click, the word, the button), clicks on an object or a box around it (a click or drag each, and the
word), a polygon (its corners, its end, the word). A word that is chosen already costs nothing. It gives up where no
tool wins `LEAST_WON` of the pixels an action, or after 40. Once with single regions, clicks and polygons alone, and
once with all.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from skimage.draw import polygon2mask
from skimage.measure import approximate_polygon, find_contours

import segvoc
from benchmarks.machine import keep
from segvoc.inference.clicks import ClickedImage, Guess, ViewBox
from tools.clicks.clicker import connected, iou_of, next_click
from tools.clicks.views import is_held_out, regions_of
from tools.tiny.photos import NO_WORD, UNLABELED, Photo, read_photos

REGIONS = {"voc": 20, "coco-panoptic": 20, "coco-minis": 20, "clothing": 15, "car-parts": 15, "indoor": 10}
"""Regions of each data set."""

UNSEEN = "car-parts"
"""Photographs that nothing was learned from."""

MOST_CLICKS = 20
"""Clicks at most."""

LEVELS = (0.8, 0.85, 0.9)
GOOD_IOU, CLICKS_ON_REGION = 0.85, 4
"""Mean IoU of a photograph that is enough, and clicks on one region at most."""

PHOTOS = {"car-parts": 4, "indoor": 3, "coco-panoptic": 3, "clothing": 2}
"""Photographs of each set: evenly by name among those that begin below `ENOUGH`."""

ENOUGH, MOST_ACTIONS = 0.9, 40
"""Share of right pixels that is enough, and actions at most."""

LEAST_WON = 0.001
"""Share of the pixels that an action has to win."""

CLICKS_ON_OBJECT = 5
"""On one object."""

PLACES = 3
"""Regions that it looks at for each tool."""

TOLERANCES = (0.03, 0.015, 0.006)
"""How far a polygon may be from its region, as a share of the image's longer side."""


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
    for number in range(MOST_CLICKS):
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
        row[f"clicks_{level}"] = round(float(np.mean([count or MOST_CLICKS for count in counts])), 2)
        row[f"reached_{level}"] = round(float(np.mean([count is not None for count in counts])), 3)
    for number in (1, 3, 5):
        row[f"iou_{number}"] = round(float(np.mean([curve[min(number, len(curve)) - 1] for curve in curves])), 3)
    return row


def measure_clicks(photos: Path) -> None:
    """Count clicks for regions of each data set."""
    rows: list[dict[str, object]] = []
    everything: list[list[float]] = []
    seconds: list[float] = []
    for name, count in REGIONS.items():
        curves = [ious_of(wanted, seconds) for wanted in wanted_regions(photos, name, count)]
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


def clicks_after_words(truth: np.ndarray, labels: np.ndarray, image: ClickedImage) -> int:
    """How many clicks bring labels (H W) to `GOOD_IOU`, or `MOST_CLICKS`; labels and truth are the same numbers."""
    known, clicks = truth != UNLABELED, 0
    shown = np.unique(truth[known])

    def is_done() -> bool:
        ious = [iou_of(labels == one, truth == one, known) for one in shown]
        return float(np.mean(ious)) >= GOOD_IOU or clicks >= MOST_CLICKS

    while not is_done():
        wrong = (labels != truth) & known
        label, wanted = max(regions_of(truth), key=lambda one: int((wrong & one[1]).sum()))
        mask, guess, before = np.zeros_like(wanted), None, labels
        for _ in range(CLICKS_ON_REGION):
            click = next_click(mask, wanted, known)
            if click is None or is_done():
                break
            guess = image.clicked(click, guess)
            mask, clicks = image.mask(guess), clicks + 1
            labels = np.where(mask, label, before)
            if iou_of(mask, wanted, known) > GOOD_IOU:
                break
    return clicks


def labels_by_words(
    model: segvoc.Segmenter, pixels: np.ndarray, truth: np.ndarray, words: Sequence[str | None], background: int | None
) -> np.ndarray:
    """`tiny`'s labels (H W) by the words that the truth shows, and the background, in the truth's numbers."""
    things = [one for one in np.unique(truth).tolist() if one not in (background, UNLABELED)]
    asked = [str(words[one]) for one in things]
    result = model.segment(pixels, asked, background=None if background is None else NO_WORD)
    # the background follows the words, or there is none
    rest = UNLABELED if background is None else background
    return np.array([*things, rest], np.uint8)[np.minimum(result.labels, len(things))]


def measure_words(images: segvoc.LabeledImages, count: int) -> None:
    """Label photographs, evenly chosen by name, by their words, and count the clicks that correct them."""
    model, words, clicks = segvoc.load("tiny"), images.vocabulary.words, list[int]()
    for place in range(0, len(images), max(1, len(images) // count))[:count]:
        pixels, truth = images.read(place)
        truth = np.minimum(truth, UNLABELED).astype(np.uint8)
        labels = labels_by_words(model, pixels, truth, words, words.index(NO_WORD))
        clicks.append(clicks_after_words(truth, labels, ClickedImage(pixels)))
        print(f"{images.images[place].identity}: {clicks[-1]} clicks", flush=True)
    print(f"{sum(clicks)} clicks")


@dataclass(frozen=True, eq=False)
class Action:
    """What a tool would do: the labels after it (H W), the word that it gives, and what it costs besides that word."""

    tool: str
    labels: np.ndarray
    word: int
    cost: int


@dataclass(eq=False)
class Annotator:
    """Someone who corrects one photograph."""

    image: ClickedImage
    truth: np.ndarray
    labels: np.ndarray
    has_all_tools: bool
    chosen: int | None = None
    actions: int = 0
    used: dict[str, int] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of the labeled pixels that are right."""
        known = self.truth != UNLABELED
        return float((self.labels == self.truth)[known].mean())

    def work(self) -> None:
        """Correct until it is good enough, or nothing is worth it."""
        while self.accuracy < ENOUGH and self.actions < MOST_ACTIONS:
            best = max(self._possible(), key=self._won, default=None)
            if best is None or self._won(best) < LEAST_WON:
                return
            self.actions += self._price(best)
            self.used[best.tool] = self.used.get(best.tool, 0) + self._price(best)
            self.labels, self.chosen = best.labels, best.word

    def _price(self, action: Action) -> int:
        return action.cost + (action.word != self.chosen)

    def _won(self, action: Action) -> float:
        """Share of the pixels that an action wins."""
        known = self.truth != UNLABELED
        right = (action.labels == self.truth)[known].mean()
        return (float(right) - self.accuracy) / self._price(action)

    def _possible(self) -> Iterator[Action]:
        missed = self._missed()
        yield from self._relabeled(missed if self.has_all_tools else [])
        for word, region in missed:
            yield from self._clicked(word, region)
            yield from self._drawn(word, region)

    def _relabeled(self, boxed: list[tuple[int, np.ndarray]]) -> Iterator[Action]:
        wrong = (self.labels != self.truth) & (self.truth != UNLABELED)
        numbers = np.zeros(self.labels.shape, int)
        for label in np.unique(self.labels):
            found, _ = connected(self.labels == label)
            numbers[found > 0] = found[found > 0] + numbers.max()
        sizes = np.bincount(numbers[wrong])
        for number in np.argsort(-sizes)[:PLACES]:
            region = numbers == number
            inside = self.truth[region & (self.truth != UNLABELED)]
            if not len(inside):
                continue
            word = int(np.bincount(inside).argmax())
            yield Action("region", np.where(region, word, self.labels), word, 1)
            if not self.has_all_tools:
                continue
            before = int(self.labels[region][0])
            swapped = np.where(self.labels == before, word, np.where(self.labels == word, before, self.labels))
            yield Action("swap", swapped, word, 2)
        for word, place in boxed:
            rows, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
            touched = np.unique(numbers[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
            yield Action("box of regions", np.where(np.isin(numbers, touched), word, self.labels), word, 1)

    def _missed(self) -> list[tuple[int, np.ndarray]]:
        """Connected regions of the truth with the most wrong pixels, and their words."""
        wrong, found = (self.labels != self.truth) & (self.truth != UNLABELED), []
        for word in np.unique(self.truth[wrong]).tolist():
            numbers, _ = connected(self.truth == word)
            sizes = np.bincount(numbers[wrong], minlength=2)
            sizes[0] = 0
            found.append((int(sizes.max()), word, numbers == int(sizes.argmax())))
        return [(word, region) for _, word, region in sorted(found, key=lambda one: -one[0])[:PLACES]]

    def _clicked(self, word: int, region: np.ndarray) -> Iterator[Action]:
        known = self.truth != UNLABELED
        starts: list[tuple[str, Guess | None]] = [("clicks", None)]
        if self.has_all_tools:
            rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
            box = ViewBox(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
            starts.append(("box of an object", self.image.boxed(box)))
        for tool, guess in starts:
            mask = np.zeros_like(region) if guess is None else self.image.mask(guess)
            for number in range(CLICKS_ON_OBJECT + 1):
                if guess is not None:  # the clicks, or the drag and the clicks after it, and Enter
                    yield Action(tool, np.where(mask, word, self.labels), word, number + 1 + (tool != "clicks"))
                click = next_click(mask, region, known)
                if click is None:
                    break
                guess = self.image.clicked(click, guess)
                mask = self.image.mask(guess)

    def _drawn(self, word: int, region: np.ndarray) -> Iterator[Action]:
        outlines = find_contours(np.pad(region, 1).astype(float), 0.5)
        outline = max(outlines, key=len) - 1
        for tolerance in TOLERANCES:
            corners = approximate_polygon(outline, tolerance * max(region.shape))
            if len(corners) > 3:
                inside = polygon2mask(region.shape, corners)
                yield Action("polygon", np.where(inside, word, self.labels), word, len(corners))


def begun(model: segvoc.Segmenter, photos: Path) -> list[tuple[Photo, np.ndarray, np.ndarray, np.ndarray]]:
    """The photographs of `PHOTOS`: pixels, the truth and `tiny`'s labels (H W), in numbers of the set's words."""
    chosen = []
    for name, count in PHOTOS.items():
        hard = []
        every = read_photos(photos / name, name)
        for photo in every[:: max(1, len(every) // 20)]:
            pixels, truth = np.asarray(photo.pixels()), photo.labels()
            shown = [number for number in np.unique(truth).tolist() if number != UNLABELED]
            background = next((number for number in shown if photo.words[number] is None), None)
            labels = labels_by_words(model, pixels, truth, photo.words, background)
            if Annotator(ClickedImage(pixels), truth, labels, has_all_tools=True).accuracy < ENOUGH:
                hard.append((photo, pixels, truth, labels))
        places = np.linspace(0, len(hard) - 1, min(count, len(hard))).round().astype(int)
        chosen += [hard[place] for place in places]
    return chosen


def measure_actions(photos: Path) -> None:
    """Count the actions that bring photographs to `ENOUGH`."""
    rows: list[dict[str, object]] = []
    for photo, pixels, truth, labels in begun(segvoc.load("tiny"), photos):
        row: dict[str, object] = {"photograph": photo.key}
        for tools, has_all in (("few", False), ("all", True)):
            annotator = Annotator(ClickedImage(pixels), truth, labels, has_all)
            row["words"] = len(np.unique(truth[truth != UNLABELED]))
            row["start"] = round(annotator.accuracy, 3)
            annotator.work()
            row |= {f"actions_{tools}": annotator.actions, f"end_{tools}": round(annotator.accuracy, 3)}
            row[f"tools_{tools}"] = ", ".join(f"{tool} {count}" for tool, count in sorted(annotator.used.items()))
        rows.append(row)
        print(row, flush=True)
    keep("annotator", rows)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    for name in ("clicks", "actions"):
        kinds.add_parser(name).add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    words = kinds.add_parser("words")
    for name in ("images", "labels", "classes"):
        words.add_argument(f"--{name}", type=Path, required=True)
    words.add_argument("--count", type=int, default=10, help="photographs, evenly chosen by name")
    chosen = parser.parse_args()
    if chosen.what == "words":
        images = segvoc.LabeledImages.from_folders(chosen.images, chosen.labels, chosen.classes)
        measure_words(images, chosen.count)
    else:
        (measure_clicks if chosen.what == "clicks" else measure_actions)(chosen.photos)


if __name__ == "__main__":
    main()
