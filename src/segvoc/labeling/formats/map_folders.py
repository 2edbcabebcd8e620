"""Folders of images and label maps: published datasets as downloaded, and masks with a class table.

Maps and images are paired by name. A published dataset has the values of a benchmark; masks have several naming schemes
for the two folders.
"""

import re
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16

from segvoc.data.benchmarks import BENCHMARKS
from segvoc.data.preparation.conversions import UNKNOWN_ID, id_table
from segvoc.errors import UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT, LabelTable, read_label_map, stored_map
from segvoc.labeling.formats.base import DatasetFormat
from segvoc.labeling.formats.parsed import (
    AnnotatedImage,
    Annotation,
    DatasetSource,
    ParsedDataset,
    broken,
    checked_size,
    unique_stems,
)
from segvoc.labeling.formats.untrusted_files import visible_files
from segvoc.storage.files import composed, safe_path
from segvoc.vocabulary.files import read_classes

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".npy")
"""Suffixes of masks, all lossless formats."""


@dataclass(frozen=True, kw_only=True)
class MapFile(Annotation):
    """A map of indices (gray or palette) or colors, with an optional object map."""

    path: Path
    table: LabelTable
    objects_path: Path | None = None
    """The object map, which may be missing."""
    numbers: Callable[[np.ndarray], np.ndarray] | None = None
    """Object numbers of the values in the object map; None: the values, with 255 for none in 8 bits."""

    @property
    def table_digest(self) -> str:
        """See `Annotation`."""
        return self.table.digest

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        labels = read_label_map(self.path, self.table)
        checked_size(size, labels.shape)
        return labels

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        if self.objects_path is None or not self.objects_path.is_file():
            return None
        values = stored_map(self.objects_path).values
        if values.ndim != 2:
            raise ValueError(f"{self.objects_path.name!r} is a color image, not a map of object numbers")
        checked_size(size, values.shape)
        if self.numbers is not None:
            values = self.numbers(values)
        elif values.dtype == np.uint8:
            values = np.where(values == UNLABELED_8_BIT, 0, values)
        renumbered = np.zeros(size, np.uint16)
        renumbered[values > 0] = np.unique(values[values > 0], return_inverse=True)[1] + 1
        return renumbered


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How the maps of a folder are named after their images, and their object maps after them."""

    image_ending: str = ""
    """Ending of image names after the part shared with their maps, without the suffix."""
    endings: tuple[str, ...] = ("",)
    """Possible endings of map names; the most frequent is used."""
    objects: tuple[str, str] | None = None
    """Path replacement from a map to its object map."""
    numbers: Callable[[np.ndarray], np.ndarray] | None = None
    """See `MapFile`."""

    def map_file(self, path: Path, table: LabelTable) -> MapFile:
        """A map, with its object map if there is one."""
        objects = None
        if self.objects is not None:
            before, _, after = path.as_posix().rpartition(self.objects[0])
            objects = Path(f"{before}{self.objects[1]}{after}")
        return MapFile(path=path, table=table, objects_path=objects, numbers=self.numbers)


class MapPair(NamedTuple):
    """An image folder and a map folder."""

    images: Path
    maps: Path
    naming: Naming


def paired_maps(
    source: DatasetSource, pair: MapPair, table: LabelTable, stems: Iterable[str] | None = None
) -> ParsedDataset:
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
    maps = maps_by_stem(maps_folder)
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


def maps_by_stem(folder: Path) -> dict[str, Path]:
    """The maps in a folder by their paths below it, without suffix."""
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


def _published(
    name: str,
    *,
    marks: Sequence[str],
    maps: Sequence[str],
    images: Sequence[str],
    naming: Naming | None = None,
    benchmark: str,
    archive: str,
) -> DatasetFormat:
    """A published dataset, with the classes and ids of a benchmark; `archive` is what to unpack, for errors.

    The first folders of maps and of images that exist are read; "*" in them stands for the name of a set.
    """

    def read(source: DatasetSource) -> ParsedDataset:
        folder = source.folder
        sets = next((sets_of for pattern in maps if (sets_of := _sets(folder, pattern))), None)
        if sets is None:
            needed = maps[-1].replace("*", "training")
            raise UsageError(f"{str(source.path)!r} has no folder {needed}; unpack {archive} there")
        split, maps_folder = source.chosen({name: (name, path) for name, path in sets.items()}, "sets")
        places = [folder / pattern.replace("*", split) for pattern in images]
        images_folder = next((place for place in places if place.is_dir()), places[0])
        ids = enumerate(id_table(benchmark).tolist())
        table = LabelTable(
            names=BENCHMARKS[benchmark].classes, indices={id: label for id, label in ids if label != UNKNOWN_ID}
        )
        if (file := folder / "objectInfo150.txt").is_file():
            table = LabelTable.of_rows(read_classes(file))  # ADE20K's own names
            table = replace(table, indices={**table.indices, 0: UNLABELED})
        return paired_maps(source, MapPair(images_folder, maps_folder, naming or Naming()), table)

    def has_mark(folder: Path) -> bool:
        return any(any(folder.glob(pattern)) for pattern in marks)

    # other formats come first: COCO's folders have stuff maps beside the instances, CVAT's masks may be in gtFine
    return DatasetFormat(name=name, read=read, marks=has_mark, rank=-1)


def _cityscapes_objects(values: np.ndarray) -> np.ndarray:
    """The objects of values that are 1000 times an id, from person to bicycle, plus a number."""
    if values.dtype == np.uint8:
        raise ValueError("the object map is not 16-bit")
    return np.where(np.isin(values // 1000, range(24, 34)), values.astype(np.int64) + 1, 0)


CITYSCAPES = _published(
    "cityscapes",
    marks=("gtFine",),
    maps=("gtFine/*",),
    images=("leftImg8bit/*",),
    naming=Naming(
        image_ending="_leftImg8bit",
        endings=("_gtFine_labelIds",),
        objects=("_labelIds", "_instanceIds"),
        numbers=_cityscapes_objects,
    ),
    benchmark="cityscapes",
    archive="gtFine_trainvaltest.zip",
)
ADE20K = _published(
    "ade20k",
    marks=("objectInfo150.txt", "sceneCategories.txt", "annotations/training", "annotations/validation"),
    maps=("annotations/*",),
    images=("images/*",),
    benchmark="a-150",
    archive="ADEChallengeData2016.zip",
)
COCO_STUFF = _published(
    "coco-stuff",
    marks=("stuffthingmaps", "annotations/*2014/*.png", "annotations/*2017/*.png"),
    maps=("stuffthingmaps/*", "annotations/*"),
    images=("images/*", "*"),
    benchmark="coco-stuff",
    archive="stuffthingmaps_trainval2017.zip",
)


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


def _find_pairs(folder: Path, split: str | None = None) -> dict[str, MapPair]:
    """Find the folder pairs of a dataset by set name; "" for a dataset without sets.

    Sub-folders of a folder of masks are sets if one of them is named like one, or is the wanted split.
    """
    for images, masks, naming in _PAIRS:
        sets = _sets(folder, masks)
        folders = _sets(folder, images) if sets else {}  # which may list many files
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
    return paired_maps(source, source.chosen(pairs, "sets"), LabelTable.of_rows(read_classes(path)))


MASKS = DatasetFormat(
    name="masks",
    read=read_masks,
    marks=_is_cvats,
    is_alike=_has_pairs,
    is_file=lambda path: path.suffix.lower() in (".txt", ".csv", ".json") and bool(_find_pairs(path.parent)),
)
