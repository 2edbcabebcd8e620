"""`tiny`'s maps and image features of labeled photographs, cached on disk."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

import segvoc
from segvoc.data.labeled_images import LabeledImages
from segvoc.imaging.label_maps import UNLABELED as NO_LABEL
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.segmenter import Segmenter
from segvoc.inference.taught.taught_words import TaughtQuery
from segvoc.inference.windows import views
from segvoc.models.decisions import SURROUNDINGS
from segvoc.storage.atomic_writes import write_atomically
from tools.edges.network import FEATURES
from tools.tiny.photos import NO_WORD, Folders

COUNTS = {
    "voc": 200, "coco-minis": 110, "coco-panoptic": 100, "coco-things": 75, "clothing": 70, "caltech": 60,
    "car-parts": 60, "facade-demo/train": 30, "pantry": 30, "indoor": 15, "more-voc": 300, "more-contours": 60,
    "more-cats": 40, "more-meals": 40,
}  # fmt: skip
"""Number of photographs per dataset. `tiny` was trained on all datasets except car-parts and facade-demo."""

TAUGHT = {
    "voc:taught": 60, "coco-minis:taught": 60, "clothing:taught": 60, "car-parts:taught": 60,
    "facade-demo/train:taught": 30, "pantry:taught": 30, "indoor:taught": 20,
}  # fmt: skip
"""The same with taught words: of a half of the photographs by the other half."""

HELD_OUT = ("car-parts",)
"""Datasets that are only scored: these photographs have no license."""

SCORED = 4
"""Every n-th photograph is only scored."""

NONE, UNLABELED = -2, -1
"""Labels of pixels without a word, and of unlabeled pixels."""


def seen_photographs(folders: Folders, data_set: str, cache: Path) -> list[Mapping[str, Tensor]]:
    """Load the photographs of a dataset with their maps, from `cache` if possible.

    Returns:
        For each photograph: "pixels" (3 H W) at `tiny`'s input size; its image features (`FEATURES`); "maps" (K H/4
        W/4) of the words it keeps, with stand-ins for the background if the dataset has one; "word" (K), their indices,
        and "own", how many of them are the dataset's; "labels" (h w) at the size of the file; whether it is "scored".
    """
    file = cache / f"{data_set.replace('/', '-')}.pt"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        found = _computed(folders, data_set)
        write_atomically(file, lambda stream: torch.save(found, stream))
    return torch.load(file, mmap=True)


def _computed(folders: Folders, data_set: str) -> list[dict[str, Tensor]]:
    name, _, taught = data_set.partition(":")
    folder, classes = folders[name], folders[name.split("/")[0]] / "classes.json"
    images = segvoc.LabeledImages.from_folders(folder / "images", folder / "labels", classes)
    drawn = random.Random(0).sample(range(len(images)), len(images))[: (TAUGHT if taught else COUNTS)[data_set]]
    some = [(place, number % SCORED == 0) for number, place in enumerate(drawn)]
    model = segvoc.load_network("tiny", device="cpu", dtype="float32")
    if not taught:
        return _maps(model, images, some, none=NO_WORD)
    halves, found = (some[::2], some[1::2]), list[dict[str, Tensor]]()
    for half, other in (halves, halves[::-1]):
        words = segvoc.teach(model, replace(images, images=tuple(images.images[place] for place, _ in other)))
        found += _maps(model.with_taught(words), images, half)
    return found


@torch.inference_mode()
def _maps(
    model: Segmenter, images: LabeledImages, some: Sequence[tuple[int, bool]], none: str | None = None
) -> list[dict[str, Tensor]]:
    names = images.vocabulary.words
    own = [name for name in names if name != none]
    asked = own + [word for word in SURROUNDINGS if word not in own] if none in names else own
    table = torch.full((NO_LABEL + 1,), UNLABELED)
    for value, name in enumerate(names):
        table[value] = NONE if name == none else own.index(name)
    text, protocol = model.encode_words(segvoc.Vocabulary(asked)), model.protocol(LabelOptions())
    query = TaughtQuery.of(model.taught, asked, len(asked))
    rows = []
    for place, scored in tqdm(some, desc=images.name):
        image, labels = images.read(place)
        view = views(image, protocol)
        features = model.encode_views(view)
        maps, kept = model.compare(features, query.embeddings(text) if query else text, protocol)
        maps = query(maps, kept, features) if query else maps
        rows.append(
            {
                "pixels": torch.from_numpy(view[0]).round().byte(),
                "maps": maps[0].half().clone(),
                "word": torch.arange(len(asked)) if kept is None else kept[0].clone(),
                "own": torch.tensor(len(own)),
                "scored": torch.tensor(scored),
                "labels": table[torch.from_numpy(labels.astype(np.int64))].short(),
                **{name: features[name][0].half().clone() for name in FEATURES},
            }
        )
    return rows


def places(photo: Mapping[str, Tensor], labels: Tensor) -> Tensor:
    """Convert labels to indices of maps; pixels of dropped words become unlabeled."""
    table = torch.full((int(photo["own"]) + 2,), UNLABELED)  # the last two are UNLABELED and NONE
    is_own = photo["word"] < photo["own"]
    table[photo["word"][is_own]] = is_own.nonzero()[:, 0]
    if not is_own.all():
        table[-1] = NONE
    return table[torch.where(labels < 0, int(photo["own"]) - labels - 1, labels).long()]


def near_edges(labels: Tensor, distance: int) -> Tensor:
    """Mask (h w) of the pixels within a distance of another label."""
    numbers, side = labels[None, None].float(), 2 * distance + 1
    highest, lowest = (sign * F.max_pool2d(sign * numbers, side, 1, distance) for sign in (1, -1))
    return (highest != lowest)[0, 0]
