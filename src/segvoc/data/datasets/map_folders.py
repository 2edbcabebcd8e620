"""Folders of images and maps: published datasets as they are downloaded, VOC, and masks with a table of classes.

Each dataset says in a few lines where its maps are (`MapLayout`, "*" stands for the name of a set) and what their
values stand for; `_images` pairs them with the images by their names.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, broken
from segvoc.data.datasets.coco import read_coco
from segvoc.data.datasets.fields import (
    DamagedDatasetError,
    DatasetSource,
    Entry,
    chosen_set,
    damaged,
    json_content,
    naming_damage,
    read_lines,
    visible_files,
)
from segvoc.data.datasets.label_tables import LabelTable, read_label_table
from segvoc.data.datasets.maps import (
    MapFile,
    ade_index,
    ade_numbers,
    ade_pixels,
    index_or_times,
    index_times,
    numbers_of_things,
)
from segvoc.data.labeled_images import CLASS_LIST_FOLDER, class_names, read_class_list
from segvoc.data.preparation.originals import read_matlab_array
from segvoc.errors import UsageError
from segvoc.formats.writers import VOC_BACKGROUND, VOC_IGNORED, voc_colors
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED
from segvoc.storage.safe_paths import safe_path

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
"""Suffixes of masks; none of their formats changes a value."""


@dataclass(frozen=True, kw_only=True)
class MapLayout:
    """Where a dataset has its images and its maps, and what their values stand for."""

    names: Sequence[str]
    """The names of the classes."""
    annotation: Callable[[Path], MapFile]
    """The annotation of a file."""
    images: Path
    """The folder of the images."""
    maps: Path
    """The folder of the maps."""
    image_ending: str = ""
    """What the names of images have after those that they share with their maps, without the suffix."""
    endings: Sequence[str] = ("",)
    """What the names of maps may have there; that which most of them have is taken."""
    is_map: Callable[[Path], bool] = lambda path: path.suffix.lower() in MASK_SUFFIXES
    """Which files are maps."""
    image_suffixes: frozenset[str] = IMAGE_SUFFIXES
    hint: str = "unpack it there"
    """What to do where maps are missing."""


def _dataset(source: DatasetSource, layout: MapLayout) -> FoundDataset:
    return FoundDataset(names=layout.names, images=_images(source, layout), has_outside=False)


def _images(source: DatasetSource, layout: MapLayout) -> list[AnnotatedImage]:
    """The images of a set with their maps, paired by their names.

    Images without a map and maps without an image are included, and reading them says which file is missing.
    """
    folder, maps_folder = source.images or layout.images, layout.maps
    for one, what in ((folder, "images"), (maps_folder, "labels")):
        if not one.is_dir():
            raise UsageError(f"{str(source.path)!r} has no {what}: the folder {str(one)!r} is missing; unpack it there")
    is_mixed = folder == maps_folder
    images = {
        _stem(path, folder).removesuffix(layout.image_ending): path
        for path in visible_files(folder, lambda path: path.suffix.lower() in layout.image_suffixes)
        if not (is_mixed and layout.is_map(path))
    }
    maps = {_stem(path, maps_folder): path for path in visible_files(maps_folder, layout.is_map)}
    if not any(stem.endswith(tuple(layout.endings)) for stem in maps):
        raise UsageError(f"{str(maps_folder)!r} has no files *{layout.endings[0]}.png; {layout.hint}")
    counts = {ending: sum(stem + ending in maps for stem in images) for ending in layout.endings}
    ending = max(layout.endings, key=counts.__getitem__)
    if not counts[ending]:
        first = next(iter(images.values()), None)
        if first is None:
            raise UsageError(f"{str(folder)!r} has no images; give their folder with --images")
        needed = maps_folder / f"{_stem(first, folder)}{ending}.png"
        raise UsageError(
            f"no image in {str(folder)!r} has a mask in {str(maps_folder)!r}; {str(first)!r} needs {str(needed)!r}"
        )
    # "photo_color.png" is another view of photo.png, not a mask whose image is missing
    alone = {stem.removesuffix(ending) for stem in maps if stem.endswith(ending)} - images.keys()
    stems = images.keys() | {stem for stem in alone if stem.rpartition("_")[0] not in images.keys() | alone}
    found = []
    for stem in sorted(stems):
        path = maps.get(stem + ending, maps_folder / f"{stem}{ending}.png")
        image = images.get(stem, folder / f"{stem}{layout.image_ending}.jpg")
        found.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=layout.annotation(path)))
    return found


def _stem(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _sets(folder: Path, pattern: str) -> dict[str, Path]:
    """The folders that a pattern stands for, by what stands for its asterisk."""
    before, _, after = pattern.partition("*")
    found = [path for path in sorted(folder.glob(pattern)) if path.is_dir()]
    names = [path.relative_to(folder).as_posix().removeprefix(before).removesuffix(after) for path in found]
    return {name: path for name, path in zip(names, found, strict=True) if not name.startswith(".")}


def _chosen(source: DatasetSource, sets: Mapping[str, Path]) -> tuple[str, Path]:
    return chosen_set(source, {name: (name, path) for name, path in sets.items()}, "sets")


# ---- Cityscapes, and KITTI in its ids

_TRAIN_IDS, _INSTANCE_IDS = "_gtFine_labelTrainIds", "_gtFine_instanceIds"
_THINGS = frozenset(range(24, 34))
"""Cityscapes' ids that have instances: from person to bicycle."""


