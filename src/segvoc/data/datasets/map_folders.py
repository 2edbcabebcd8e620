"""Folders of images and maps: published datasets as downloaded, VOC, and masks with a class table.

Each published dataset is a row of `MAP_LAYOUTS`, with the location of its maps and the meaning of their values; VOC
adds lists of images, and masks several naming schemes for the two folders. Maps and images are paired by name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from segvoc.data.benchmarks import BENCHMARKS
from segvoc.data.datasets.annotated_images import (
    AnnotatedImage,
    DatasetSource,
    ParsedDataset,
    broken,
    chosen_set,
    read_lines,
    unique_stems,
    visible_files,
)
from segvoc.data.datasets.maps import MapFile, ObjectNumbers, read_label_table
from segvoc.data.labeled_images import class_names
from segvoc.data.preparation.conversions import UNKNOWN_ID, id_table
from segvoc.errors import UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED, LabelTable
from segvoc.labeling.formats.dataset import PublishedName
from segvoc.labeling.formats.writers import VOC_BACKGROUND, voc_colors
from segvoc.storage.files import composed, safe_path
from segvoc.vocabulary import ClassRow, read_classes

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".npy")
"""Suffixes of masks, all lossless formats."""


# ---- pairs of images and maps


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How the maps of a folder are named after their images, and their object maps after them."""

    image_ending: str = ""
    """Ending of image names after the part shared with their maps, without the suffix."""
    endings: tuple[str, ...] = ("",)
    """Possible endings of map names; the most frequent is used."""
    objects: tuple[str, str] | None = None
    """Path replacement from a map to its object map."""
    numbers: ObjectNumbers | None = None
    """What the values of that file are."""

    def map_file(self, path: Path, table: LabelTable) -> MapFile:
        """A map, with its object map if there is one."""
        objects = None
        if self.objects is not None:
            before, _, after = path.as_posix().rpartition(self.objects[0])
            objects = Path(f"{before}{self.objects[1]}{after}")
        objects = objects if objects is not None and objects.is_file() else None
        return MapFile(path=path, table=table, objects_path=objects, numbers=self.numbers)


class _Pair(NamedTuple):
    """An image folder and a map folder."""

    images: Path
    maps: Path
    naming: Naming


def _paired(source: DatasetSource, pair: _Pair, table: LabelTable, stems: Iterable[str] | None = None) -> ParsedDataset:
    """Pair images and maps of the same names, or only those in a list.

    Images without a map and maps without an image are included, and reading them says which file is missing.
    """
    folder, maps_folder, naming = source.images or pair.images, pair.maps, pair.naming
    for place, what in ((folder, "images"), (maps_folder, "labels")):
        if not place.is_dir():
            problem = f"the folder {str(place)!r} is missing; unpack it there"
            raise UsageError(f"{str(source.path)!r} has no {what}: {problem}")
    files = [path.relative_to(folder) for path in visible_files(folder, IMAGE_SUFFIXES)]
    files = [file for file in files if folder != maps_folder or not file.stem.endswith(naming.endings)]
    stems_of_files = (composed(stem).removesuffix(naming.image_ending) for stem in unique_stems(files))
    images = dict(zip(stems_of_files, files, strict=True))
    maps = _by_stem(maps_folder)
    for stem, whole in ((stem + end, f"{images[stem].as_posix()}{end}") for stem in images for end in naming.endings):
        if (whole := composed(whole)) in maps:  # a.jpg.png may be the mask of a.jpg
            maps[stem] = maps.pop(whole)
    counts = {ending: sum(stem + ending in maps for stem in images) for ending in naming.endings}
    ending = max(naming.endings, key=counts.__getitem__)
    if stems is None:
        if not images:
            raise UsageError(f"{str(folder)!r} has no images; give their folder with --images")
        if not counts[ending]:
            first, file = next(iter(images.items()))
            raise UsageError(
                f"no image in {str(folder)!r} has a map in {str(maps_folder)!r}; {str(folder / file)!r} needs "
                f"{str(maps_folder / f'{first}{ending}.png')!r}"
            )
        # "photo_color.png" is another view of photo.png, not a mask whose image is missing
        alone = {stem.removesuffix(ending) for stem in maps if stem.endswith(ending)} - images.keys()
        known = images.keys() | alone
        stems = sorted(images.keys() | {stem for stem in alone if stem.rpartition("_")[0] not in known})
    paired = []
    for stem in map(composed, stems):
        try:
            safe_path(stem)
        except ValueError as error:
            paired.append(broken(source.path, stem, error))
            continue
        path = maps.get(stem + ending, maps_folder / f"{stem}{ending}.png")
        image = folder / images.get(stem, f"{stem}{naming.image_ending}.jpg")
        paired.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=naming.map_file(path, table)))
    return ParsedDataset(names=table.names, images=paired, are_shapes=False)


