"""Tables that map the ids of original files to the labels of each benchmark; unknown ids are refused."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from segvoc.data.class_lists import read_class_list
from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import opened_image

UNKNOWN_ID = 65_534
"""Marks ids in a table that no file of the benchmark should contain."""


def _table(size: int, labels: Mapping[int, int], ignored: range | tuple[int, ...]) -> UInt16[np.ndarray, " N"]:
    table = np.full(size, UNKNOWN_ID, np.uint16)
    table[list(ignored)] = UNLABELED
    table[list(labels)] = list(labels.values())
    table.flags.writeable = False
    return table


@cache
def _coco_stuff() -> UInt16[np.ndarray, " N"]:
    labels = {entry["stuffthing_id"]: entry["train_id"] for entry in read_class_list("coco_stuff171_ids")}
    return _table(256, labels, (*range(182), 255))  # the gaps between the ids are ignored


@cache
def _coco_object() -> UInt16[np.ndarray, " N"]:
    things = {entry["stuffthing_id"]: entry["train_id"] + 1 for entry in read_class_list("coco_stuff171_ids")[:80]}
    return _table(256, dict.fromkeys((*range(182), 255), 0) | things, ())


@cache
def _context(background: bool) -> UInt16[np.ndarray, " N"]:
    ids: list[int] = read_class_list("pc59_ids")["ids"]
    labels = {category: position - (not background) for position, category in enumerate(ids) if category or background}
    return _table(460, labels, range(460))


@cache
def _cityscapes() -> UInt16[np.ndarray, " N"]:
    labels = {int(entry): label for entry, label in read_class_list("cityscapes19_ids").items()}
    return _table(256, labels, (*range(34), 255))


@cache
def _full_ade20k() -> UInt16[np.ndarray, " N"]:
    # all values of red / 10 * 256 + green, since ids that aren't among the 847 are ignored
    return _table(
        26 * 256, {entry["ade_id"]: entry["train_id"] for entry in read_class_list("ade847_ids")}, range(26 * 256)
    )


ID_TABLES: Mapping[str, Callable[[], UInt16[np.ndarray, " N"]]] = {
    "coco-stuff": _coco_stuff,
    "coco-object": _coco_object,
    "a-150": cache(lambda: _table(256, {entry: entry - 1 for entry in range(1, 151)}, (0,))),
    "a-847": _full_ade20k,
    "pc-59": lambda: _context(False),
    "pc-60": lambda: _context(True),
    # the published preparation maps 460 to 459, its ignored label
    "pc-459": cache(lambda: _table(461, {entry: entry - 1 for entry in range(1, 460)}, (0, 460))),
    "pas-20": cache(lambda: _table(256, {entry: entry - 1 for entry in range(1, 21)}, (0, 255))),
    "pas-20b": cache(lambda: _table(256, {0: 20} | {entry: entry - 1 for entry in range(1, 21)}, (255,))),
    "voc-21": cache(lambda: _table(256, {entry: entry for entry in range(21)}, (255,))),
    "cityscapes": _cityscapes,
    "pascal-part-116 objects": cache(lambda: _table(256, {entry: entry for entry in range(20)}, (255,))),
    "pascal-part-116": cache(lambda: _table(256, {entry: entry for entry in range(116)}, (255,))),
    "ade20k-part-234": cache(lambda: _table(65_536, {entry: entry for entry in range(234)}, (65_535,))),
}
"""For each benchmark a function that returns its table: the label of each id, 65535 if ignored, else `UNKNOWN_ID`."""


def read_ids(path: Path) -> np.ndarray:
    """Read the pixel values of a grayscale or palette image of 8 or 16 bits, shape (H, W).

    Raises:
        InputError: the file can't be read, or is a color image.
    """
    with opened_image(path) as image:
        mode, values = image.mode, np.array(image)
    if mode not in ("P", "L") and not mode.startswith("I"):
        raise InputError(f"{str(path)!r} is a {mode} image, not a map of ids; download it again")
    return values


def ids_to_labels(ids: np.ndarray, table_name: str, path: Path) -> UInt16[np.ndarray, "H W"]:
    """Map the ids of a file to labels.

    Raises:
        InputError: the table doesn't define an id.
    """
    table = ID_TABLES[table_name]()
    known = (ids >= 0) & (ids < len(table))
    labels = table[np.where(known, ids, 0)]
    unknown = ids[~known | (labels == UNKNOWN_ID)]
    if unknown.size:
        raise InputError(
            f"{str(path)!r} contains the id {unknown[0]}, which its benchmark doesn't define; download it again"
        )
    return labels
