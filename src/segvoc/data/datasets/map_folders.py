"""VOC, Cityscapes and cut-outs: folders with maps for each image."""

import re
from pathlib import Path

from segvoc.data.class_lists import class_names, read_class_list
from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, broken
from segvoc.data.datasets.fields import Entry, damaged, json_content, naming_damage, read_lines
from segvoc.data.datasets.maps import UNLABELED_INDEX, CutOuts, IndexMap
from segvoc.data.datasets.places import DatasetSource, chosen_set, visible_files
from segvoc.data.labeled_images import read_classes
from segvoc.errors import UsageError
from segvoc.formats.cityscapes import CITYSCAPES_FACTOR, LABELS_FILE
from segvoc.formats.rgba import cutout_names
from segvoc.formats.voc import VOC_BACKGROUND, VOC_IGNORED, voc_colors
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED
from segvoc.storage.safe_paths import safe_path

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

    The classes are those of `labels.json`, which `segvoc segment` writes; else the 19 that Cityscapes evaluates.

    Args:
        source: the folder with `gtFine` and `leftImg8bit`.

    Raises:
        UsageError: there is no such folder, or it has several sets, or `labels.json` is damaged.
    """
    maps = source.folder / "gtFine"
    if not maps.is_dir():
        raise UsageError(f"{str(source.path)!r} has no folder gtFine; check the path")
    split = chosen_set(source, {path.name: path for path in maps.iterdir() if path.is_dir()} or {"": maps}, "sets")
    names, labels = _cityscapes_classes(source.folder / LABELS_FILE)
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
            factor=CITYSCAPES_FACTOR if ending == _INSTANCE_IDS else None,
            instances=instances if instances.is_file() else None,
            first_instance=CITYSCAPES_FACTOR,
        )
        images.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=annotation))
    return FoundDataset(names=names, images=images, has_outside=False)


def _cityscapes_classes(file: Path) -> tuple[list[str], dict[int, int]]:
    if not file.is_file():
        ids = {int(number): label for number, label in read_class_list("cityscapes19_ids").items()}
        everything = dict.fromkeys((*range(34), 255), UNLABELED)
        return list(class_names("cityscapes19")), everything | ids
    with naming_damage(file):
        content = json_content(file)
        if not isinstance(content, list):
            raise ValueError("it is no list")
        entries = [Entry(entry, f"entry {number}") for number, entry in enumerate(content)]
        ids = {entry.whole("id"): label for label, entry in enumerate(entries)}
        return [entry.text("name") for entry in entries], {0: UNLABELED} | ids


def read_cutouts(source: DatasetSource) -> FoundDataset:
    """Read `cutouts/photo/cat.png`, RGBA images that are opaque where the word is, with `images/photo.jpg`.

    The classes are those of `classes.json`, or else the names of all cut-outs, in alphabetical order.

    Args:
        source: the folder with `cutouts`.

    Raises:
        UsageError: there is no such folder, or `classes.json` is damaged.
    """
    folder = source.folder / "cutouts"
    if not folder.is_dir():
        raise UsageError(f"{str(source.path)!r} has no folder cutouts; check the path")
    by_stem: dict[str, list[Path]] = {}
    for path in visible_files(folder, lambda path: path.suffix.lower() == ".png"):
        by_stem.setdefault(path.parent.relative_to(folder).as_posix(), []).append(path)
    classes = source.folder / "classes.json"
    if classes.is_file():
        names = list(read_classes(classes).words)
    else:
        names = sorted({path.stem for paths in by_stem.values() for path in paths})
    labels = {name: label for label, name in enumerate(cutout_names(names))}
    images = []
    for stem, paths in by_stem.items():
        unknown = [path for path in paths if path.stem not in labels]
        if unknown:
            images.append(broken(unknown[0], stem, f"classes.json lacks {unknown[0].stem!r}"))
            continue
        annotation = CutOuts(files=tuple((labels[path.stem], path) for path in paths))
        image = _image_of(source.images or source.folder / "images", stem)
        images.append(AnnotatedImage(image=image, labels=paths[0], stem=stem, annotation=annotation))
    return FoundDataset(names=names, images=images)


def _image_of(folder: Path, stem: str) -> Path:
    """The image with this name; `.jpg` if there is none."""
    base = folder / safe_path(stem)
    for suffix in (".jpg", ".png", ".jpeg", *sorted(IMAGE_SUFFIXES)):
        for spelling in (suffix, suffix.upper()):
            path = base.with_name(base.name + spelling)
            if path.exists():
                return path
    return base.with_name(f"{base.name}.jpg")
