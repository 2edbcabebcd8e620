"""Label maps as PNG files."""

import os

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.errors import InputError
from segvoc.imaging.palette import UNLABELLED_COLOR
from segvoc.imaging.reading import opened_image
from segvoc.storage.atomic_writes import write_atomically

UNLABELLED = 65_535
"""The label of a pixel without a class; in an 8-bit label map it is 255."""

_UNLABELLED_8_BIT = 255


def write_label_map(
    path: str | os.PathLike[str], labels: UInt16[np.ndarray, "H W"], colors: UInt8[np.ndarray, "K 3"]
) -> None:
    """Write a label map as PNG, atomically.

    For up to 255 classes it is an 8-bit palette PNG, in which 255 is unlabelled; for more, a 16-bit grey PNG, in which
    65535 is unlabelled. In both, a pixel's value is the index of its class.

    Args:
        path: the file to write.
        labels: the index of each pixel's class, below K, or 65535 (`UNLABELLED`).
        colors: RGB of the K classes, which the palette shows; black (`UNLABELLED_COLOR`) is unlabelled.

    Raises:
        ValueError: a label is neither below K nor 65535.
        OutputError: the file can't be written.
    """
    known = labels != UNLABELLED
    if (highest := int(labels.max(where=known, initial=0))) >= len(colors) and known.any():
        raise ValueError(f"label {highest} has no colour: there are {len(colors)} classes; give one colour per class")
    if len(colors) <= _UNLABELLED_8_BIT:
        # 65535 becomes 255 when it is cut to 8 bits, as it should
        image = Image.fromarray(labels.astype(np.uint8))
        palette = np.zeros((256, 3), np.uint8)
        palette[: len(colors)] = colors
        palette[_UNLABELLED_8_BIT] = UNLABELLED_COLOR
        image.putpalette(palette.tobytes())
    else:
        image = Image.fromarray(labels)
    write_atomically(path, lambda file: image.save(file, "PNG"))


def read_label_map(path: str | os.PathLike[str]) -> UInt16[np.ndarray, "H W"]:
    """Read a label map: 8-bit palette or grey with 255 as unlabelled, or 16-bit grey with 65535 as unlabelled.

    Returns:
        The index of each pixel's class; 65535 is unlabelled.

    Raises:
        InputError: the file can't be read, or isn't such an image.
    """
    with opened_image(path) as image:
        mode, values = image.mode, np.array(image)
    if mode in ("P", "L"):
        labels = values.astype(np.uint16)
        labels[labels == _UNLABELLED_8_BIT] = UNLABELLED
        return labels
    if mode.startswith("I;16"):
        return values.astype(np.uint16)
    raise InputError(f"{os.fspath(path)!r} is a {mode} image; a label map is a palette or grey PNG")
