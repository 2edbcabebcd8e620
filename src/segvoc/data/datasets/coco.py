"""COCO's JSON files: instances with run lengths or polygons, and panoptic segments in PNGs."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import (
    Annotation,
    FoundDataset,
    NoArea,
    Patch,
    Polygons,
    Shape,
    Shapes,
    annotated,
    checked_size,
    unique_stems,
)
from segvoc.data.datasets.fields import DatasetSource, Entry, chosen_set, json_content, naming_damage, path_ends
from segvoc.data.datasets.maps import looked_up
from segvoc.data.preparation.conversions import coco_mask
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import opened_image


@dataclass(frozen=True, kw_only=True)
class PanopticSegments:
    """A PNG whose colors are the ids of segments: red + 256 green + 256² blue; 0 is unlabeled."""

    path: Path
    labels: Mapping[int, int]
    """The label of each segment."""
    things: frozenset[int] = frozenset()
    """The segments that are objects."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        return self._mapped(size, {**self.labels, 0: UNLABELED})

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        numbers = {segment: number for number, segment in enumerate(sorted(self.things), 1)}
        return self._mapped(size, dict.fromkeys((*self.labels, 0), 0) | numbers)

    def _mapped(self, size: tuple[int, int], values: Mapping[int, int]) -> UInt16[np.ndarray, "H W"]:
        with opened_image(self.path) as image:
            if image.mode != "RGB":
                raise ValueError(f"{self.path.name!r} is a {image.mode} image, not RGB")
            red, green, blue = (np.asarray(band, np.uint32) for band in image.split())
        checked_size(size, red.shape)
        ids = red + 256 * green + 256 * 256 * blue
        return looked_up(
            ids, values, lambda id: f"{self.path.name!r} has a segment {id} that the JSON file doesn't know"
        )


_LOOSE_FILES = ("_annotations.coco.json", "annotations.json", "result.json", "labels.json")
"""File names used by Roboflow, labelme2coco, Label Studio and FiftyOne, beside the images or their folder."""


def loose_coco_files(folder: Path) -> dict[str, Path]:
    """Find the JSON files beside the images of each set ("train/_annotations.coco.json"), by set name.

    A dataset with a single file in the folder itself has the set "".
    """
    files = [place / name for place in (folder, *sorted(folder.iterdir())) for name in _LOOSE_FILES]
    return {"" if file.parent == folder else file.parent.name: file for file in files if file.is_file()}


def read_coco(source: DatasetSource, *, panoptic: bool) -> FoundDataset:
    """Read panoptic segments, or instances; later instances are in front.

    The source is a folder with `annotations/` or with a JSON file beside the images of each set, or a JSON file.
    """
    path = source.path if source.path.is_file() else _annotation_file(source, panoptic)
    with naming_damage(path):
        return _Reader(source, path, Entry(json_content(path), "the file"), panoptic).dataset()


def _annotation_file(source: DatasetSource, panoptic: bool) -> Path:
    folder = source.path / "annotations"
    if not folder.is_dir() and (loose := loose_coco_files(source.path)):
        return chosen_set(source, loose, "sets")
    files = sorted((folder if folder.is_dir() else source.path).glob("*.json"))
    kinds = ("panoptic",) if panoptic else ("instances", "stuff")
    named = [found for kind in kinds if (found := [file for file in files if file.stem.startswith(kind)])]
    if not (chosen := [*named, files][0]):
        raise UsageError(f"{str(folder)!r} has no JSON file; give the file itself as --dataset")
    return chosen_set(source, {_set_of(file) or file.stem: file for file in chosen}, "files")


def _set_of(file: Path) -> str:
    """The name of a file's set: "val2017" of "instances_val2017.json"."""
    return re.sub("^(instances|panoptic|stuff)", "", file.stem).strip("_")


