"""Write the scores and the drawn images of docs/explanation/what_tiny_can_do.md, between its comments.

    python -m tools.tiny.page --photos ../shared/data/photos --more build/more

Images are drawn by a seed from the photographs of the first fold of cross-validation, and labeled by that fold's model,
which `cross_validate` left in the cache. They show label maps only: the photographs' licenses differ.
"""

import json
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt16
from PIL import Image
from torch.nn import functional as F
from tqdm import tqdm

from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.overlay import OverlayStyle, class_regions, draw_overlay
from segvoc.imaging.palette import word_colors
from segvoc.inference.prepared_vocabulary import STUFF
from tools.make_tables import markdown, with_block
from tools.tiny.build import read_training_data
from tools.tiny.cross_validate import Fold
from tools.tiny.make_tiny import WEIGHTS
from tools.tiny.model import Model
from tools.tiny.photos import NO_WORD, Folders, Photo, command

PAGE = Path("docs/explanation/what_tiny_can_do.md")
IMAGES = Path("docs/images/tiny")
COUNT, SEED, SIDE = 24, 0, 300
SHOWS = {
    "caltech": "one animal or thing, often on plain ground",
    "voc": "common things, animals and vehicles",
    "coco-panoptic": "everyday scenes; things and surfaces",
    "pantry": "foods, many of them alike",
    "clothing": "garments on people in the street",
}
SCORES = ("miou", "pixel_accuracy")
LARGE, SMALL = 0.1, 0.02
"""Shares of an image that large regions have at least, and small ones at most."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A drawn photograph: what it shows, what the model says of it, and how well that agrees."""

    photo: Photo
    truth: UInt16[np.ndarray, "H W"]
    """Indices into the data set's words; the background follows after the last one; 65535: unlabeled."""
    guess: UInt16[np.ndarray, "H W"]
    """The same; none is unlabeled."""

    @property
    def names(self) -> list[str]:
        """The words of the data set, and the background."""
        return [word for word in self.photo.words if word is not None] + [NO_WORD]

    @property
    def accuracy(self) -> float:
        """Right pixels among the labeled ones."""
        return float((self.truth == self.guess)[self.truth != UNLABELED].mean())

    def words(self) -> Iterator[tuple[str, float, float]]:
        """The words that the photograph shows, largest first: name, share of the image, IoU."""
        numbers, counts = np.unique(self.truth, return_counts=True)
        guess = np.where(self.truth == UNLABELED, UNLABELED, self.guess)
        for number, count in sorted(zip(numbers.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]):
            if number < len(self.names) - 1:
                true, guessed = self.truth == number, guess == number
                yield self.names[number], count / self.truth.size, (true & guessed).sum() / (true | guessed).sum()

    def maps(self) -> Image.Image:
        """Truth and guess beside each other, in flat colors with legends."""
        shown = [label for label in np.unique([self.truth, self.guess]).tolist() if label != UNLABELED]
        names = [self.names[label] for label in shown]
        table = np.full(UNLABELED + 1, UNLABELED, np.uint16)
        table[shown] = np.arange(len(shown))
        colors = word_colors(names, NO_WORD)
        panels = []
        for labels in (self.truth, self.guess):
            small = Image.fromarray(table[labels])
            small.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST)
            regions = class_regions(np.asarray(small), names, colors)
            flat = np.zeros((small.height, small.width, 3), np.uint8)
            panels.append(draw_overlay(flat, regions, OverlayStyle(alpha=1.0, names=False)))
        gap = 8
        sheet = Image.new("RGB", (panels[0].width + gap + panels[1].width, max(p.height for p in panels)), "white")
        sheet.paste(panels[0])
        sheet.paste(panels[1], (panels[0].width + gap, 0))
        return sheet


def drawn_photographs(photos: Sequence[Photo], held_out: Sequence[int]) -> list[int]:
    """Places of the drawn photographs: one of each data set in turn."""
    chance, piles = random.Random(SEED), dict[str, list[int]]()
    for place in held_out:
        piles.setdefault(photos[place].data_set, []).append(place)
    for pile in piles.values():
        chance.shuffle(pile)
    rounds = [[pile[turn] for pile in piles.values() if turn < len(pile)] for turn in range(COUNT)]
    return [place for places in rounds for place in places][:COUNT]


