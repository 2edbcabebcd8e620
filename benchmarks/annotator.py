"""Pointer actions that a scripted annotator needs to bring photographs to a mean IoU, after `tiny` has labeled them.

    python -m benchmarks.annotator --images voc/images --labels voc/labels --classes voc/classes.json

The annotator types the words that a photograph shows, with the background, then clicks the middle of the largest
error, as often as it takes: on the region of the label map that has most wrong pixels, until that region is right.
`--images` should be photographs that nothing was learned from.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from PIL import Image

import segvoc
from segvoc.imaging.label_maps import UNLABELED as NO_WORD
from segvoc.inference.clicks import ClickedImage
from tools.clicks.clicker import next_click
from tools.clicks.views import regions_of
from tools.tiny.photos import UNLABELED

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
        return float(np.mean([_iou(self.labels == one, self.truth == one, self.known) for one in self.shown]))

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
            if _iou(mask, wanted, self.known) > WANTED:
                return


def _iou(one: np.ndarray, other: np.ndarray, known: np.ndarray) -> float:
    return float((one & other & known).sum() / ((one | other) & known).sum())


def annotated(model: segvoc.Segmenter, image: Path, truth: np.ndarray, words: list[str], background: int) -> int:
    """Annotate a photograph; how many actions it took."""
    pixels, shown = np.asarray(Image.open(image).convert("RGB")), np.unique(truth[truth != UNLABELED]).tolist()
    things = [one for one in shown if one != background]
    result = model.segment(pixels, [words[one] for one in things], background="background")
    table = np.full(NO_WORD + 1, background)
    table[: len(things)] = things
    work = Annotation(truth, table[result.labels])
    first, clicked = work.miou, ClickedImage(pixels)
    while not work.is_done:
        work.correct(clicked)
    print(f"{image.name}: {first:.2f} by words, {work.miou:.2f} after {work.actions} actions", flush=True)
    return work.actions


def main() -> None:
    """Parse the command line, annotate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("images", "labels", "classes"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--count", type=int, default=10, help="photographs, evenly chosen by name")
    chosen = parser.parse_args()
    words, files = json.loads(chosen.classes.read_text()), sorted(chosen.labels.glob("*.png"))
    model, total = segvoc.load("tiny"), 0
    for file in files[:: max(1, len(files) // chosen.count)][: chosen.count]:
        image = next(chosen.images.glob(f"{file.stem}.*"))
        truth = np.asarray(Image.open(file)).astype(np.int64)
        total += annotated(model, image, truth, words, words.index("background"))
    print(f"{total} actions")


if __name__ == "__main__":
    main()
