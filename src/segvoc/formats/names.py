"""The names of the formats."""

from typing import Literal, get_args

FormatName = Literal[
    "coco-panoptic",
    "coco-instances",
    "labelme",
    "cvat",
    "yolo-seg",
    "voc",
    "label-studio",
]
"""A format of datasets; docs/how_to/formats.md says what each keeps."""

FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)

PublishedName = Literal["cityscapes", "ade20k", "mapillary-vistas", "camvid", "kitti", "coco-stuff", "masks"]
"""A format of datasets as they are published, which are only read; "masks" are folders with a table of classes."""

DatasetName = Literal[FormatName, PublishedName, "project", "huggingface"]
"""A format of datasets that are read: also a project of ours, of which the images that are done count, and a folder
that `save_to_disk` of Hugging Face's `datasets` wrote."""

DATASET_NAMES: tuple[DatasetName, ...] = (*FORMAT_NAMES, *get_args(PublishedName), "project", "huggingface")
