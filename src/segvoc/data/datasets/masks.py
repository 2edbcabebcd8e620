"""Folders of images and masks with a table of classes, and CamVid, which is one."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from segvoc.data.class_lists import CLASS_LIST_FOLDER
from segvoc.data.datasets.annotated_images import FoundDataset, checked_size
from segvoc.data.datasets.fields import DamagedDatasetError
from segvoc.data.datasets.label_tables import LabelTable, RgbColor, read_label_table
from segvoc.data.datasets.maps import looked_up
from segvoc.data.datasets.mask_pairs import (
    MASK_ENDINGS,
    MASK_SUFFIXES,
    FolderPair,
    find_pairs,
    is_beside_image,
    paired_images,
)
from segvoc.data.datasets.places import DatasetSource, chosen_set, visible_files
from segvoc.errors import UsageError
from segvoc.formats.voc import voc_colors
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import opened_image

TABLE_SUFFIXES = (".txt", ".csv", ".json")

_TABLE_NAMES = (
    *(
        "classes",
        "class_names",
        "class_dict",
        "class_list",
        "labels",
        "label_colors",
        "label_map",
        "labelmap",
        "label_names",
    ),
    *("names", "codes", "colormap", "color_map", "colors", "palette", "id2label", "categories", "_classes"),
)
"""What tables are called, without suffix, the first choice first."""


@dataclass(frozen=True, kw_only=True)
class ClassMask:
    """A mask of indices (gray or palette) or of colors."""

    path: Path
    """The file."""
    indices: Mapping[int, int]
    """The label of each index; 65535 for those that are unlabeled."""
    colors: Mapping[RgbColor, int] | None = None
    """The label of each color."""
    palette_is_colors: bool = False
    """Whether a palette image is one of colors, whatever its indices are."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        with opened_image(self.path) as image:
            mode = image.mode
            by_color = mode == "P" and self.colors is not None and self.palette_is_colors
            values = np.array(image.convert("RGB") if by_color else image)
        if mode == "1":
            values = values.astype(np.uint8)
        elif mode == "RGBA" and (values[..., 3] == 255).all():
            values = values[..., :3]
        if values.ndim == 3 and self.colors is None and (values == values[..., :1]).all():
            values = values[..., 0]  # indices, saved as gray of three channels
        if values.ndim == 2 and values.dtype.kind in "ui":
            checked_size(size, values.shape)
            return looked_up(values, self.indices, lambda value: self._unknown(f"index {value}"))
        if values.ndim != 3 or values.shape[2] != 3 or values.dtype != np.uint8:
            raise ValueError(f"{self.path.name!r} is a {mode} image, neither of indices nor of colors")
        if self.colors is None:
            raise ValueError(f"{self.path.name!r} is of colors, for which the table of classes has none")
        checked_size(size, values.shape[:2])
        keys = values.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        labels = {red * 65536 + green * 256 + blue: label for (red, green, blue), label in self.colors.items()}
        return looked_up(
            keys, labels, lambda key: self._unknown(f"color {key >> 16}, {key >> 8 & 255}, {key & 255} (#{key:06x})")
        )

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        return None

    def _unknown(self, what: str) -> str:
        return f"{self.path.name!r} has the {what}, which no class has"


def class_mask(path: Path, table: LabelTable) -> ClassMask:
    """The mask of a file in the terms of a table."""
    return ClassMask(path=path, indices=table.indices, colors=table.colors, palette_is_colors=not table.has_indices)


def find_table(folder: Path) -> Path | None:
    """The table of classes in a folder, or beside the masks in it; None without one."""
    pairs = find_pairs(folder)
    places = dict.fromkeys(
        (folder, *(pair.masks for pair in pairs.values()), *(pair.masks.parent for pair in pairs.values()))
    )
    names = [f"{name}{suffix}" for name in _TABLE_NAMES for suffix in TABLE_SUFFIXES]
    for place in places:
        files = {path.name.lower(): path for path in place.iterdir() if path.suffix.lower() in TABLE_SUFFIXES}
        found = [files[name] for name in names if name in files]
        if found:
            return found[0]
    return None


def is_label_table(path: Path) -> bool:
    """Whether a file is a table of classes with images and masks beside it."""
    try:
        return bool(find_pairs(path.parent)) and bool(read_label_table(path).names)
    except (DamagedDatasetError, OSError):
        return False