def _cityscapes_labels() -> dict[int, int]:
    ids = {int(number): label for number, label in read_class_list("cityscapes19_ids").items()}
    return dict.fromkeys((*range(35), 255), UNLABELED) | ids


def read_cityscapes(source: DatasetSource) -> FoundDataset:
    """Read `gtFine/<split>/<city>/*_gtFine_labelIds.png`, or `_labelTrainIds.png`, or only `_instanceIds.png`.

    The images are in `leftImg8bit`, the classes are the 19 that Cityscapes evaluates.
    """
    if not (source.folder / "gtFine").is_dir():
        raise UsageError(f"{str(source.path)!r} has no folder gtFine; check the path")
    split, maps = _chosen(source, _sets(source.folder, "gtFine/*") or {"": source.folder / "gtFine"})
    names, ids = class_names("cityscapes19"), _cityscapes_labels()
    of_training = {label: label for label in range(len(names))} | {255: UNLABELED}

    def annotation(path: Path) -> MapFile:
        instances = path.with_name(re.sub("_gtFine_.*", f"{_INSTANCE_IDS}.png", path.name))
        return MapFile(
            path=path,
            labels=of_training if path.stem.endswith(_TRAIN_IDS) else ids,
            index=partial(index_or_times, factor=1000) if path == instances else None,
            objects_path=instances if instances.is_file() else None,
            numbers=partial(numbers_of_things, factor=1000, things=_THINGS),
        )

    layout = MapLayout(
        names=names,
        annotation=annotation,
        images=source.folder / "leftImg8bit" / split,
        maps=maps,
        image_ending="_leftImg8bit",
        endings=("_gtFine_labelIds", _TRAIN_IDS, _INSTANCE_IDS),
        hint="make them with cityscapesScripts",
    )
    return _dataset(source, layout)


def find_kitti(folder: Path) -> bool:
    """Whether a folder has a set of KITTI's semantic segmentation: `training`, with `image_2` or `semantic` in it."""
    return bool(_sets(folder, "*/image_2") or _sets(folder, "*/semantic"))