def labeled(model: Model, place: int) -> Drawn:
    """Label a photograph with all words of its data set, and with the stand-ins for the background if it has one."""
    photo = model.data.features.photos[place]
    words = [word for word in photo.words if word is not None]
    others = [word for word in STUFF if word not in words] if None in photo.words else []
    columns = torch.tensor([model.data.words.index(word) for word in (*words, *others)])
    logits = model.logits(place, columns.to(model.data.text.device)).cpu()
    values = photo.labels()
    full = F.interpolate(logits[None], size=values.shape, mode="bilinear")[0]
    guess = full.argmax(dim=0).clamp(max=len(words)).numpy().astype(np.uint16)
    table = np.full(256, UNLABELED, np.uint16)
    table[: len(photo.words)] = [len(words) if word is None else words.index(word) for word in photo.words]
    return Drawn(photo=photo, truth=table[values], guess=guess)


def score_tables(record: Path) -> dict[str, str]:
    """The tables of the record of the weights."""
    scores = json.loads(record.read_text())["scores"]
    tables = {}
    for kind in ("held_out", "unseen_words"):
        rows = sorted(scores[kind].items(), key=lambda row: -row[1]["pixel_accuracy"])
        cells = (
            (f"`{name}`", SHOWS[name], *(f"{one[score]:.1f} ± {one[f'{score}_error']:.1f}" for score in SCORES))
            for name, one in rows
        )
        tables[kind] = markdown(chain([("dataset", "what it shows", "mIoU", "pixel accuracy")], cells))
    return tables


def figures(drawn: Sequence[Drawn]) -> str:
    """What the drawn images say of large and small regions, and of the background."""
    words = [word for one in drawn for word in one.words()]
    large, small = ([iou for _, share, iou in words if keep(share)] for keep in (LARGE.__le__, SMALL.__gt__))
    none = [(one.truth == len(one.names) - 1, one.guess == len(one.names) - 1, one.truth != UNLABELED) for one in drawn]
    some = [parts for parts in none if parts[0].any()]
    found = sum((true & guess).sum() for true, guess, _ in some) / sum(true.sum() for true, _, _ in some)
    lost = sum((known & ~true & guess).sum() for true, guess, known in some) / sum(
        (known & ~true).sum() for true, _, known in some
    )
    accuracies = [one.accuracy for one in drawn]

    def mean(ious: Sequence[float]) -> str:
        missed = sum(iou < 0.01 for iou in ious)
        return f"have a mean IoU of {statistics.mean(ious):.0%} ({len(ious)} words, {missed} of them missed)"

    return (
        f"- Words that cover at least {LARGE:.0%} of an image {mean(large)}.\n"
        f"- Words that cover less than {SMALL:.0%} of an image {mean(small)}.\n"
        f"- In the {len(some)} images with a background, {found:.0%} of it is detected, and {lost:.0%} of the other "
        "pixels are mislabeled as background.\n"
        f"- Pixel accuracy is {statistics.median(accuracies):.0%} in the median image, {min(accuracies):.0%} in the "
        f"worst and {max(accuracies):.0%} in the best."
    )


def gallery(drawn: Sequence[Drawn]) -> str:
    """The maps of all drawn images, with their scores."""
    rows = []
    for number, one in enumerate(drawn, start=1):
        one.maps().quantize(256, dither=Image.Dither.NONE).save(IMAGES / f"{number:02}.png", optimize=True)
        ious = ", ".join(f"{name} {100 * iou:.0f}" for name, _, iou in one.words())
        name = one.photo.data_set
        rows.append(
            f"![{name}, {one.photo.image_file.name}](../images/tiny/{number:02}.png)\n\n"
            f"`{name}`, {len(one.names) - 1} words: pixel accuracy {one.accuracy:.0%}. IoU: {ious}."
        )
    return "\n\n".join(rows)


def main() -> None:
    """Parse the command line, label, and write."""
    parser = command(__doc__, Path("build/tiny"))
    chosen = parser.parse_args()
    data, _ = read_training_data(Folders.of(chosen), chosen.cache)
    fold = Fold(data, 0, 0)
    model = fold.model()
    drawn = [labeled(model, place) for place in tqdm(drawn_photographs(data.features.photos, fold.held_out))]
    blocks = score_tables(WEIGHTS / "tiny.json") | {"figures": figures(drawn), "images": gallery(drawn)}
    text = PAGE.read_text(encoding="utf-8")
    for name, block in blocks.items():
        text = with_block(text, name, block)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
