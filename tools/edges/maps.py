"""`tiny`'s maps and image features of labeled photographs, cached on disk."""

import json
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

import segvoc
from segvoc.imaging.reading import read_image
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import STUFF
from segvoc.inference.windows import views
from segvoc.storage.atomic_writes import write_atomically
from tools.edges.network import FEATURES
from tools.tiny.photos import NO_WORD

COUNTS = {
    "voc": 200, "coco-minis": 110, "coco-panoptic": 100, "coco-things": 75, "clothing": 70, "caltech": 60,
    "car-parts": 60, "facade-demo": 42, "pantry": 30, "indoor": 15,
}  # fmt: skip
"""Number of photographs per dataset. `tiny` was trained on all datasets except car-parts and facade-demo."""

HELD_OUT = ("voc", "coco-panoptic", "facade-demo", "car-parts")
"""Datasets held out from the shipped refiner, to score it."""

NONE, UNLABELED = -2, -1
"""Labels of pixels without a word, and of unlabeled pixels."""


def seen_photographs(root: Path, data_set: str, cache: Path) -> list[Mapping[str, Tensor]]:
    """Load the photographs of a dataset with their maps, from `cache` if possible.

    Returns:
        For each photograph: "pixels" (3 H W) at `tiny`'s input size; its image features (`FEATURES`); "maps" (K H/4
        W/4) of the words it keeps, with stand-ins for the background if the dataset has one; "word" (K), their indices,
        and "own", how many of them are the dataset's; "labels" (h w) at the size of the file.
    """
    file = cache / f"{data_set}.pt"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        found = _computed(root, data_set)
        write_atomically(file, lambda stream: torch.save(found, stream))
    return torch.load(file, mmap=True)


@torch.inference_mode()
def _computed(root: Path, data_set: str) -> list[Mapping[str, Tensor]]:
    folder = root / data_set
    names = json.loads((folder / "classes.json").read_text())
    files = sorted(folder.glob("images/*.jpg")) or sorted(folder.glob("*/images/*.jpg"))
    random.Random(0).shuffle(files)
    own = [name for name in names if name != NO_WORD]
    asked = own + [word for word in STUFF if word not in own] if NO_WORD in names else own
    table = torch.full((256,), UNLABELED)
    for value, name in enumerate(names):
        table[value] = NONE if name == NO_WORD else own.index(name)
    model = segvoc.load("tiny", device="cpu", dtype="float32")
    text, protocol = model.encode_words(segvoc.Vocabulary(asked)), model.protocol(LabelOptions(), len(asked))
    rows = []
    for image in tqdm(files[: COUNTS[data_set]], desc=data_set):
        labels = np.array(Image.open(image.parent.parent / "labels" / f"{image.stem}.png"))
        view = views(read_image(image), protocol)
        features = model.find_features(view)
        maps, kept = model.compare(features, text, protocol)
        rows.append(
            {
                "pixels": torch.from_numpy(view[0]).round().byte(),
                "maps": maps[0].half().clone(),
                "word": torch.arange(len(asked)) if kept is None else kept[0].clone(),
                "own": torch.tensor(len(own)),
                "labels": table[torch.from_numpy(labels).long()].short(),
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