def read_kitti(source: DatasetSource) -> FoundDataset:
    """Read KITTI's `training/semantic`, in the ids of Cityscapes, whose 19 classes they have; others are unlabeled.

    With `label_colors.txt`, as CVAT writes it, its classes in their order.
    """
    sets = _sets(source.folder, "*/semantic")
    if not sets:
        raise UsageError(f"{str(source.path)!r} has no folder training/semantic; unpack data_semantics.zip there")
    _, maps = _chosen(source, sets)
    names, labels, things = class_names("cityscapes19"), _cityscapes_labels(), _THINGS
    if (file := source.folder / "label_colors.txt").is_file():
        table = read_label_table(file)
        names, labels, things = table.names, dict(table.indices), frozenset(table.indices)

    def annotation(path: Path) -> MapFile:
        instances = maps.with_name("instance") / path.name
        numbers = partial(numbers_of_things, factor=256, things=things, first=1)
        return MapFile(
            path=path, labels=labels, objects_path=instances if instances.is_file() else None, numbers=numbers
        )

    return _dataset(source, MapLayout(names=names, annotation=annotation, images=maps.with_name("image_2"), maps=maps))


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

    The classes have the readable names in `config.json`, those that aren't evaluated are unlabeled.
    """
    files = [source.path] if source.path.is_file() else find_vistas(source.folder)
    if not files:
        raise UsageError(f"{str(source.path)!r} has no config.json of Vistas; give the folder that has it")
    found = {file: sets for file in files if (sets := _vistas_sets(file))}
    if not found:
        raise UsageError(
            f"{str(source.folder)!r} has no labels: no folder such as validation/labels or validation/v2.0/labels; "
            "unpack all of Vistas there"
        )
    if len(found) > 1:
        names = " or ".join(str(file) for file in found)
        raise UsageError(f"{str(source.path)!r} has labels of several versions; give one as --dataset: {names}")
    ((file, sets),) = found.items()
    split, maps = _chosen(source, sets)
    with naming_damage(file):
        entries = [
            Entry(entry, f"label {index}")
            for index, entry in enumerate(Entry(json_content(file), "the file").items("labels"))
        ]
        readable = [entry.text("readable").strip() for entry in entries]
        known = [index for index, entry in enumerate(entries) if entry.content.get("evaluate", True)]
        names = [entries[at].text("name") if readable.count(readable[at]) > 1 else readable[at] for at in known]
    labels = dict.fromkeys((*range(len(entries)), 255), UNLABELED) | {index: at for at, index in enumerate(known)}
    things = frozenset(index for index in known if entries[index].content.get("instances"))
    objects = maps.with_name("instances")

    def annotation(path: Path) -> MapFile:
        numbers = objects / path.name
        return MapFile(
            path=path,
            labels=labels,
            index=partial(index_times, factor=256) if maps == objects else None,
            objects_path=numbers if numbers.is_file() else None,
            numbers=partial(numbers_of_things, factor=256, things=things),
        )

    images = file.parent / split / "images"
    return _dataset(source, MapLayout(names=names, annotation=annotation, images=images, maps=maps))


def _vistas_sets(file: Path) -> dict[str, Path]:
    """The folders of the maps that a file is about, by set."""
    version = re.search(r"v\d+\.\d+", file.stem)
    found = {}
    for name, folder in _sets(file.parent, "*").items():
        place = folder / version[0] if version and (folder / version[0]).is_dir() else folder
        kinds = [place / kind for kind in ("labels", "instances") if (place / kind).is_dir()]
        if kinds:
            found[name] = kinds[0]
    return found


# ---- ADE20K

_ADE_TABLE = "objectInfo150.txt"


def is_ade20k(folder: Path) -> bool:
    """Whether a folder is ADEChallengeData2016 or ADE20K_2021_17_01, complete or not."""
    marks = ("sceneCategories.txt", _ADE_TABLE, "images/ADE", "annotations/training", "annotations/validation")
    return any((folder / mark).exists() for mark in marks)


def read_ade20k(source: DatasetSource) -> FoundDataset:
    """Read the challenge's `annotations/validation/*.png`, in which 0 is unlabeled, or the full dataset's `*_seg.png`.

    The classes are those of `objectInfo150.txt`, or the 847 with which the full dataset is evaluated; other objects of
    it are unlabeled.
    """
    if (source.folder / "images/ADE").is_dir():
        return _full_ade20k(source)
    if not (source.folder / "annotations").is_dir():
        raise UsageError(
            f"{str(source.path)!r} has no folder annotations; unpack all of ADEChallengeData2016.zip there"
        )
    names = class_names("ade150")
    labels = {index: label for label, index in enumerate(range(1, len(names) + 1))}
    if (file := source.folder / _ADE_TABLE).is_file():
        table = read_label_table(file)
        names, labels = table.names, dict(table.indices)
    labels |= {0: UNLABELED}
    split, maps = _chosen(source, _sets(source.folder, "annotations/*") or {"": source.folder / "annotations"})
    layout = MapLayout(
        names=names,
        annotation=lambda path: MapFile(path=path, labels=labels),
        images=source.folder / "images" / split,
        maps=maps,
    )
    return _dataset(source, layout)


def _full_ade20k(source: DatasetSource) -> FoundDataset:
    hint = "unpack all of ADE20K_2021_17_01.zip there"
    sets = _sets(source.folder, "images/ADE/*")
    if not sets:
        raise UsageError(f"{str(source.folder / 'images/ADE')!r} has no sets; {hint}")
    _, maps = _chosen(source, sets)
    labels = dict.fromkeys(range(26 * 256), UNLABELED)  # all that colors can say
    labels |= {entry["ade_id"]: entry["train_id"] for entry in read_class_list("ade847_ids")}
    images = source.images or maps

    def annotation(path: Path) -> MapFile:
        photo = images / path.relative_to(maps).with_name(f"{path.stem.removesuffix('_seg')}.jpg")
        return MapFile(
            path=path,
            labels=labels,
            read=partial(ade_pixels, photo=photo),
            index=ade_index,
            objects_path=path,
            numbers=ade_numbers,
            only_things=True,
        )

    layout = MapLayout(
        names=class_names("ade847"),
        annotation=annotation,
        images=maps,
        maps=maps,
        endings=("_seg",),
        is_map=lambda path: path.name.endswith("_seg.png"),
        image_suffixes=frozenset({".jpg"}),
        hint=hint,
    )
    return _dataset(source, layout)


# ---- COCO-Stuff

_COCO_SETS = ("train2017", "val2017", "train2014", "val2014", "train", "val")
_COCO_TRAIN_IDS = "_labelTrainIds"


def find_stuff_maps(folder: Path) -> dict[str, Path]:
    """The folders of PNGs by set: `stuffthingmaps/val2017`, `annotations/val2017`, or `val2017` itself."""
    for place in (folder / "stuffthingmaps", folder / "annotations", folder):
        sets = {name: place / name for name in _COCO_SETS if any((place / name).glob("*.png"))}
        if sets and (place != folder or any(name.endswith(("2014", "2017")) for name in sets)):
            return sets
    return {}


def is_coco_stuff(folder: Path) -> bool:
    """Whether a folder has COCO-Stuff's maps as PNGs, or as MATLAB files; or the JSON file of stuff."""
    files = any((folder / "annotations").glob("*.mat")) or any((folder / "annotations").glob("stuff*.json"))
    return files or bool(find_stuff_maps(folder))


