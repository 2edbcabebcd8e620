"""What tiny sees in views of photographs, and their labels: computed once and cached on disk.

A view is a whole photograph or a part of it around a region, squashed to one size. A fifth of the photographs and all
frames of `indoor` are left out, by their groups, so that clicks can be measured on them; so is `car-parts`, which
tiny hasn't seen either.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from segvoc.models.shipped import open_tiny
from tools.clicks.clicker import connected
from tools.tiny.photos import UNLABELED, Folders, Photo
from tools.tiny.towers import photos_of

SIZE = 448
"""Side of a view [px]."""

LABEL_STRIDE = 2
"""The labels and colors of a view are so many pixels apart."""

FEATURES = {"appearance": (472, 16), "tap_0": (48, 8), "tap_1": (24, 4)}
"""What the network reads of a view beside its pixels: channels and stride."""

SHAPES = {
    **{name: ((count, SIZE // stride, SIZE // stride), np.float16) for name, (count, stride) in FEATURES.items()},
    "colors": ((3, SIZE // LABEL_STRIDE, SIZE // LABEL_STRIDE), np.uint8),
    "labels": ((SIZE // LABEL_STRIDE, SIZE // LABEL_STRIDE), np.uint8),
}
"""Of one view: shape and type of each array."""

PARTS = {"voc": 1, "caltech": 0, "more-voc": 1, "more-cats": 0, "more-contours": 0, "more-meals": 1}
"""Views of parts of each photograph of some data sets; of all others `MOST_PARTS`."""

MOST_PARTS = 2
LEAST_SIDE = 144
"""Shortest side of a part of a photograph [px]; the photographs are small, and enlarging them more blurs them."""

LEAST_AREA = 0.002
"""Share of a photograph that a region covers around which a part is cut out."""


def is_held_out(photo: Photo) -> bool:
    """Whether clicks are measured on a photograph, so that nothing is learned from it."""
    if photo.data_set == "indoor":
        return True
    return hashlib.sha256(photo.group.encode()).digest()[0] % 5 == 0


class View(NamedTuple):
    """A rectangle of a photograph: left, top, right and bottom [px]."""

    photo: Photo
    box: tuple[int, int, int, int]


def regions_of(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The connected regions of every word: the word's value, and which pixels it has."""
    for value in np.unique(labels):
        if value != UNLABELED:
            numbers, count = connected(labels == value)
            for number in range(1, count + 1):
                yield int(value), numbers == number


def views_of(photo: Photo, random: np.random.Generator) -> Iterator[View]:
    """The whole photograph, and parts of it around regions."""
    labels = photo.labels()
    height, width = labels.shape
    yield View(photo, (0, 0, width, height))
    named = [value for value, word in enumerate(photo.words) if word is not None]
    inside = [region for value, region in regions_of(labels) if value in named]
    inside = [region for region in inside if LEAST_AREA < region.mean() < 0.4]
    random.shuffle(inside)
    for region in inside[: PARTS.get(photo.data_set, MOST_PARTS)]:
        rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        spans = [(rows[0], rows[-1] + 1, height), (columns[0], columns[-1] + 1, width)]
        enlarged = [max(LEAST_SIDE, (stop - start) * random.uniform(1.2, 2.4)) for start, stop, _ in spans]
        ends: list[tuple[int, int]] = []
        for side, (start, stop, most) in zip(enlarged, spans, strict=True):
            side = min(round(max(side, max(enlarged) / 2)), most)
            first = round((start + stop - side) / 2 + random.uniform(-0.1, 0.1) * side)
            first = max(0, min(most - side, first))
            ends.append((first, first + side))
        (top, bottom), (left, right) = ends
        if (bottom - top) * (right - left) < 0.7 * height * width:
            yield View(photo, (left, top, right, bottom))


def all_views(folders: Folders, seed: int = 0) -> list[View]:
    """All views to learn from, shuffled."""
    random = np.random.default_rng(seed)
    photos = [photo for photo in photos_of(folders) if not is_held_out(photo)]
    found = [view for photo in photos for view in views_of(photo, random)]
    random.shuffle(found)  # pyright: ignore[reportArgumentType]
    return found


def open_cache(folder: Path, count: int, mode: Literal["r", "r+", "w+"] = "r+") -> dict[str, np.ndarray]:
    """The arrays of views, in files."""
    return {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode, kind, (count, *shape))
        if mode == "w+"
        else np.load(folder / f"{name}.npy", mmap_mode=mode)
        for name, (shape, kind) in SHAPES.items()
    }


def fill(folder: Path, views: Sequence[View]) -> None:
    """Compute what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "count.txt"
    done = int(progress.read_text()) if progress.exists() else 0
    arrays = open_cache(folder, len(views), "r+" if done else "w+")
    model = open_tiny()
    for at in tqdm(range(done, len(views)), miniters=100, maxinterval=60):
        photo, box = views[at]
        pixels = np.asarray(photo.pixels().crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        found = model.encode_views(pixels.transpose(2, 0, 1)[None].astype(np.float32))
        for name in FEATURES:
            arrays[name][at] = found[name][0]
        cells = SIZE // LABEL_STRIDE
        arrays["colors"][at] = pixels.reshape(cells, 2, cells, 2, 3).mean((1, 3)).round().transpose(2, 0, 1)
        labels = Image.fromarray(photo.labels()).crop(box)
        arrays["labels"][at] = np.asarray(labels.resize((cells, cells), Image.Resampling.NEAREST))
        if at % 50 == 49 or at == len(views) - 1:
            progress.write_text(str(at + 1))
