"""VOC and Cityscapes: folders with maps for each image."""

import re
from pathlib import Path

from segvoc.data.class_lists import class_names, read_class_list
from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, broken
from segvoc.data.datasets.fields import damaged, read_lines
from segvoc.data.datasets.maps import UNLABELED_INDEX, IndexMap
from segvoc.data.datasets.places import DatasetSource, chosen_set, visible_files
from segvoc.errors import UsageError
from segvoc.formats.voc import VOC_BACKGROUND, VOC_IGNORED, voc_colors
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED
from segvoc.storage.safe_paths import safe_path

CITYSCAPES_IDS = 35
"""The number of Cityscapes' ids."""

CITYSCAPES_FIRST_INSTANCES = 24
"""From this id (person) on, Cityscapes has instances."""

_CITYSCAPES_FACTOR = 1000
"""What an id is multiplied by before the number of an instance is added."""

_VOC_FOLDERS = ("", "VOC2012", "VOCdevkit/VOC2012")


_TRAIN_IDS, _INSTANCE_IDS = "_gtFine_labelTrainIds.png", "_gtFine_instanceIds.png"
_CITYSCAPES_ENDINGS = ("_gtFine_labelIds.png", _TRAIN_IDS, _INSTANCE_IDS)
"""Of the maps of classes, the first choice first; each can be made of the polygons that Cityscapes brings."""


def find_voc(folder: Path) -> Path | None:
    """The folder with `SegmentationClass` in or below a folder; None without one."""
    places = (folder / below for below in _VOC_FOLDERS)
    return next((place for place in places if (place / "SegmentationClass").is_dir()), None)


def read_voc(source: DatasetSource) -> FoundDataset:
    """Read label maps in `SegmentationClass`: palette PNGs, or RGB ones in the colors of `labelmap.txt`.

    Without that file, the classes are those of `class_names.txt`, or else VOC's own.

    Args:
        source: the folder with `SegmentationClass`, `VOCdevkit`, or a list in `ImageSets/Segmentation`, which `split`
            chooses too.

    Raises:
        UsageError: there is no such folder or list, or a file is damaged.
    """
    start = source.folder.parent.parent if source.path.is_file() else source.folder
    root = find_voc(start)
    if root is None:
        raise UsageError(f"{str(source.path)!r} has no folder SegmentationClass; check the path")
    names, colors = _voc_classes(root)
    labels = {index: index for index in range(len(names))} | UNLABELED_INDEX
    lists = {file.stem: read_lines(file) for file in sorted((root / "ImageSets/Segmentation").glob("*.txt"))}
    if source.path.is_file():
        stems = read_lines(source.path)
    elif lists and source.split is None and all(lines == next(iter(lists.values())) for lines in lists.values()):
        stems = next(iter(lists.values()))  # as segvoc writes them: nobody has divided the images
    elif lists:
        stems = chosen_set(source, lists, "lists in ImageSets/Segmentation")
    else:
        folder = root / "SegmentationClass"
        files = visible_files(folder, lambda path: path.suffix.lower() == ".png")
        stems = [file.relative_to(folder).with_suffix("").as_posix() for file in files]
    stems = [stem.strip() for stem in stems if stem.strip()]
    images = []
    for stem in stems:
        try:
            path = root / "SegmentationClass" / safe_path(f"{stem}.png")
            image = _image_of(source.images or root / "JPEGImages", stem)
        except ValueError as error:
            images.append(broken(source.path, stem, str(error)))
            continue
        instances = root / "SegmentationObject" / path.relative_to(root / "SegmentationClass")
        annotation = IndexMap(
            path=path, labels=labels, colors=colors, instances=instances if instances.is_file() else None
        )
        images.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=annotation))
    return FoundDataset(
        names=names, images=images, background=names[0] if names[0] == VOC_BACKGROUND else None, has_outside=False
    )