def read_coco_stuff(source: DatasetSource) -> FoundDataset:
    """Read the PNGs of `stuffthingmaps_trainval2017.zip`, the MATLAB files of COCO-Stuff 10k, or `stuff_val2017.json`.

    The classes of maps are the 171 that are evaluated; the ids between them and 255 are unlabeled.
    """
    folder, sets = source.folder, find_stuff_maps(source.folder)
    if source.path.is_file() or (not sets and any((folder / "annotations").glob("stuff*.json"))):
        return read_coco(source, panoptic=False)
    ids = {entry["stuffthing_id"]: entry["train_id"] for entry in read_class_list("coco_stuff171_ids")}
    ids = dict.fromkeys((*range(182), 255), UNLABELED) | ids
    if any((folder / "annotations").glob("*.mat")):
        return _coco_stuff_10k(source, {index + 1: label for index, label in ids.items() if index != 255})
    if not sets:
        raise UsageError(
            f"{str(source.path)!r} has no folder stuffthingmaps or annotations with PNGs of a set such as val2017; "
            "unpack stuffthingmaps_trainval2017.zip there"
        )
    split, maps = _chosen(source, sets)
    images = next((place for place in (folder / "images" / split, folder / split) if place.is_dir()), maps)
    has_ids = any(not path.stem.endswith(_COCO_TRAIN_IDS) for path in maps.glob("*.png"))
    labels = ids if has_ids else {label: label for label in range(171)} | {255: UNLABELED}
    layout = MapLayout(
        names=class_names("coco"),
        annotation=lambda path: MapFile(path=path, labels=labels),
        images=images,
        maps=maps,
        endings=("" if has_ids else _COCO_TRAIN_IDS,),
        is_map=lambda path: path.suffix.lower() == ".png" and path.stem.endswith(_COCO_TRAIN_IDS) != has_ids,
    )
    return _dataset(source, layout)


