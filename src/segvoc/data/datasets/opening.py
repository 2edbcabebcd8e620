"""Opens a dataset, detecting its format by its files."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from segvoc.data.datasets.annotated_images import DatasetSource, ParsedDataset, json_content, visible_files
from segvoc.data.datasets.coco import loose_coco_files, read_coco
from segvoc.data.datasets.cvat import find_xml, read_cvat
from segvoc.data.datasets.huggingface import is_saved, read_saved
from segvoc.data.datasets.label_studio import find_exports, is_export, read_label_studio
from segvoc.data.datasets.labelme import read_labelme
from segvoc.data.datasets.map_folders import (
    MAP_LAYOUTS,
    find_pairs,
    find_voc,
    has_masks,
    is_cvats,
    read_masks,
    read_published,
    read_voc,
)
from segvoc.data.datasets.maps import PROJECT_FORMAT, is_project, read_project
from segvoc.data.datasets.yolo import find_yaml, read_yolo
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import SkippedShapesWarning, UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.labeling.formats.dataset import DATASET_NAMES, DatasetName
from segvoc.runtime.suggestions import checked_call

_MOST_NEAR = 50
"""Max subfolders to search on each of two levels if a folder isn't a dataset."""


class _Format(NamedTuple):
    read: Callable[[DatasetSource], ParsedDataset]
    is_marked: Callable[[Path], bool] = lambda folder: False
    """Whether a folder has files or folders that no other format has."""


def _has(*patterns: str) -> Callable[[Path], bool]:
    return lambda folder: any(any(folder.glob(pattern)) for pattern in patterns)


_FORMATS: dict[DatasetName, _Format] = {
    "project": _Format(read_project, is_project),
    "coco-panoptic": _Format(partial(read_coco, panoptic=True), _has("annotations/panoptic*.json")),
    "coco-instances": _Format(
        partial(read_coco, panoptic=False), _has("annotations/instances*.json", "annotations/stuff*.json")
    ),
    "cvat": _Format(read_cvat, lambda folder: bool(find_xml(folder))),
    "yolo-seg": _Format(read_yolo, lambda folder: find_yaml(folder) is not None),
    "voc": _Format(read_voc, lambda folder: find_voc(folder) is not None),
    "label-studio": _Format(read_label_studio, lambda folder: bool(find_exports(folder))),
    "huggingface": _Format(read_saved, is_saved),
    "labelme": _Format(read_labelme),
    "masks": _Format(read_masks),
}

_MAP_FORMATS: dict[DatasetName, _Format] = {
    name: _Format(partial(read_published, layout=layout), _has(*layout.marks)) for name, layout in MAP_LAYOUTS.items()
}
"""Considered if no other format is there: COCO's folders have stuff maps beside the instances."""


@checked_call
def read_dataset(
    path: str | os.PathLike[str],
    format: DatasetName | str | None = None,
    *,
    images: str | os.PathLike[str] | None = None,
    split: str | None = None,
    background: str | None = None,
) -> LabeledImages:
    """Read a dataset in another program's format, for `evaluate` and `train`.

        dataset = segvoc.read_dataset("coco/", split="val2017")
        report = segvoc.evaluate(segvoc.load("tiny"), dataset, "report/")

    Labels are drawn when an image is read, so opening only reads the annotation files. A missing image or a damaged
    annotation raises an `InputError` when it is read.

    Args:
        path: the folder of the dataset, or its annotation file (COCO's JSON, CVAT's XML, a class table).
        format: "coco-panoptic", "voc", "ade20k", "masks", ...; None: detect.
        images: the folder of the images, if outside the dataset.
        split: the set to read, if there are several: "train", "val", ...
        background: the class that stands for "none of the others". If labels are shapes, it covers the pixels outside
            all shapes, and is added to the classes if missing.

    Raises:
        UsageError: the dataset doesn't exist, its format is ambiguous, it has several sets and `split` is None, or an
            annotation file is damaged.
    """
    if not os.path.exists(path):
        raise UsageError(f"the dataset {os.fspath(path)!r} does not exist; check the path")
    if images is not None and not os.path.isdir(images):
        raise UsageError(f"the folder {os.fspath(images)!r} does not exist; check the path")
    source = DatasetSource(path=Path(path), images=None if images is None else Path(images), split=split)
    formats: Mapping[str, _Format] = {**_FORMATS, **_MAP_FORMATS}
    if format is not None and format not in formats:
        raise UsageError(f"format {format!r} is unknown; it is one of {', '.join(DATASET_NAMES)}")
    try:
        parsed = formats[format or dataset_format(source.path)].read(source)
    except OSError as error:
        raise UsageError(f"{str(error.filename or source.path)!r} can't be read: {error.strerror}; check it") from None
    if not parsed.images:
        raise UsageError(f"the dataset {os.fspath(path)!r} has no images; check the path")
    if skipped := Counter(kind for image in parsed.images for kind in image.annotation.skipped):
        kinds = ", ".join(f"{number} {kind}" for kind, number in skipped.most_common())
        line = f"skipped annotations without an area ({kinds}): {skipped.total()}"
        warnings.warn(f"{os.fspath(path)!r}: {line}; draw polygons or masks if they matter", SkippedShapesWarning, 2)
    if parsed.left_out:
        warnings.warn(f"{os.fspath(path)!r}: skipped {parsed.left_out}", SkippedShapesWarning, 2)
    dataset = parsed.labeled_images(_name(source), background)
    if not any(image.exists() for image in dataset.images):
        raise UsageError(
            f"{os.fspath(path)!r} has none of its images: {str(dataset.images[0].image)[:300]!r} is missing; "
            "give their folder with --images"
        )
    return dataset


