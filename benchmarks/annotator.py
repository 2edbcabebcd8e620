"""Actions of a scripted annotator that bring `tiny`'s labels of photographs to 90 % of their pixels.

    python -m benchmarks.annotator [--photos ../shared/data/photos]

It knows the truth, and takes what wins most pixels an action: another word for a region (a click and the word), or for
all regions that a box touches (a drag and the word), two words swapped (a click, the word, the button), clicks on an
object or a box around it (a click or drag each, and the word), a polygon (its corners, its end, the word). A word that
is chosen already costs nothing. It gives up where no tool wins `LEAST` of the pixels an action, or after 40. Once with
single regions, clicks and polygons alone, and once with all.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from skimage.draw import polygon2mask
from skimage.measure import approximate_polygon, find_contours

import segvoc
from benchmarks.machine import keep
from segvoc.inference.clicks import ClickedImage, Guess, ViewBox
from tools.clicks.clicker import connected, next_click
from tools.tiny.photos import NO_WORD, UNLABELED, Photo, read_photos

PHOTOS = {"car-parts": 4, "indoor": 3, "coco-panoptic": 3, "clothing": 2}
"""Photographs of each set: evenly by name among those that begin below `WANTED`."""

WANTED, MOST_ACTIONS = 0.9, 40
LEAST = 0.001
"""Share of the pixels that an action has to win."""

MOST_CLICKS = 5
"""On one object."""

PLACES = 3
"""Regions that it looks at for each tool."""

TOLERANCES = (0.03, 0.015, 0.006)
"""How far a polygon may be from its region, as a share of the image's longer side."""


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
        while self.accuracy < WANTED and self.actions < MOST_ACTIONS:
            best = max(self._possible(), key=self._won, default=None)
            if best is None or self._won(best) < LEAST:
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
            for number in range(MOST_CLICKS + 1):
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


def labeled(model: segvoc.Segmenter, photo: Photo) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photograph's pixels, the truth and `tiny`'s labels (H W), both in numbers of the data set's words."""
    pixels, truth = np.asarray(photo.pixels()), photo.labels()
    shown = [number for number in np.unique(truth).tolist() if number != UNLABELED]
    things = [number for number in shown if photo.words[number] is not None]
    background = next((number for number in shown if photo.words[number] is None), UNLABELED)
    words = [str(photo.words[number]) for number in things]
    result = model.segment(pixels, words, background=None if background == UNLABELED else NO_WORD)
    return pixels, truth, np.array([*things, background], np.uint8)[np.minimum(result.labels, len(things))]


def begun(model: segvoc.Segmenter, photos: Path) -> list[tuple[Photo, np.ndarray, np.ndarray, np.ndarray]]:
    """The photographs of `PHOTOS`, as `labeled`."""
    chosen = []
    for name, count in PHOTOS.items():
        hard = []
        every = read_photos(photos / name, name)
        for photo in every[:: max(1, len(every) // 20)]:
            pixels, truth, labels = labeled(model, photo)
            if Annotator(ClickedImage(pixels), truth, labels, has_all_tools=True).accuracy < WANTED:
                hard.append((photo, pixels, truth, labels))
        places = np.linspace(0, len(hard) - 1, min(count, len(hard))).round().astype(int)
        chosen += [hard[place] for place in places]
    return chosen


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    chosen = parser.parse_args()
    rows: list[dict[str, object]] = []
    for photo, pixels, truth, labels in begun(segvoc.load("tiny"), chosen.photos):
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


if __name__ == "__main__":
    main()
