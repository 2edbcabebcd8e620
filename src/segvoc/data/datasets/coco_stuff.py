"""COCO-Stuff: PNGs of things and stuff, MATLAB files of the first 10,000 images, and the JSON files of stuff alone."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from segvoc.data.class_lists import class_names, read_class_list
from segvoc.data.datasets.annotated_images import FoundDataset, checked_size
from segvoc.data.datasets.coco import read_coco
from segvoc.data.datasets.fields import read_lines
from segvoc.data.datasets.maps import IndexMap, looked_up
from segvoc.data.datasets.mask_pairs import FolderPair, paired_images
from segvoc.data.datasets.places import DatasetSource, chosen_set
from segvoc.data.preparation.foreign_files import read_matlab_array
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED

_SETS = ("train2017", "val2017", "train2014", "val2014", "train", "val")
_TRAIN_IDS = "_labelTrainIds"


@dataclass(frozen=True, kw_only=True)
class MatlabMap:
    """A MATLAB file with the array "S": 0 is unlabeled, the others are the ids of the PNGs plus one."""

    path: Path
    """The file."""
    labels: Mapping[int, int]
    """The label of each value."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        values = read_matlab_array(self.path, "S").astype(np.int64)
        checked_size(size, values.shape)
        return looked_up(
            values, self.labels, lambda value: f"{self.path.name!r} has the value {value}, which no class has"
        )

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        return None


def find_stuff_maps(folder: Path) -> dict[str, Path]:
    """The folders of PNGs by set: `stuffthingmaps/val2017`, `annotations/val2017`, or `val2017` itself."""
    for place in (folder / "stuffthingmaps", folder / "annotations", folder):
        sets = {name: place / name for name in _SETS if _has(place / name, ".png")}
        if sets and (place != folder or any(name.endswith(("2014", "2017")) for name in sets)):
            return sets
    return {}


def is_coco_stuff(folder: Path) -> bool:
    """Whether a folder has COCO-Stuff's maps as PNGs, or as MATLAB files."""
    return bool(find_stuff_maps(folder)) or _has(folder / "annotations", ".mat")


def read_coco_stuff(source: DatasetSource) -> FoundDataset:
    """Read the PNGs of `stuffthingmaps_trainval2017.zip`, the MATLAB files of COCO-Stuff 10k, or `stuff_val2017.json`.

    The classes of maps are the 171 that are evaluated; the ids between them and 255 are unlabeled.

    Args:
        source: the folder with `stuffthingmaps` or `annotations`, and the images of each set; or the JSON file.

    Raises:
        UsageError: a folder is missing, or there are several sets.
    """
    maps = find_stuff_maps(source.folder)
    if source.path.is_file() or (not maps and list((source.folder / "annotations").glob("stuff*.json"))):
        return read_coco(source, panoptic=False)
    if _has(source.folder / "annotations", ".mat"):
        return _first_10k(source)
    if not maps:
        raise UsageError(
            f"{str(source.path)!r} has no folder stuffthingmaps or annotations with PNGs of a set such as val2017; "
            "unpack stuffthingmaps_trainval2017.zip there"
        )
    split = chosen_set(source, maps, "sets")
    places = [source.folder / "images" / split.name, source.folder / split.name]
    images = next((place for place in places if place.is_dir()), split)
    raw = _has(split, ".png", without=_TRAIN_IDS)
    labels = _stuff_labels() if raw else {label: label for label in range(171)} | {255: UNLABELED}
    images = paired_images(
        source,
        FolderPair(images=images, masks=split),
        lambda path: IndexMap(path=path, labels=labels),
        endings=("" if raw else _TRAIN_IDS,),
        accept=lambda path: path.suffix.lower() == ".png" and path.stem.endswith(_TRAIN_IDS) != raw,
    )
    return FoundDataset(names=class_names("coco"), images=images, has_outside=False)


def _stuff_labels() -> dict[int, int]:
    ids = {entry["stuffthing_id"]: entry["train_id"] for entry in read_class_list("coco_stuff171_ids")}
    return dict.fromkeys((*range(182), 255), UNLABELED) | ids


def _first_10k(source: DatasetSource) -> FoundDataset:
    labels = {index + 1: label for index, label in _stuff_labels().items() if index != 255} | {0: UNLABELED}
    pair = FolderPair(images=source.folder / "images", masks=source.folder / "annotations")
    images = paired_images(
        source,
        pair,
        lambda path: MatlabMap(path=path, labels=labels),
        accept=lambda path: path.suffix.lower() == ".mat",
    )
    if source.split is not None:
        lists = {file.stem: file for file in sorted((source.folder / "imageLists").glob("*.txt"))}
        wanted = set(read_lines(chosen_set(source, lists, "lists in imageLists")))
        images = [image for image in images if image.stem in wanted]
    return FoundDataset(names=class_names("coco"), images=images, has_outside=False)


def _has(folder: Path, suffix: str, without: str = "\0") -> bool:
    """Whether a folder has files with a suffix, whose names don't end with something."""
    if not folder.is_dir():
        return False
    return any(path.suffix.lower() == suffix and not path.stem.endswith(without) for path in folder.iterdir())