def _coco_stuff_10k(source: DatasetSource, labels: Mapping[int, int]) -> FoundDataset:
    """Its MATLAB files, in which 0 is unlabeled and the others are the ids of the PNGs plus one."""
    layout = MapLayout(
        names=class_names("coco"),
        annotation=lambda path: MapFile(path=path, labels={0: UNLABELED, **labels}, read=_matlab_values),
        images=source.folder / "images",
        maps=source.folder / "annotations",
        is_map=lambda path: path.suffix.lower() == ".mat",
    )
    images = _images(source, layout)
    if source.split is not None:
        lists = {file.stem: file for file in sorted((source.folder / "imageLists").glob("*.txt"))}
        wanted = set(read_lines(chosen_set(source, lists, "lists in imageLists")))
        images = [image for image in images if image.stem in wanted]
    return FoundDataset(names=layout.names, images=images, has_outside=False)


def _matlab_values(path: Path) -> np.ndarray:
    return read_matlab_array(path, "S").astype(np.int64)


# ---- VOC


def find_voc(folder: Path) -> Path | None:
    """The folder with `SegmentationClass` in or below a folder; None without one."""
    places = (folder / below for below in ("", "VOC2012", "VOCdevkit/VOC2012"))
    return next((place for place in places if (place / "SegmentationClass").is_dir()), None)


def read_voc(source: DatasetSource) -> FoundDataset:
    """Read label maps in `SegmentationClass`: palette PNGs, or RGB ones in the colors of `labelmap.txt`.

    Without that file, the classes are those of `class_names.txt`, or else VOC's own. The dataset's path may be that of
    a list in `ImageSets/Segmentation`, which its split chooses too.
    """
    start = source.folder.parent.parent if source.path.is_file() else source.folder
    root = find_voc(start)
    if root is None:
        raise UsageError(f"{str(source.path)!r} has no folder SegmentationClass; check the path")
    names, colors = _voc_classes(root)
    labels = {index: index for index in range(len(names))} | {255: UNLABELED}
    images = []
    for stem in _voc_stems(source, root):
        try:
            path = root / "SegmentationClass" / safe_path(f"{stem}.png")
            image = _image_of(source.images or root / "JPEGImages", stem)
        except ValueError as error:
            images.append(broken(source.path, stem, str(error)))
            continue
        objects = root / "SegmentationObject" / path.relative_to(root / "SegmentationClass")
        annotation = MapFile(
            path=path, labels=labels, colors=colors, objects_path=objects if objects.is_file() else None
        )
        images.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=annotation))
    background = names[0] if names[0] == VOC_BACKGROUND else None
    return FoundDataset(names=names, images=images, background=background, has_outside=False)


def _voc_stems(source: DatasetSource, root: Path) -> list[str]:
    lists = {file.stem: read_lines(file) for file in sorted((root / "ImageSets/Segmentation").glob("*.txt"))}
    if source.path.is_file():
        stems = read_lines(source.path)
    elif lists and source.split is None and all(lines == next(iter(lists.values())) for lines in lists.values()):
        stems = next(iter(lists.values()))  # as segvoc writes them: nobody has divided the images
    elif lists:
        stems = chosen_set(source, lists, "lists in ImageSets/Segmentation")
    else:
        folder = root / "SegmentationClass"
        stems = [_stem(file, folder) for file in visible_files(folder, lambda path: path.suffix.lower() == ".png")]
    return [stem.strip() for stem in stems if stem.strip()]


def _key(red: int, green: int, blue: int) -> int:
    return red << 16 | green << 8 | blue


def _voc_palette() -> list[int]:
    return [_key(*color) for color in voc_colors().tolist()]


def _voc_classes(root: Path) -> tuple[tuple[str, ...], dict[int, int]]:
    """The names, in the order of their indices, and the label of each color."""
    palette = _voc_palette()
    found: dict[str, int] = {}
    if (file := root / "labelmap.txt").is_file():
        for line in read_lines(file):
            if not line.strip() or line.startswith("#"):
                continue
            name, color = [*(part.strip() for part in line.split(":")), ""][:2]
            numbers = re.fullmatch(r"(\d{1,3}),(\d{1,3}),(\d{1,3})", color.replace(" ", ""))
            if not name or name in found or not (numbers or not color):
                raise damaged(file, f"the line {line[:60]!r} isn't a new name and its color, name:red,green,blue::")
            if name.lower() not in (VOC_IGNORED, "void"):
                found[name] = _key(*map(int, numbers.groups())) if numbers else palette[len(found) % 256]
    elif (file := root / "class_names.txt").is_file():  # labelme2voc's, in which "_background_" is index 0
        names = [line.strip() for line in read_lines(file) if line.strip()]
        found = dict(zip([VOC_BACKGROUND if name == "_background_" else name for name in names], palette, strict=False))
    else:
        found = dict(zip(class_names("voc21"), palette, strict=False))
    if not found:
        raise damaged(file, "it has no class")
    return tuple(found), {color: label for label, color in enumerate(found.values())} | {palette[255]: UNLABELED}