def _by_stem(folder: Path) -> dict[str, Path]:
    paths = visible_files(folder, MASK_SUFFIXES)
    return {composed(path.relative_to(folder).with_suffix("").as_posix()): path for path in paths}


def _sets(folder: Path, pattern: str) -> dict[str, Path]:
    """The folders that match a pattern, by the text that matches its asterisk; "" without one."""
    if "*" not in pattern:
        return {"": folder / pattern} if (folder / pattern).is_dir() else {}
    before, _, after = pattern.partition("*")
    places = [path for path in sorted(folder.glob(pattern)) if path.is_dir()]
    names = [path.relative_to(folder).as_posix().removeprefix(before).removesuffix(after) for path in places]
    return {name: path for name, path in zip(names, places, strict=True) if not name.startswith(".")}


# ---- published datasets


@dataclass(frozen=True, kw_only=True)
class MapLayout:
    """Locations of a dataset's maps and images below its folder, and the meaning of the values.

    In the names of folders, "*" stands for the name of a set.
    """

    marks: tuple[str, ...]
    """Patterns of files or folders unique to this dataset."""
    maps: tuple[str, ...]
    """Candidate map folders; the first that exists is used."""
    images: tuple[str, ...]
    """Candidate image folders; the first that exists is used."""
    benchmark: str
    """The benchmark that has the same classes and ids."""
    naming: Naming = Naming()
    archive: str
    """The archive to unpack, for errors."""


MAP_LAYOUTS: Mapping[PublishedName, MapLayout] = {
    "cityscapes": MapLayout(
        marks=("gtFine",),
        maps=("gtFine/*",),
        images=("leftImg8bit/*",),
        benchmark="cityscapes",
        naming=Naming(
            image_ending="_leftImg8bit",
            endings=("_gtFine_labelIds",),
            objects=("_labelIds", "_instanceIds"),
            numbers=ObjectNumbers(1000, frozenset(range(24, 34))),  # from person to bicycle
        ),
        archive="gtFine_trainvaltest.zip",
    ),
    "ade20k": MapLayout(
        marks=("objectInfo150.txt", "sceneCategories.txt", "annotations/training", "annotations/validation"),
        maps=("annotations/*",),
        images=("images/*",),
        benchmark="a-150",
        archive="ADEChallengeData2016.zip",
    ),
    "coco-stuff": MapLayout(
        marks=("stuffthingmaps", "annotations/*2014/*.png", "annotations/*2017/*.png"),
        maps=("stuffthingmaps/*", "annotations/*"),
        images=("images/*", "*"),
        benchmark="coco-stuff",
        archive="stuffthingmaps_trainval2017.zip",
    ),
}
"""The datasets by format name."""


def read_published(source: DatasetSource, layout: MapLayout) -> ParsedDataset:
    """Read a published dataset."""
    folder = source.folder
    sets = next((sets_of for pattern in layout.maps if (sets_of := _sets(folder, pattern))), None)
    if sets is None:
        needed = layout.maps[-1].replace("*", "training")
        raise UsageError(f"{str(source.path)!r} has no folder {needed}; unpack {layout.archive} there")
    split, maps = chosen_set(source, {name: (name, path) for name, path in sets.items()}, "sets")
    places = [folder / pattern.replace("*", split) for pattern in layout.images]
    images = next((place for place in places if place.is_dir()), places[0])
    ids = enumerate(id_table(layout.benchmark).tolist())
    table = LabelTable(
        names=BENCHMARKS[layout.benchmark].classes, indices={id: label for id, label in ids if label != UNKNOWN_ID}
    )
    if (file := folder / "objectInfo150.txt").is_file():
        table = read_label_table(file)  # ADE20K's own names
        table = replace(table, indices={**table.indices, 0: UNLABELED})
    return _paired(source, _Pair(images, maps, layout.naming), table)


