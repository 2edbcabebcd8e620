"""Pointer actions that a scripted annotator needs to bring photographs to a mean IoU, after `tiny` has labeled them.

    python -m benchmarks.annotator --images voc/images --labels voc/labels --classes voc/classes.json

The annotator types the words that a photograph shows, with the background, then clicks the middle of the largest
error, as often as it takes: on the region of the label map that has most wrong pixels, until that region is right.
`--images` should be photographs that nothing was learned from.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

import segvoc
from segvoc.inference.clicks import ClickedImage
from tools.clicks.clicker import iou_of, next_click
from tools.clicks.views import regions_of
from tools.tiny.photos import NO_WORD, UNLABELED

WANTED, MOST = 0.85, 20
"""Mean IoU of a photograph that is enough, and actions on one at most."""

MOST_ON_REGION = 4


@dataclass(eq=False)
class Annotation:
    """The labels of a photograph while somebody corrects them."""

    truth: Int[np.ndarray, "H W"]
    """Indices of classes; 255: unlabeled."""
    labels: Int[np.ndarray, "H W"]
    actions: int = 0

    @property
    def known(self) -> Bool[np.ndarray, "H W"]:
        """Where the truth is labeled."""
        return self.truth != UNLABELED

    @property
    def miou(self) -> float:
        """Mean IoU of the classes that the photograph shows."""
        return float(np.mean([iou_of(self.labels == one, self.truth == one, self.known) for one in self.shown]))

    @property
    def shown(self) -> Sequence[int]:
        """Classes that the photograph shows."""
        return np.unique(self.truth[self.known]).tolist()

    @property
    def is_done(self) -> bool:
        """Whether the labels are good enough, or patience ends."""
        return self.miou >= WANTED or self.actions >= MOST

    def correct(self, image: ClickedImage) -> None:
        """Click on the region with most wrong pixels until it is right."""
        wrong = (self.labels != self.truth) & self.known
        label, wanted = max(regions_of(self.truth.astype(np.uint8)), key=lambda one: int((wrong & one[1]).sum()))
        mask, guess, before = np.zeros_like(wanted), None, self.labels
        for _ in range(MOST_ON_REGION):
            click = next_click(mask, wanted, self.known)
            if click is None or self.is_done:
                return
            guess = image.clicked(click, guess)
            mask, self.actions = image.mask(guess), self.actions + 1
            self.labels = np.where(mask, label, before)
            if iou_of(mask, wanted, self.known) > WANTED:
                return


def annotated(model: segvoc.Segmenter, images: segvoc.LabeledImages, place: int) -> int:
    """Annotate a photograph; how many actions it took."""
    words, (pixels, labels) = images.vocabulary.words, images.read(place)
    work = Annotation(np.minimum(labels, UNLABELED).astype(np.int64), np.empty(0, np.int64))
    background = words.index(NO_WORD)
    things = [one for one in work.shown if one != background]
    result = model.segment(pixels, [words[one] for one in things], background=NO_WORD)
    # the background follows the words, or there is none
    work.labels = np.array([*things, background])[np.minimum(result.labels, len(things))]
    first, clicked = work.miou, ClickedImage(pixels)
    while not work.is_done:
        work.correct(clicked)
    gained = f"{first:.2f} by words, {work.miou:.2f} after {work.actions} actions"
    print(f"{images.images[place].identity}: {gained}", flush=True)
    return work.actions


def main() -> None:
    """Parse the command line, annotate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("images", "labels", "classes"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10, help="photographs, evenly chosen by name")
    chosen = parser.parse_args()
    images, model = segvoc.LabeledImages.from_folders(chosen.images, chosen.labels, chosen.classes), segvoc.load("tiny")
    places = range(0, len(images), max(1, len(images) // chosen.count))[: chosen.count]
    print(f"{sum(annotated(model, images, place) for place in places)} actions")


if __name__ == "__main__":
    main()