class _Reader:
    def __init__(self, source: DatasetSource, path: Path, content: Entry, panoptic: bool) -> None:
        self.source, self.path, self.panoptic = source, path, panoptic
        categories, self.images, self.annotations = (
            [Entry(entry, f"{name} {number}") for number, entry in enumerate(content.items(key))]
            for key, name in (("categories", "category"), ("images", "image"), ("annotations", "annotation"))
        )
        if len({entry.identity("id") for entry in categories}) < len(categories):
            raise ValueError("two categories have the same id")
        categories = self._without_roots(categories)
        self.names = [entry.text("name").strip() for entry in categories]
        self.labels = {entry.identity("id"): label for label, entry in enumerate(categories)}
        # only panoptic files must declare stuff; even COCO's stuff file doesn't
        is_stuff = path.stem.startswith("stuff_")
        self.stuff = {label for label, entry in enumerate(categories) if is_stuff or entry.content.get("isthing") == 0}

    def _without_roots(self, categories: Sequence[Entry]) -> list[Entry]:
        """Drop categories that only group others, like Roboflow's first category."""
        segments = (
            entry.content.get("segments_info") if self.panoptic else [entry.content] for entry in self.annotations
        )
        flat = [one for some in segments if isinstance(some, list) for one in some if isinstance(one, Mapping)]
        used = {repr(one.get("category_id")) for one in flat}
        groups = Counter(repr(entry.content.get("supercategory")) for entry in categories)

        def is_root(entry: Entry) -> bool:
            name = repr(entry.content.get("name"))
            others = groups[name] - (name == repr(entry.content.get("supercategory")))
            return others > 0 and repr(entry.content["id"]) not in used

        return [entry for entry in categories if not is_root(entry)]

    def dataset(self) -> FoundDataset:
        by_image: dict[int | str, list[Entry]] = {entry.identity("id"): [] for entry in self.images}
        if len(by_image) < len(self.images):
            raise ValueError("two images have the same id")
        for entry in self.annotations:
            if (image_id := entry.identity("image_id")) not in by_image:
                raise ValueError(f"an annotation is of the unlisted image {image_id!r}")
            by_image[image_id].append(entry)
        names = [entry.text("file_name") for entry in self.images]
        stems = unique_stems([(path_ends(name) or [Path("image")])[0] for name in names])
        # "images", or a folder named after the set ("val2017" of "instances_val2017")
        root = self.path.parent.parent if self.path.parent.name == "annotations" else self.path.parent
        split = _set_of(self.path)
        folders = [root / "images", root / "images" / split, root / split, root / "data", root]
        images = [
            annotated(
                self.path,
                stem,
                partial(self.source.image, name, folders),
                partial(self._panoptic if self.panoptic else self._instances, entry, by_image[entry.identity("id")]),
            )
            for entry, name, stem in zip(self.images, names, stems, strict=True)
        ]
        if images and sum(len(image.skipped) for image in images) == len(self.annotations) > 0:
            raise ValueError("its annotations are boxes or points; masks are required")
        return FoundDataset(names=self.names, images=images, has_outside=not self.panoptic)

    def _instances(self, image: Entry, entries: Sequence[Entry]) -> Shapes:
        return Shapes.of(entries, self._shape, size=image.size())

    def _panoptic(self, image: Entry, entries: Sequence[Entry]) -> Annotation:
        if len(entries) != 1:
            raise ValueError(f"an image has {len(entries)} panoptic annotations instead of one")
        folders = [self.path.with_suffix(""), self.path.parent / "panoptic", self.path.parent]
        png = DatasetSource(path=self.path).image(entries[0].text("file_name"), folders)
        segments = [Entry(segment, "a segment") for segment in entries[0].items("segments_info")]
        labels = {segment.whole("id"): self._label(segment) for segment in segments}
        crowds = {segment.whole("id") for segment in segments if segment.content.get("iscrowd")}
        things = frozenset(id for id, label in labels.items() if label not in self.stuff and id not in crowds)
        return PanopticSegments(path=png, labels=labels, things=things)

    def _shape(self, entry: Entry) -> Shape:
        label = self._label(entry)
        content: Any = entry.content.get("segmentation")
        if isinstance(content, Mapping):
            patch = partial(_runs, content)
        elif not content:
            raise NoArea("box")
        elif not isinstance(content, list):
            raise ValueError(f"{entry.name} has a segmentation that is neither polygons nor run lengths")
        else:
            # some tools write a single polygon without the list around it
            content = content if any(isinstance(one, list) for one in content) else [content]
            # some tools write clipped polygons as lines of at most two corners
            patch = Polygons([one for one in content if not (isinstance(one, list) and len(one) in (0, 2, 4))])
            if not patch.corners:
                raise NoArea("line")
        # each annotation is an object, so its name serves as its group
        is_crowd = label in self.stuff or bool(entry.content.get("iscrowd"))
        return Shape(label=label, patch=patch, group=entry.name, is_crowd=is_crowd)

    def _label(self, entry: Entry) -> int:
        category = entry.identity("category_id")
        if category not in self.labels:
            raise ValueError(f"{entry.name} is of the undefined category {category!r}")
        return self.labels[category]


def _runs(runs: Mapping[str, Any], height: int, width: int) -> Patch:
    """Decodes COCO's run lengths, {"size": [H, W], "counts": ...}."""
    try:
        return Patch(0, 0, coco_mask(runs, height, width))
    except (KeyError, TypeError, UnicodeError, OverflowError) as error:
        raise ValueError(f"invalid run lengths ({error})") from None