# ---- VOC


def find_voc(folder: Path) -> Path | None:
    """Find the folder with `SegmentationClass` in or below a folder; None without one."""
    places = (folder / below for below in ("", "VOC2012", "VOCdevkit/VOC2012"))
    return next((place for place in places if (place / "SegmentationClass").is_dir()), None)


def read_voc(source: DatasetSource) -> ParsedDataset:
    """Read label maps in `SegmentationClass`: palette PNGs, or RGB ones in the colors of `labelmap.txt`.

    Without that file, the classes come from `class_names.txt`, or else are VOC's. The dataset's path may be a list in
    `ImageSets/Segmentation`, which the split selects too.
    """
    root = find_voc(source.folder.parent.parent if source.path.is_file() else source.folder)
    if root is None:
        raise UsageError(f"{str(source.path)!r} has no folder SegmentationClass; check the path")
    naming = Naming(objects=("/SegmentationClass/", "/SegmentationObject/"))
    pair = _Pair(root / "JPEGImages", root / "SegmentationClass", naming)
    files = (root / name for name in ("labelmap.txt", "class_names.txt"))
    classes = _voc_classes(next((file for file in files if file.is_file()), None))
    return replace(_paired(source, pair, classes, _voc_stems(source, root)), background=VOC_BACKGROUND)


def _voc_stems(source: DatasetSource, root: Path) -> list[str]:
    lists = {file.stem: read_lines(file) for file in sorted((root / "ImageSets/Segmentation").glob("*.txt"))}
    if source.path.is_file():
        stems = read_lines(source.path)
    elif not lists:
        return sorted(_by_stem(root / "SegmentationClass"))
    elif source.split is None and all(lines == next(iter(lists.values())) for lines in lists.values()):
        stems = next(iter(lists.values()))  # as written by segvoc, without a split
    else:
        stems = chosen_set(source, lists, "lists in ImageSets/Segmentation")
    return list(dict.fromkeys(stem.strip() for stem in stems if stem.strip()))


def _voc_classes(file: Path | None) -> LabelTable:
    """The classes in the order of their indices; 255 and its color are unlabeled."""
    palette = [red << 16 | green << 8 | blue for red, green, blue in voc_colors().tolist()]
    rows = [ClassRow(name=name) for name in class_names("voc21")] if file is None else read_classes(file)
    if rows[0].color is None:
        rows = [replace(row, color=color) for row, color in zip(rows, palette, strict=False)]
    table = LabelTable.of_rows(rows)
    colors = {palette[255]: UNLABELED, **(table.colors or {})}
    return replace(table, indices={**table.indices, 255: UNLABELED}, colors=colors, has_indices=True)


# ---- folders of masks with a table of their classes

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


def find_pairs(folder: Path, split: str | None = None) -> dict[str, _Pair]:
    """Find the folder pairs of a dataset by set name; "" for a dataset without sets.

    Sub-folders of a folder of masks are sets if one of them is named like one, or is the wanted split.
    """
    for images, masks, naming in _PAIRS:
        sets = _sets(folder, masks)
        folders = _sets(folder, images) if sets else {}  # which may list many files
        pairs = {name: _Pair(folders[name], sets[name], naming) for name in sets if name in folders}
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


def _find_table(folder: Path, pairs: Iterable[_Pair]) -> Path | None:
    """The class table in a folder, or beside its masks; None without one."""
    places = [folder, *(pair.maps for pair in pairs)]
    return next((place / name for place in places for name in _TABLES if (place / name).is_file()), None)


def is_cvats(folder: Path) -> bool:
    """Whether a folder is CVAT's export as CamVid, KITTI or Cityscapes, which is laid out as those datasets are."""
    return (folder / _COLORS_OF_CVAT).is_file() and bool(find_pairs(folder))


def has_masks(folder: Path) -> bool:
    """Whether a folder has images and masks with a class table."""
    pairs = find_pairs(folder).values()
    return any(_by_stem(pair.maps) for pair in pairs) and _find_table(folder, pairs) is not None


def read_masks(source: DatasetSource) -> ParsedDataset:
    """Read images and masks of the same names, with a class table."""
    pairs = find_pairs(source.folder, source.split)
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
    return _paired(source, chosen_set(source, pairs, "sets"), read_label_table(path))
