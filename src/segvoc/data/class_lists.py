"""Names and label ids of the benchmarks' classes: facts, in files beside this one, read when they are asked for."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

CLASS_LIST_FOLDER = Path(__file__).parent / "classes"
"""Where the lists are. The order of a list is that of the labels; names are spelled to the letter."""

IN_WORDS: Mapping[str, str] = {
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "tvmonitor": "tv monitor",
}
"""How names that the toolboxes write as one word are written in English."""


@cache
def read_list(name: str) -> Any:
    """What the file of a name holds; not to be changed."""
    return json.loads((CLASS_LIST_FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@cache
def class_names(name: str) -> tuple[str, ...]:
    """The names of the file, in the order of their labels."""
    content = read_list(name)
    return tuple(content["class_names"] if isinstance(content, dict) else content)


@cache
def picture_names(name: str) -> tuple[str, ...]:
    """The pictures that a text file of `CLASS_LIST_FOLDER` lists, a line each."""
    return tuple((CLASS_LIST_FOLDER / f"{name}.txt").read_text(encoding="utf-8").split())
