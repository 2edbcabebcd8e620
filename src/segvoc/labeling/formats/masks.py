"""Folders of images and masks with a table of their classes, as annotators and tools lay them out."""

import re
from collections.abc import Iterable
from pathlib import Path

from segvoc.errors import UsageError
from segvoc.imaging.label_maps import LabelTable
from segvoc.labeling.formats.annotated_images import DatasetSource, ParsedDataset, chosen_set
from segvoc.labeling.formats.dataset_format import DatasetFormat
from segvoc.labeling.formats.maps import MASK_SUFFIXES, MapPair, Naming, map_sets, maps_by_stem, paired_maps
from segvoc.vocabulary import read_classes

_COLORS_OF_CVAT = "label_colors.txt"

_TABLES = (
    *("classes.txt", "classes.json", "classes.csv", "class_dict.csv", "_classes.csv", _COLORS_OF_CVAT),
    *("class_mapping.csv", "classes.yaml", "classes.yml"),
)
"""File names of class tables, in order of preference."""

_MASKS = ("masks", "labels", "annotations", "gt")
_OF_MASKS = Naming(endings=("", "_mask", "_label", "_L", "_P", "_seg", "_gt"))
_OF_CITYSCAPES = Naming(image_ending="_leftImg8bit", endings=("_gtFine_color", "_gtFine_labelIds"))
"""In CVAT's exports as CamVid, KITTI and Cityscapes, as the two patterns before it."""
_OF_MASKS_BESIDE = Naming(image_ending="_sat", endings=("_mask",))
"""In a single folder with the images."""

_PAIRS = (
    *((f"{images}/*", f"{masks}/*", _OF_MASKS) for images in ("images", "JPEGImages") for masks in _MASKS),
    *((images, masks, _OF_MASKS) for images in ("images", "JPEGImages") for masks in _MASKS),
    *((f"*/{images}", f"*/{masks}", _OF_MASKS) for images in ("images", "JPEGImages") for masks in _MASKS),
    *(("*", f"*{masks}", _OF_MASKS) for masks in ("_masks", "_labels", "annot")),
    ("*/image_2", "*/semantic_rgb", _OF_MASKS),
    ("imgsFine/leftImg8bit/*", "gtFine/*", _OF_CITYSCAPES),
    ("", "", _OF_MASKS_BESIDE),
    ("*", "*", _OF_MASKS_BESIDE),
)
"""Patterns of image and mask folders, in order of preference; "*" stands for the name of a set."""


_SET = re.compile(
    r"(train(ing|val)?|val(id(ation)?)?|test(ing)?|dev|eval|default|mini(train|val)?|set|split|fold)([-_.]?\d+|[-_.].*)?",
    re.IGNORECASE,
)
"""Names of sets: train, validation, train2017, test_a, ..."""


def _find_pairs(folder: Path, split: str | None = None) -> dict[str, MapPair]:
    """Find the folder pairs of a dataset by set name; "" for a dataset without sets.

    Sub-folders of a folder of masks are sets if one of them is named like one, or is the wanted split.
    """
    for images, masks, naming in _PAIRS:
        sets = map_sets(folder, masks)
        folders = map_sets(folder, images) if sets else {}  # which may list many files
        pairs = {name: MapPair(folders[name], sets[name], naming) for name in sets if name in folders}
        if naming is _OF_MASKS_BESIDE:
            pairs = {name: pair for name, pair in pairs.items() if _has_masks(pair.maps, "_mask")}
        is_set = any(name == split or _SET.fullmatch(name) for name in pairs) and not _has_masks(folder / masks[:-2])
        if pairs and (is_set or not masks.startswith(_BELOW)):  # else sub-folders, not sets
            return pairs
    return {}


_BELOW = tuple(f"{masks}/*" for masks in _MASKS)


def _has_masks(folder: Path, ending: str = "") -> bool:
    return folder.is_dir() and any(
        file.suffix.lower() in MASK_SUFFIXES and file.stem.endswith(ending) for file in folder.iterdir()
    )


def _find_table(folder: Path, pairs: Iterable[MapPair]) -> Path | None:
    """The class table in a folder, or beside its masks; None without one."""
    places = [folder, *(pair.maps for pair in pairs)]
    return next((place / name for place in places for name in _TABLES if (place / name).is_file()), None)


def _is_cvats(folder: Path) -> bool:
    """Whether a folder is CVAT's export as CamVid, KITTI or Cityscapes, which is laid out as those datasets are."""
    return (folder / _COLORS_OF_CVAT).is_file() and bool(_find_pairs(folder))


def _has_pairs(folder: Path) -> bool:
    """Whether a folder has images and masks with a class table."""
    pairs = _find_pairs(folder).values()
    return any(maps_by_stem(pair.maps) for pair in pairs) and _find_table(folder, pairs) is not None


def read_masks(source: DatasetSource) -> ParsedDataset:
    """Read images and masks of the same names, with a class table."""
    pairs = _find_pairs(source.folder, source.split)
    if not pairs:
        raise UsageError(
            f"{str(source.path)!r} has no pair of image and mask folders; name them images and masks, "
            "or train and train_masks"
        )
    path = source.path if source.path.is_file() else _find_table(source.folder, pairs.values())
    if path is None:
        raise UsageError(
            f"{str(source.path)!r} has no class table; write classes.txt with a line per class, "
            "'0 background' or '128,64,128 road'"
        )
    return paired_maps(source, chosen_set(source, pairs, "sets"), LabelTable.of_rows(read_classes(path)))


MASKS = DatasetFormat(
    name="masks",
    read=read_masks,
    is_marked=_is_cvats,
    is_alike=_has_pairs,
    is_file=lambda path: path.suffix.lower() in (".txt", ".csv", ".json") and bool(_find_pairs(path.parent)),
)