def _image_of(folder: Path, stem: str) -> Path:
    """The image with this name; `.jpg` if there is none."""
    base = folder / safe_path(stem)
    for suffix in (".jpg", ".png", ".jpeg", *sorted(IMAGE_SUFFIXES)):
        for spelling in (suffix, suffix.upper()):
            path = base.with_name(base.name + spelling)
            if path.exists():
                return path
    return base.with_name(f"{base.name}.jpg")


# ---- folders of masks with a table of their classes

TABLE_SUFFIXES = (".txt", ".csv", ".json")

_TABLE_NAMES = (
    *("classes", "class_names", "class_dict", "class_list", "labels", "label_colors", "label_map", "labelmap"),
    *("label_names", "names", "codes", "colormap", "color_map", "colors", "palette", "id2label", "categories"),
    "_classes",
)
"""What tables are called, without suffix, the first choice first."""

_IMAGES = ("images", "image", "imgs", "img", "JPEGImages", "photos")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "annotation", "segmentations", "gt", "SegmentationClass")
_BESIDE = ("_labels", "_masks", "_annotations", "_label", "_mask", "_gt", "annot")
"""What the name of a folder of masks may have after that of its images: "train" and "train_labels"."""

_ENDINGS = ("", "_mask", "_masks", "_label", "_labels", "_L", "_P", "_seg", "_gt", "_segmentation", "_labelIds")
"""What the name of a mask may have after that of its image."""

_Pair = tuple[Path, Path]
"""The folders of images and masks."""


def find_pairs(folder: Path) -> dict[str, _Pair]:
    """The pairs of folders in a dataset by the names of its sets; a dataset without sets has "".

    These are `images/train` with `masks/train`, `train/images` with `train/masks`, `train` with `train_masks`, or
    `images` with `masks`; or else one folder is both, with `train/a.jpg` and `train/a_mask.png`.
    """
    if (pair := _pair(folder)) is not None:
        images, masks = pair
        inside = _sets(images, "*")
        sets = [name for name in _sets(masks, "*") if name in inside]
        if not sets or any(path.suffix.lower() in MASK_SUFFIXES for path in masks.iterdir()):
            return {"": pair}
        return {name: (images / name, masks / name) for name in sets}
    folders = _sets(folder, "*")
    pairs = {name: pair for name, path in folders.items() if (pair := _pair(path)) is not None}
    for name, path in folders.items():
        beside = [folders[f"{name}{ending}"] for ending in _BESIDE if f"{name}{ending}" in folders]
        if beside and name not in pairs:
            pairs[name] = path, beside[0]
    if pairs:
        return pairs
    mixed = {name: path for name, path in {"": folder, **folders}.items() if any(map(_is_beside, path.iterdir()))}
    return {name: (path, path) for name, path in mixed.items()}


def _pair(folder: Path) -> _Pair | None:
    images = [folder / name for name in _IMAGES if (folder / name).is_dir()]
    masks = [folder / name for name in _MASKS if (folder / name).is_dir()]
    return (images[0], masks[0]) if images and masks else None


def _is_beside(path: Path) -> bool:
    """Whether a file's name is that of a mask in the folder of its image, as Roboflow and DeepGlobe have them."""
    return path.suffix.lower() in MASK_SUFFIXES and path.stem.endswith("_mask")


def _find_table(folder: Path) -> Path | None:
    """The table of classes in a folder, or beside the masks in it; None without one."""
    pairs = find_pairs(folder).values()
    names = [f"{name}{suffix}" for name in _TABLE_NAMES for suffix in TABLE_SUFFIXES]
    for place in dict.fromkeys((folder, *(masks for _, masks in pairs), *(masks.parent for _, masks in pairs))):
        files = {path.name.lower(): path for path in place.iterdir() if path.suffix.lower() in TABLE_SUFFIXES}
        if found := [files[name] for name in names if name in files]:
            return found[0]
    return None


