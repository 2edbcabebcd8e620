"""The names of the formats."""

from typing import Literal, get_args

FormatName = Literal[
    "coco-panoptic", "coco-instances", "labelme", "cvat", "yolo-seg", "voc", "cityscapes", "label-studio", "rgba"
]
"""A format of datasets; docs/how_to/formats.md says what each keeps."""

FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)
