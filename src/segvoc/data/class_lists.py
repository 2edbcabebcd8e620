"""Class names and label ids of the benchmarks, read on demand from the files in `classes/`."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

CLASS_LIST_FOLDER = Path(__file__).parent / "classes"
"""Folder of the lists. Names are in label order, spelled exactly as in the data sets."""

ENGLISH_NAMES: Mapping[str, str] = {
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "tvmonitor": "tv monitor",
}
"""English spelling of the class names that the data sets write as one word."""


@cache
def read_class_list(name: str) -> Any:
    """The content of a JSON file in `CLASS_LIST_FOLDER`, by name without suffix; don't modify it."""
    return json.loads((CLASS_LIST_FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@cache
def class_names(name: str) -> tuple[str, ...]:
    """The class names of a list, in label order."""
    content = read_class_list(name)
    return tuple(content["class_names"] if isinstance(content, dict) else content)


@cache
def image_stems(name: str) -> tuple[str, ...]:
    """The stems of images in a text file of `CLASS_LIST_FOLDER`, one per line."""
    return tuple((CLASS_LIST_FOLDER / f"{name}.txt").read_text(encoding="utf-8").split())