def _name(source: DatasetSource) -> str:
    folder = source.folder.resolve()
    while folder.name in ("annotations", "ImageSets", "Segmentation"):
        folder = folder.parent
    return folder.name


def dataset_format(path: Path) -> DatasetName:
    """The format of a dataset by its folder or annotation file; `UsageError` if none matches, or several do."""
    formats = _formats_of_file(path) if path.is_file() else _formats_of_folder(path)
    if len(formats) == 1:
        return formats[0]
    if formats:
        what = f"could be {' or '.join(formats)}"
    elif (near := _near(path)) is not None:
        raise UsageError(f"no dataset in {str(path)!r}; did you mean {str(near)!r}?")
    else:
        if (foreign := _foreign(path)) is not None:
            raise UsageError(f"{str(path)!r} is {foreign}")
        what = "is not in any known dataset format"
        files = chain(path.glob("*"), path.glob("*/*"))
        if any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
            what += ": it has images without labels"
    raise UsageError(f"{str(path)!r} {what}; name its format with --dataset-format: {', '.join(DATASET_NAMES)}")


def _foreign(path: Path) -> str | None:
    """What a dataset of another program is, and how to export it; None: of none that is known."""
    patterns = ("*.json", "annotations/*.json", "*/*.json")
    files = [path] if path.is_file() else list(chain.from_iterable(islice(path.glob(one), 5) for one in patterns))
    for file in files:
        content: object = None
        with suppress(UsageError):
            content = json_content(file) if file.suffix.lower() == ".json" else None
        if isinstance(content, list) and _is_minimal(content):
            return "an export of Label Studio in JSON-MIN, which lacks image sizes; export it as JSON"
        if not isinstance(content, dict):
            continue
        if {"classes", "tags"} <= content.keys() and file.name == "meta.json":
            return "a Supervisely project; export it as COCO (Export to COCO), or as segmentation masks"
        entries = content.get("_via_img_metadata", content)
        first = next(iter(entries.values()), None) if isinstance(entries, dict) else None
        if isinstance(first, dict) and {"filename", "regions"} <= first.keys():
            return "an export of the VGG Image Annotator (VIA); export it as COCO (Annotation > Export, COCO format)"
        if {"categories", "items"} <= content.keys():
            return "a Datumaro dataset; convert it: datum convert -if datumaro -f coco_instances"
    return None


def _is_minimal(content: list[object]) -> bool:
    first = content[0] if content else None
    return isinstance(first, dict) and "data" not in first and any(_is_regions(value) for value in first.values())


def _is_regions(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "original_width" in value[0]


def _near(folder: Path) -> Path | None:
    """A parent or child folder that is certainly a dataset; None for a file."""
    if not folder.is_dir():
        return None
    below = [path for pattern in ("*/", "*/*/") for path in sorted(islice(folder.glob(pattern), _MOST_NEAR))]
    for near in (*below, *list(folder.resolve().parents)[:3]):
        with suppress(OSError, UsageError):
            if near.name[:1] != "." and marked_formats(near):
                return near
    return None


def _formats_of_file(path: Path) -> list[DatasetName]:
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return ["cvat"]
    if suffix in (".yaml", ".yml"):
        return ["yolo-seg"]
    if suffix == ".txt" and path.parent.name == "Segmentation":
        return ["voc"]
    if suffix == ".json" and (of_json := _formats_of_json(path)):
        return of_json
    return ["masks"] if suffix in (".txt", ".csv", ".json") and find_pairs(path.parent) else []


def _formats_of_json(path: Path) -> list[DatasetName]:
    content = json_content(path)
    if isinstance(content, list):
        return ["label-studio"] if is_export(content) else []
    if not isinstance(content, dict):
        return []
    if content.get("format") == PROJECT_FORMAT:
        return ["project"]
    if isinstance(content.get("annotations"), list):
        first = next(iter(content["annotations"]), None)
        return ["coco-panoptic" if isinstance(first, dict) and "segments_info" in first else "coco-instances"]
    return []


def _formats_of_folder(folder: Path) -> list[DatasetName]:
    if is_cvats(folder):
        return ["masks"]
    if formats := marked_formats(folder):
        return formats
    annotations = sorted((folder / "annotations").glob("*.json"))
    if len(annotations) == 1:
        return _formats_of_json(annotations[0])
    if (loose := sorted(loose_coco_files(folder).values())) and (formats := _formats_of_json(loose[0])):
        return formats
    if has_masks(folder):
        return ["masks"]
    for path in visible_files(folder, (".json",))[:20]:
        with suppress(UsageError):
            content = json_content(path)
            if isinstance(content, dict) and "shapes" in content:
                return ["labelme"]
    return []


def marked_formats(folder: Path) -> list[DatasetName]:
    """List the formats whose unique files or folders exist in a folder; a project, regardless of other files."""
    for formats in (_FORMATS, _MAP_FORMATS):
        marked: list[DatasetName] = [name for name, layout in formats.items() if layout.is_marked(folder)]
        if marked:
            return ["project"] if "project" in marked else marked
    return []
