"""Objects that connected components find in photographs, and how many there were with perfect splits.

    python -m benchmarks.clicks objects [--photos ../shared/data/photos]

`tiny` labels each photograph with the words of its own objects, as a person would who looks at it: by default, where
surroundings of a few words are unlabeled, and with `background="auto"`. An object is found if one of its word has an
IoU of at least 0.5 with it. "perfect" gives each pixel of a component the object that is there, as far as its word is
right: no rule that only divides labels finds many more. Nothing is drawn by chance. `tiny` has learned words from these
photographs.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt16

import segvoc
from benchmarks.machine import keep
from segvoc.evaluation.objects import compared_objects, object_scores
from segvoc.imaging.annotations import coco_mask
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.objects import with_objects

SETS = ("coco-things", "coco-panoptic")
"""The data sets with an objects.json: {stem: [{"word", "size", "counts"}]}."""

BACKGROUNDS = {"default": None, "auto": "auto"}


@dataclass(frozen=True, eq=False)
class Outlined:
    """A photograph with its objects."""

    key: str
    image_file: Path
    words: tuple[str, ...]
    masks: Bool[np.ndarray, "N H W"]

    def truth(self, words: tuple[str, ...]) -> tuple[UInt16[np.ndarray, "H W"], UInt16[np.ndarray, "H W"]]:
        """Labels and objects of its pixels; small objects lie on large ones, and the rest is no object's."""
        size = self.masks.shape[1:]
        labels, objects = np.full(size, UNLABELED, np.uint16), np.zeros(size, np.uint16)
        for index in np.argsort(-self.masks.sum((1, 2)), kind="stable"):
            labels[self.masks[index]] = words.index(self.words[index])
            objects[self.masks[index]] = index + 1
        return labels, objects


def outlined_photos(root: Path) -> Iterator[Outlined]:
    """All photographs with objects, by name."""
    for name in SETS:
        for stem, found in sorted(json.loads((root / name / "objects.json").read_text()).items()):
            masks = np.stack([coco_mask(one, *one["size"]) for one in found])
            image = root / name / "images" / f"{stem}.jpg"
            yield Outlined(f"{name}-{stem}", image, tuple(one["word"] for one in found), masks)


def measured(photos: list[Outlined]) -> list[dict[str, Any]]:
    """A row for each way to label and each rule."""
    model, classes, seconds = segvoc.load("tiny"), dict[str, int](), list[float]()
    compared: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for photo in photos:
        image, words = model.encode_image(photo.image_file), sorted({*photo.words})
        for word in words:
            classes.setdefault(word, len(classes))
        for kind, background in BACKGROUNDS.items():
            result = model.segment(image, words, background=background)
            labels, objects = photo.truth(result.words)
            start = time.process_time()
            components = with_objects(result)
            if len(components.objects) >= 10:
                seconds.append(time.process_time() - start)
            perfect = replace(result, object_map=np.where(result.labels == labels, objects, 0).astype(np.uint16))
            for rule, found in (("components", components), ("perfect", perfect)):
                one = compared_objects(found, labels, objects)
                compared.setdefault((kind, rule), []).append(_renamed(one, [classes[word] for word in result.words]))
        print(photo.key, flush=True)
    time_of = {"most_seconds": max(seconds, default=0.0), "with_ten": len(seconds)}
    return [
        {"labels": kind, "rule": rule, "photographs": len(images), **object_scores(images, [*classes]), **time_of}
        for (kind, rule), images in compared.items()
    ]


def _renamed(one: dict[str, Any], numbers: list[int]) -> dict[str, Any]:
    """With the labels of all photographs in place of this one's."""
    named = {
        kind: [{**entry, "category_id": numbers[entry["category_id"] - 1] + 1} for entry in one[kind]]
        for kind in ("truth", "found")
    }
    return {**one, **named, "segments": {str(numbers[int(label)]): counts for label, counts in one["segments"].items()}}


def count_objects(photos: Path) -> None:
    """Measure, print and save."""
    rows = measured([*outlined_photos(photos)])
    for row in rows:
        print(row)
    keep("objects", rows)