def is_label_table(path: Path) -> bool:
    """Whether a file is a table of classes with images and masks beside it."""
    try:
        return bool(find_pairs(path.parent)) and bool(read_label_table(path).names)
    except (DamagedDatasetError, OSError):
        return False


def has_masks(folder: Path) -> bool:
    """Whether a folder has images and masks, with a table of classes."""
    pairs = find_pairs(folder).values()
    masks = (visible_files(folder, lambda path: path.suffix.lower() in MASK_SUFFIXES) for _, folder in pairs)
    return any(masks) and _find_table(folder) is not None


def read_masks(source: DatasetSource) -> FoundDataset:
    """Read images and masks of the same names in two folders, with a table of their classes."""
    pairs = find_pairs(source.folder)
    if not pairs:
        raise UsageError(
            f"{str(source.path)!r} has no two folders of images and masks; call them images and masks, "
            "or train and train_masks"
        )
    path = source.path if source.path.is_file() else _find_table(source.folder)
    if path is None:
        raise UsageError(
            f"{str(source.path)!r} has no table of its classes; write classes.txt with a line for each, "
            "'0 background' or '128,64,128 road'"
        )
    images, masks = chosen_set(source, pairs, "sets")
    layout = _with_table(read_label_table(path), images, masks, _ENDINGS)
    if images == masks:
        layout = replace(layout, image_ending="_sat", endings=("_mask",), is_map=_is_beside)
    return _dataset(source, layout)


def _with_table(table: LabelTable, images: Path, maps: Path, endings: Sequence[str]) -> MapLayout:
    def annotation(path: Path) -> MapFile:
        return MapFile(path=path, labels=table.indices, colors=table.colors, palette_is_colors=table.has_colors_alone)

    return MapLayout(names=table.names, annotation=annotation, images=images, maps=maps, endings=endings)


# ---- CamVid, which is one of these

_STILLS, _APPROVED = "701_StillsRaw_full", "LabeledApproved_full"

_SEGNET_CLASSES = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist"),
)
"""The classes of SegNet's version in the order of their indices; 11 is unlabeled."""


def is_camvid(folder: Path) -> bool:
    """Whether a folder has CamVid's folders, or those of SegNet's version."""
    return any((folder / name).is_dir() for name in (_STILLS, _APPROVED)) or bool(_segnet_pairs(folder))


def _segnet_pairs(folder: Path) -> dict[str, _Pair]:
    maps = _sets(folder, "?*annot")
    names = {path.name.removesuffix("annot"): path for path in maps.values()}
    return {name: (folder / name, path) for name, path in names.items() if (folder / name).is_dir()}


def read_camvid(source: DatasetSource) -> FoundDataset:
    """Read CamVid: `LabeledApproved_full` in colors with 32 classes, or `trainannot`, ... in indices with SegNet's 11.

    The classes are those of `label_colors.txt` or `class_dict.csv`, else CamVid's own. Void is unlabeled. CVAT writes
    the second layout with a table, whose colors its maps then have.
    """
    folder, pairs = source.folder, _segnet_pairs(source.folder)
    places = [place / name for place in (folder, folder / _APPROVED) for name in ("label_colors.txt", "class_dict.csv")]
    own = CLASS_LIST_FOLDER / "camvid32.json"
    file = source.path if source.path.is_file() else next((place for place in places if place.is_file()), own)
    images, maps = chosen_set(source, pairs or {"": (folder / _STILLS, folder / _APPROVED)}, "sets")
    if pairs and file == own:
        labels = {index: index for index in range(len(_SEGNET_CLASSES))}
        labels |= {len(_SEGNET_CLASSES): UNLABELED, 255: UNLABELED}
        table = LabelTable(names=_SEGNET_CLASSES, indices=labels, colors=None, has_colors_alone=False)
    else:
        table = read_label_table(file)
        if table.colors is None:  # the colors of a table of names are VOC's
            palette = _voc_palette()
            table = replace(table, colors={palette[at]: label for at, label in table.indices.items() if at < 255})
    return _dataset(source, _with_table(table, images, maps, ("_L", "")))