def read_masks(source: DatasetSource) -> FoundDataset:
    """Read images and masks of the same names in two folders, with a table of their classes.

    Args:
        source: the folder with both, or the table in it.

    Raises:
        UsageError: there are no such folders, several sets, or no table; or the table is damaged.
    """
    pairs = find_pairs(source.folder)
    if not pairs:
        raise UsageError(
            f"{str(source.path)!r} has no two folders of images and masks; call them images and masks, "
            "or train and train_masks"
        )
    path = source.path if source.path.is_file() else find_table(source.folder)
    if path is None:
        raise UsageError(
            f"{str(source.path)!r} has no table of its classes; write classes.txt with a line for each, "
            "'0 background' or '128,64,128 road'"
        )
    table = read_label_table(path)
    pair = chosen_set(source, pairs, "sets")
    if pair.images == pair.masks:
        images = paired_images(
            source, pair, lambda path: class_mask(path, table), endings=("_mask",), accept=is_beside_image
        )
    else:
        images = paired_images(source, pair, lambda path: class_mask(path, table), endings=MASK_ENDINGS)
    return FoundDataset(names=table.names, images=images, has_outside=False)


# ---- CamVid

_STILLS, _APPROVED = "701_StillsRaw_full", "LabeledApproved_full"

_SEGNET_CLASSES = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
)
"""The classes of SegNet's version in the order of their indices; 11 is unlabeled."""


def is_camvid(folder: Path) -> bool:
    """Whether a folder has CamVid's folders, or those of SegNet's version."""
    return any((folder / name).is_dir() for name in (_STILLS, _APPROVED)) or bool(_segnet_pairs(folder))


def _segnet_pairs(folder: Path) -> dict[str, FolderPair]:
    masks = {path.name.removesuffix("annot"): path for path in sorted(folder.glob("?*annot")) if path.is_dir()}
    return {
        name: FolderPair(images=folder / name, masks=path) for name, path in masks.items() if (folder / name).is_dir()
    }


def read_camvid(source: DatasetSource) -> FoundDataset:
    """Read CamVid: `LabeledApproved_full` in colors with 32 classes, or `trainannot`, ... in indices with SegNet's 11.

    The classes are those of `label_colors.txt` or `class_dict.csv`, else CamVid's own. Void is unlabeled. CVAT
    writes the second layout with a table, whose colors its maps then have.

    Args:
        source: the folder with `701_StillsRaw_full` and `LabeledApproved_full`, or with `train` and `trainannot`.

    Raises:
        UsageError: a folder is missing, there are several sets, or the table is damaged.
    """
    folder = source.folder
    file = source.path if source.path.is_file() else _camvid_table(folder)
    if (pairs := _segnet_pairs(folder)) and file.parent == CLASS_LIST_FOLDER:
        names = _SEGNET_CLASSES
        indices = {**{index: index for index in range(len(names))}, len(names): UNLABELED, 255: UNLABELED}
        table = LabelTable(names=names, indices=indices, colors=None, has_indices=True)
        pair = chosen_set(source, pairs, "sets")
        return _camvid(source, pair, table)
    pair = chosen_set(source, pairs or {"": FolderPair(images=folder / _STILLS, masks=folder / _APPROVED)}, "sets")
    table = read_label_table(file)
    if table.colors is None:  # whose colors are VOC's then
        colors = [(red, green, blue) for red, green, blue in voc_colors().tolist()]
        table = replace(table, colors={colors[index]: label for index, label in table.indices.items() if index < 255})
    return _camvid(source, pair, table)


def _camvid(source: DatasetSource, pair: FolderPair, table: LabelTable) -> FoundDataset:
    images = paired_images(source, pair, lambda path: class_mask(path, table), endings=("_L", ""))
    return FoundDataset(names=table.names, images=images, has_outside=False)


def _camvid_table(folder: Path) -> Path:
    places = (folder, folder / _APPROVED)
    files = [place / name for place in places for name in ("label_colors.txt", "class_dict.csv")]
    return next((file for file in files if file.is_file()), CLASS_LIST_FOLDER / "camvid32.json")


def has_masks(folder: Path) -> bool:
    """Whether a folder has images and masks, with a table of classes."""
    pairs = find_pairs(folder)
    masks = (visible_files(pair.masks, lambda path: path.suffix.lower() in MASK_SUFFIXES) for pair in pairs.values())
    return any(masks) and find_table(folder) is not None
