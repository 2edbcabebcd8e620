"""Opens a dataset, detecting its format by its files."""

import os
import stat
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import SkippedShapesWarning, UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.labeling.formats.base import DatasetFormat
from segvoc.labeling.formats.coco import coco_index
from segvoc.labeling.formats.parsed import DatasetSource
from segvoc.labeling.formats.shapes import in_pixels
from segvoc.labeling.formats.table import named, readers
from segvoc.labeling.formats.untrusted_files import json_content
from segvoc.runtime.suggestions import checked_call

_MOST_NEAR = 50
"""Max subfolders to search on each of two levels if a folder isn't a dataset."""


@checked_call
def read_dataset(
    path: str | os.PathLike[str],
    format: str | None = None,
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
    chosen = None if format is None else named(format, readers())
    try:
        parsed = (chosen or dataset_format(source.path)).read(source)
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
    dataset = replace(parsed, images=in_pixels(parsed.images)).labeled_images(_name(source), background)
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


def dataset_format(path: Path) -> DatasetFormat:
    """The format of a dataset by its folder or annotation file; `UsageError` if none matches, or several do."""
    formats = ([] if path.is_file() else marked_formats(path)) or _alike(path)
    if len(formats) == 1:
        return formats[0]
    if formats:
        what = f"could be {' or '.join(format.name for format in formats)}"
    elif (near := _near(path)) is not None:
        raise UsageError(f"no dataset in {str(path)!r}; did you mean {str(near)!r}?")
    else:
        if (foreign := _foreign(path)) is not None:
            raise UsageError(f"{str(path)!r} is {foreign}")
        what = "is not in any known dataset format"
        files = chain(path.glob("*"), path.glob("*/*"))
        if any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
            what += ": it has images without labels"
    raise UsageError(f"{str(path)!r} {what}; name its format with --dataset-format: {', '.join(readers())}")


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
    if not isinstance(first, dict) or "data" in first:
        return False
    entries = [value[0] for value in first.values() if isinstance(value, list) and value]
    return any(isinstance(entry, dict) and "original_width" in entry for entry in entries)


def _near(folder: Path) -> Path | None:
    """A parent or child folder that is certainly a dataset, unless everybody writes to it (/tmp); None for a file."""
    if not folder.is_dir():
        return None
    below = [path for pattern in ("*/", "*/*/") for path in sorted(islice(folder.glob(pattern), _MOST_NEAR))]
    for near in (*below, *list(folder.resolve().parents)[:3]):
        with suppress(OSError, UsageError):
            is_shared = bool(near.stat().st_mode & stat.S_ISVTX)
            if near.name[:1] != "." and not is_shared and marked_formats(near):
                return near
    return None


def _alike(path: Path) -> list[DatasetFormat]:
    """The first format that a file, or a folder without marks, looks like."""
    formats, is_file = readers().values(), path.is_file()
    index = path if is_file else coco_index(path)
    if index is not None and index.suffix.lower() == ".json":
        content = json_content(index)
        if fitting := [format for format in formats if format.is_json(content)]:
            return fitting[:1]
    return [format for format in formats if (format.is_file if is_file else format.is_alike)(path)][:1]


def marked_formats(folder: Path) -> list[DatasetFormat]:
    """The formats whose unique files or folders exist in a folder, of the highest rank."""
    marked = [format for format in readers().values() if format.marks(folder)]
    highest = max((format.rank for format in marked), default=0)
    return [format for format in marked if format.rank == highest]
