"""Views of the labelled photographs: the whole picture, its mirror image, and random crops."""

import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tools.tiny.photos import DATA_SETS, Photo

SIZE = 448
CROPS = {"coco-panoptic": 12, "coco-things": 6, "clothing": 2}
"""Crops of each photograph: the fewer, the more photographs of the same words there are."""

LARGEST_ZOOM, SMALLEST_ZOOM = 2.0, 0.75
GREY = 127.5


@dataclass(frozen=True, kw_only=True)
class View:
    """A picture of `SIZE` pixels and what it shows.

    photo: index of the photograph. pixels (3 H W) in 0..255. labels (H W): index of the word; `no_word`: none of its
    data set's words; above that: unlabelled.
    """

    photo: int
    pixels: Tensor
    labels: Tensor


class Labels:
    """Numbers of the words of all data sets; those after the last word say "none of them" and "unlabelled"."""

    def __init__(self, words: Sequence[str]) -> None:
        self.index = {word: i for i, word in enumerate(words)}
        self.no_word, self.unlabelled = len(words), len(words) + 1

    def of(self, photo: Photo, labels: np.ndarray) -> Tensor:
        """A label map (H W) of a photograph in these numbers."""
        table = torch.full((256,), self.unlabelled)
        for i, word in enumerate(photo.words):
            table[i] = self.no_word if word is None else self.index[word]
        return table[torch.from_numpy(labels.copy()).long()]


def views(photos: Sequence[Photo], words: Sequence[str], device: torch.device, seed: int) -> Iterator[View]:
    """Each photograph and its mirror image, all squashed to squares, and after all of them the crops."""
    labels = Labels(words)
    with ThreadPoolExecutor() as pool:
        for index, (pixels, labelled) in enumerate(pool.map(lambda photo: _squashed(photo, labels), photos)):
            view = View(photo=index, pixels=pixels.to(device).float(), labels=labelled.to(device))
            yield view
            yield _mirrored(view)
        chance = random.Random(seed)
        for index, (pixels, labelled) in enumerate(pool.map(lambda photo: _whole(photo, labels), photos)):
            whole = View(photo=index, pixels=pixels.to(device).float(), labels=labelled.to(device))
            for _ in range(CROPS[photos[index].data_set]):
                yield _crop(whole, labels.unlabelled, chance)


def number_of_views(photos: Sequence[Photo]) -> int:
    """How many `views` there are."""
    return 2 * len(photos) + sum(CROPS[photo.data_set] for photo in photos)


def data_sets(photos: Sequence[Photo]) -> Tensor:
    """Index of each photograph's data set."""
    return torch.tensor([DATA_SETS.index(photo.data_set) for photo in photos])


def _squashed(photo: Photo, labels: Labels) -> tuple[Tensor, Tensor]:
    pixels = photo.pixels().resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    labelled = Image.fromarray(photo.labels()).resize((SIZE, SIZE), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1), labels.of(photo, np.asarray(labelled))


def _whole(photo: Photo, labels: Labels) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(np.array(photo.pixels())).permute(2, 0, 1), labels.of(photo, photo.labels())


def _mirrored(view: View) -> View:
    return View(photo=view.photo, pixels=view.pixels.flip(-1), labels=view.labels.flip(-1))


def _crop(whole: View, unlabelled: int, chance: random.Random) -> View:
    """A random part in other colours; zoomed out, the whole picture stands somewhere on grey."""
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
    pixels, labels = F.pad(pixels, margins, value=GREY), F.pad(labels, margins, value=unlabelled)
    pixels = pixels * chance.uniform(0.8, 1.2) + chance.uniform(-20, 20)
    grey = pixels.mean(dim=1, keepdim=True)
    pixels = (grey + (pixels - grey) * chance.uniform(0.7, 1.3)).clamp(0, 255)
    view = View(photo=whole.photo, pixels=pixels[0], labels=labels[0, 0].long())
    return _mirrored(view) if chance.random() < 0.5 else view
