"""The table of dataset formats, a line each: detection, options, help and errors follow from it."""

from collections.abc import Mapping
from typing import TypeVar

from segvoc.errors import UsageError
from segvoc.labeling.formats.base import DatasetFormat, FormatWriter
from segvoc.labeling.formats.class_masks import MASKS_BY_CLASS
from segvoc.labeling.formats.coco import COCO_INSTANCES, COCO_PANOPTIC
from segvoc.labeling.formats.cvat import CVAT, CVAT_VIDEO
from segvoc.labeling.formats.huggingface import HUGGING_FACE
from segvoc.labeling.formats.label_studio import LABEL_STUDIO
from segvoc.labeling.formats.labelme import LABELME
from segvoc.labeling.formats.map_folders import ADE20K, CITYSCAPES, COCO_STUFF, MASKS
from segvoc.labeling.formats.project import PROJECT
from segvoc.labeling.formats.voc import VOC
from segvoc.labeling.formats.yolo import YOLO_SEG

_Of = TypeVar("_Of")

FORMATS: tuple[DatasetFormat, ...] = (
    COCO_PANOPTIC,
    COCO_INSTANCES,
    CVAT,
    CVAT_VIDEO,
    YOLO_SEG,
    VOC,
    LABEL_STUDIO,
    MASKS_BY_CLASS,
    MASKS,
    LABELME,
    CITYSCAPES,
    ADE20K,
    COCO_STUFF,
    PROJECT,
    HUGGING_FACE,
)
"""All formats. Of several that a folder or a file looks like, the first counts."""


def readers() -> dict[str, DatasetFormat]:
    """All formats by name, as all are read."""
    return {format.name: format for format in FORMATS}


def writers(*, of_videos: bool = False) -> dict[str, type[FormatWriter]]:
    """What writes the formats that are written, by their names; those of videos only if asked for."""
    found = {format.name: format.writer for format in FORMATS if format.writer is not None}
    return {name: writer for name, writer in found.items() if of_videos or not writer.of_videos}


def named(name: str, formats: Mapping[str, _Of]) -> _Of:
    """One of `readers` or `writers`; `UsageError` if there is none of this name."""
    if name not in formats:
        raise UsageError(f"format {name!r} is unknown; it is one of {', '.join(formats)}")
    return formats[name]
