"""Views of the photographs: the whole image, and random crops."""

import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tools.tiny.photos import Photo

SIZE = 448

CROPS = {
    "coco-panoptic": 4,
    "coco-things": 2,
    "coco-minis": 1,
    "voc": 1,
    "lvis": 2,
    "pantry": 1,
    "more-voc": 1,
    "more-meals": 1,
}
"""Crops of each photograph, where not none: the fewer, the more photographs of the same words there are."""

LARGEST_ZOOM, SMALLEST_ZOOM = 2.0, 0.75
GRAY = 127.5


class View(NamedTuple):
    """An image of `SIZE` pixels and what it shows."""

    photo: int
    """Index of the photograph."""
    pixels: Tensor
    """Colors (3 H W) in 0..255."""
    labels: Tensor
    """Index of the word at each pixel (H W); `no_word`: none of its data set's words; above that: unlabeled."""


class Labels:
    """Numbers of the words of all data sets; those after the last word say "none of them" and "unlabeled"."""

    def __init__(self, words: Sequence[str]) -> None:
        self.index = {word: i for i, word in enumerate(words)}
        self.no_word, self.unlabeled = len(words), len(words) + 1

    def of(self, photo: Photo, labels: np.ndarray) -> Tensor:
        """A label map (H W) of a photograph in these numbers."""
        table = torch.full((256,), self.unlabeled)
        for i, word in enumerate(photo.words):
            table[i] = self.no_word if word is None else self.index[word]
        return table[torch.from_numpy(labels.copy()).long()]


def view_plan(photos: Sequence[Photo]) -> list[tuple[int, int]]:
    """All views as (photograph, number): first number 0 of each photograph, the whole image, then the crops."""
    whole = [(index, 0) for index in range(len(photos))]
    return whole + [(i, n + 1) for i, photo in enumerate(photos) for n in range(CROPS.get(photo.data_set, 0))]


def views(
    photos: Sequence[Photo], plan: Sequence[tuple[int, int]], words: Sequence[str], device: torch.device, seed: int
) -> Iterator[View]:
    """The views of `plan` in order. A view depends on nothing but its photograph, its number and the seed."""
    labels = Labels(words)

    def read(place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, number = place
        return _whole(photos[index], labels, squashed=number == 0)

    with ThreadPoolExecutor(2) as pool:
        for (index, number), (pixels, labeled) in zip(plan, pool.map(read, plan), strict=True):
            view = View(photo=index, pixels=pixels.to(device).float(), labels=labeled.to(device))
            chance = random.Random(f"{seed} {photos[index].key} {number}")
            yield _crop(view, labels.unlabeled, chance) if number else view


def _whole(photo: Photo, labels: Labels, *, squashed: bool) -> tuple[Tensor, Tensor]:
    pixels, labeled = photo.pixels(), Image.fromarray(photo.labels())
    if squashed:
        pixels = pixels.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        labeled = labeled.resize((SIZE, SIZE), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1), labels.of(photo, np.asarray(labeled))


def _crop(whole: View, unlabeled: int, chance: random.Random) -> View:
    """A random part in other colors, half of them mirrored; zoomed out, the whole image stands somewhere on gray."""
    height, width = whole.labels.shape
    zoom = math.exp(chance.uniform(math.log(SMALLEST_ZOOM), math.log(LARGEST_ZOOM)))
    aspect = math.exp(chance.uniform(-0.2, 0.2))
    rows, columns = height, width
    if zoom > 1:
        rows = min(height, max(32, int(height / zoom * aspect)))
        columns = min(width, max(32, int(width / zoom / aspect)))
    top, left = chance.randint(0, height - rows), chance.randint(0, width - columns)
    part = (..., slice(top, top + rows), slice(left, left + columns))
    side = SIZE if zoom > 1 else int(SIZE * zoom) // 16 * 16
    pixels = F.interpolate(whole.pixels[part][None], size=(side, side), mode="bilinear", antialias=True)
    labels = F.interpolate(whole.labels[part][None, None].float(), size=(side, side), mode="nearest-exact")
    above, before = chance.randint(0, SIZE - side), chance.randint(0, SIZE - side)
    margins = (before, SIZE - side - before, above, SIZE - side - above)
    pixels, labels = F.pad(pixels, margins, value=GRAY), F.pad(labels, margins, value=unlabeled)
    pixels = pixels * chance.uniform(0.8, 1.2) + chance.uniform(-20, 20)
    gray = pixels.mean(dim=1, keepdim=True)
    pixels = (gray + (pixels - gray) * chance.uniform(0.7, 1.3)).clamp(0, 255)
    if chance.random() < 0.5:
        pixels, labels = pixels.flip(-1), labels.flip(-1)
    return View(photo=whole.photo, pixels=pixels[0], labels=labels[0, 0].long())