def _voc_classes(root: Path) -> tuple[tuple[str, ...], dict[tuple[int, int, int], int]]:
    """The names, in the order of their indices, and the label of each color."""
    file = root / "labelmap.txt"
    palette = [(red, green, blue) for red, green, blue in voc_colors().tolist()]
    ignored = {palette[255]: UNLABELED}
    if not file.is_file():
        of_labelme = root / "class_names.txt"
        names = _labelme_names(of_labelme) if of_labelme.is_file() else class_names("voc21")
        return names, {color: label for label, color in enumerate(palette[: len(names)])} | ignored
    found: dict[str, tuple[int, int, int]] = {}
    for line in read_lines(file):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split(":")]
        numbers = re.fullmatch(r"(\d{1,3}),(\d{1,3}),(\d{1,3})", [*parts, ""][1].replace(" ", ""))
        if not parts[0] or parts[0] in found or not (numbers or parts[1:2] in ([], [""])):
            raise damaged(file, f"the line {line[:60]!r} isn't a new name and its color, name:red,green,blue::")
        red, green, blue = map(int, numbers.groups()) if numbers else palette[len(found) % 256]
        if parts[0].lower() not in (VOC_IGNORED, "void"):
            found[parts[0]] = red, green, blue
    if not found:
        raise damaged(file, "it has no class")
    return tuple(found), {color: label for label, color in enumerate(found.values())} | ignored


def _labelme_names(file: Path) -> tuple[str, ...]:
    """The names in `class_names.txt`, as `labelme2voc` writes it, in which "_background_" is index 0."""
    names = tuple(line.strip() for line in read_lines(file) if line.strip())
    if not names:
        raise damaged(file, "it has no class")
    return (VOC_BACKGROUND if names[0] == "_background_" else names[0], *names[1:])


def read_cityscapes(source: DatasetSource) -> FoundDataset:
    """Read `gtFine/<split>/<city>/*_gtFine_labelIds.png`, or `_labelTrainIds.png`, or only `_instanceIds.png`.

    The classes are the 19 that Cityscapes evaluates.

    Args:
        source: the folder with `gtFine` and `leftImg8bit`.

    Raises:
        UsageError: there is no such folder, or it has several sets.
    """
    maps = source.folder / "gtFine"
    if not maps.is_dir():
        raise UsageError(f"{str(source.path)!r} has no folder gtFine; check the path")
    split = chosen_set(source, {path.name: path for path in maps.iterdir() if path.is_dir()} or {"": maps}, "sets")
    names, labels = class_names("cityscapes19"), cityscapes_labels()
    files = visible_files(split, lambda path: path.suffix.lower() == ".png")
    ending = next((one for one in _CITYSCAPES_ENDINGS if any(path.name.endswith(one) for path in files)), None)
    if ending is None:
        raise UsageError(f"{str(split)!r} has no files *{_CITYSCAPES_ENDINGS[0]}; make them with cityscapesScripts")
    if ending == _TRAIN_IDS:
        labels = {label: label for label in range(len(names))} | UNLABELED_INDEX
    images = []
    for path in (path for path in files if path.name.endswith(ending)):
        stem = path.relative_to(split).as_posix().removesuffix(ending)
        folder = source.images or source.folder / "leftImg8bit" / split.name
        image = _image_of(folder, f"{stem}_leftImg8bit")
        instances = path.with_name(path.name.replace(ending, _INSTANCE_IDS))
        annotation = IndexMap(
            path=path,
            labels=labels,
            factor=_CITYSCAPES_FACTOR if ending == _INSTANCE_IDS else None,
            instances=instances if instances.is_file() else None,
            first_instance=_CITYSCAPES_FACTOR,
        )
        images.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=annotation))
    return FoundDataset(names=names, images=images, has_outside=False)


def cityscapes_labels() -> dict[int, int]:
    """The label of each of Cityscapes' ids; those of the 19 classes alone have one."""
    ids = {int(number): label for number, label in read_class_list("cityscapes19_ids").items()}
    return dict.fromkeys((*range(CITYSCAPES_IDS), 255), UNLABELED) | ids


def _image_of(folder: Path, stem: str) -> Path:
    """The image with this name; `.jpg` if there is none."""
    base = folder / safe_path(stem)
    for suffix in (".jpg", ".png", ".jpeg", *sorted(IMAGE_SUFFIXES)):
        for spelling in (suffix, suffix.upper()):
            path = base.with_name(base.name + spelling)
            if path.exists():
                return path
    return base.with_name(f"{base.name}.jpg")
