"""Mapillary Vistas and KITTI: street scenes with maps of indices, and of the numbers of objects in 16 bits."""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from segvoc.data.class_lists import class_names
from segvoc.data.datasets.annotated_images import FoundDataset, checked_size
from segvoc.data.datasets.fields import Entry, json_content, naming_damage
from segvoc.data.datasets.label_tables import read_label_table
from segvoc.data.datasets.map_folders import CITYSCAPES_FIRST_INSTANCES, CITYSCAPES_IDS, cityscapes_labels
from segvoc.data.datasets.maps import IndexMap, looked_up
from segvoc.data.datasets.mask_pairs import FolderPair, paired_images
from segvoc.data.datasets.places import DatasetSource, chosen_set
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import opened_image

_FACTOR = 256


@dataclass(frozen=True, kw_only=True)
class StreetMap:
    """A PNG of indices, and one of 256 times the index plus the number of an object."""

    path: Path
    """The file of indices; or that of objects, where there is no other."""
    labels: Mapping[int, int]
    """The label of each index."""
    objects_path: Path | None
    """The PNG with objects; None: there is none."""
    things: frozenset[int]
    """The indices that have objects."""
    first: int
    """The number of the first object of a thing; lower ones are none."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        if self.path != self.objects_path:
            return IndexMap(path=self.path, labels=self.labels).draw(size, outside)
        indices = _values(self.path, size) // _FACTOR
        return looked_up(
            indices, self.labels, lambda index: f"{self.path.name!r} has the index {index}, which no class has"
        )

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        if self.objects_path is None:
            return None
        values = _values(self.objects_path, size)
        inside = np.isin(values // _FACTOR, list(self.things)) & (values % _FACTOR >= self.first)
        numbers = np.zeros(size, np.uint16)
        numbers[inside] = np.unique(values[inside], return_inverse=True)[1] + 1
        return numbers


def _values(path: Path, size: tuple[int, int]) -> np.ndarray:
    with opened_image(path) as image:
        mode, values = image.mode, np.array(image)
    if not mode.startswith("I"):
        raise ValueError(f"{path.name!r} is a {mode} image, not one of 16 bits")
    checked_size(size, values.shape)
    return values


# ---- Mapillary Vistas


def find_vistas(folder: Path) -> list[Path]:
    """The files `config.json`, `config_v1.2.json`, ... of Vistas in a folder with its sets."""
    if not any((folder / name / "images").is_dir() for name in ("training", "validation", "testing")):
        return []  # other programs' files of that name aren't read
    return [path for path in sorted(folder.glob("config*.json")) if is_vistas_config(json_content(path))]


def is_vistas_config(content: Any) -> bool:
    """Whether the content of a JSON file is Vistas' list of classes."""
    labels = content.get("labels") if isinstance(content, dict) else None
    return isinstance(labels, list) and bool(labels) and isinstance(labels[0], dict) and "readable" in labels[0]


def read_vistas(source: DatasetSource) -> FoundDataset:
    """Read Mapillary Vistas 1.2 or 2.0: `labels`, or else `instances`.

    The classes have the readable names in the file, those that aren't evaluated are unlabeled.

    Args:
        source: the folder with the file and `training`, `validation`; or the file.

    Raises:
        UsageError: a folder is missing, there are several sets or versions, or the file is damaged.
    """
    files = [source.path] if source.path.is_file() else find_vistas(source.folder)
    if not files:
        raise UsageError(f"{str(source.path)!r} has no config.json of Vistas; give the folder that has it")
    maps = {file: found for file in files if (found := _vistas_sets(file))}
    if not maps:
        raise UsageError(
            f"{str(source.folder)!r} has no labels: no folder such as validation/labels or validation/v2.0/labels; "
            "unpack all of Vistas there"
        )
    if len(maps) > 1:
        names = " or ".join(str(file) for file in maps)
        raise UsageError(f"{str(source.path)!r} has labels of several versions; give one as --dataset: {names}")
    ((file, sets),) = maps.items()
    split = chosen_set(source, sets, "sets")
    with naming_damage(file):
        names, labels, things = _vistas_classes(json_content(file))
    objects = split.with_name("instances")

    def annotation(path: Path) -> StreetMap:
        numbers = objects / path.relative_to(split)
        return StreetMap(
            path=path, labels=labels, objects_path=numbers if numbers.is_file() else None, things=things, first=0
        )

    images = source.folder / split.relative_to(source.folder).parts[0] / "images"
    pair = FolderPair(images=images, masks=split)
    return FoundDataset(names=names, images=paired_images(source, pair, annotation), has_outside=False)


def _vistas_sets(file: Path) -> dict[str, Path]:
    """The folders of the maps that a file is about, by set."""
    version = re.search(r"v\d+\.\d+", file.stem)
    sets = {}
    for folder in sorted(path for path in file.parent.iterdir() if path.is_dir()):
        places = [folder / version[0]] if version and (folder / version[0]).is_dir() else [folder]
        kinds = [place / kind for place in places for kind in ("labels", "instances") if (place / kind).is_dir()]
        if kinds:
            sets[folder.name] = kinds[0]
    return sets


def _vistas_classes(content: Any) -> tuple[Sequence[str], Mapping[int, int], frozenset[int]]:
    """The names, the label of each index, and the indices of things."""
    entries = [Entry(entry, f"label {index}") for index, entry in enumerate(Entry(content, "the file").items("labels"))]
    readable = [entry.text("readable").strip() for entry in entries]
    known = [index for index, entry in enumerate(entries) if entry.content.get("evaluate", True)]
    twice = {name for name in readable if readable.count(name) > 1}
    names = [entries[index].text("name") if readable[index] in twice else readable[index] for index in known]
    labels = dict.fromkeys((*range(len(entries)), 255), UNLABELED)
    labels |= {index: label for label, index in enumerate(known)}
    things = frozenset(index for index in known if entries[index].content.get("instances"))
    return names, labels, things


# ---- KITTI


def find_kitti(folder: Path) -> dict[str, Path]:
    """The sets of KITTI's semantic segmentation in a folder: `training`, with `image_2` or `semantic` in it."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    return {path.name: path for path in folders if (path / "image_2").is_dir() or (path / "semantic").is_dir()}


def read_kitti(source: DatasetSource) -> FoundDataset:
    """Read KITTI's `training/semantic`, in the ids of Cityscapes, whose 19 classes they have; others are unlabeled.

    With `label_colors.txt`, as CVAT writes it, its classes in their order.

    Args:
        source: the folder with `training`.

    Raises:
        UsageError: a folder is missing, there are several sets, or the table is damaged.
    """
    sets = {name: path for name, path in find_kitti(source.folder).items() if (path / "semantic").is_dir()}
    if not sets:
        raise UsageError(f"{str(source.path)!r} has no folder training/semantic; unpack data_semantics.zip there")
    split = chosen_set(source, sets, "sets")
    file = source.folder / "label_colors.txt"
    if file.is_file():
        table = read_label_table(file)
        names, labels = table.names, table.indices
        things = frozenset(labels)
    else:
        names = class_names("cityscapes19")
        labels = cityscapes_labels()
        things = frozenset(range(CITYSCAPES_FIRST_INSTANCES, CITYSCAPES_IDS))
    objects = split / "instance"

    def annotation(path: Path) -> StreetMap:
        numbers = objects / path.name
        return StreetMap(
            path=path, labels=labels, objects_path=numbers if numbers.is_file() else None, things=things, first=1
        )

    pair = FolderPair(images=split / "image_2", masks=split / "semantic")
    return FoundDataset(names=names, images=paired_images(source, pair, annotation), has_outside=False)
