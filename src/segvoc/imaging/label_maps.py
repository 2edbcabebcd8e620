"""Label maps as PNG files, and the colours of classes."""

import functools
import os

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image

from segvoc.errors import InputError
from segvoc.imaging.reading import opened_image
from segvoc.storage.atomic_writes import write_atomically

UNLABELLED = 65_535
"""The label of a pixel that no class got; in an 8-bit label map it is 255."""

UNLABELLED_COLOR = (0, 0, 0)
"""Black: no class has it."""

_UNLABELLED_8_BIT = 255

_FIRST_COLORS = (
    *((230, 60, 60), (40, 130, 220), (60, 180, 75), (255, 190, 20), (150, 70, 200), (30, 200, 200), (245, 130, 40)),
    *((240, 80, 190), (170, 220, 50), (130, 90, 60), (125, 150, 255), (0, 135, 125), (255, 160, 150), (110, 120, 20)),
    *((190, 150, 230), (170, 30, 90), (130, 215, 160), (70, 80, 160), (215, 165, 110), (25, 110, 50)),
)
"""Twenty colours that keep apart on photographs; chosen by eye."""

_LINEAR_TO_CONES = np.array(
    [
        [0.41222147, 0.53633254, 0.05144599],
        [0.21190350, 0.68069955, 0.10739696],
        [0.08830246, 0.28171884, 0.62997870],
    ],
    np.float32,
)

_CONES_TO_OKLAB = np.array(
    [
        [0.21045426, 0.79361779, -0.00407205],
        [1.97799850, -2.42859221, 0.45059371],
        [0.02590404, 0.78277177, -0.80867577],
    ],
    np.float32,
)


def class_colors(n: int) -> UInt8[np.ndarray, "n 3"]:
    """RGB colours of n classes, never black, white or grey.

    The colour of class i is the same for every n > i. The first 20 are chosen by hand; up to 256, each is the one
    farthest from all before it (in OKLab, where distance is perceived difference; Ottosson 2020); the others follow
    in mixed order. All are different up to n = 19,000; beyond, they repeat.
    """
    palette = _palette()
    return palette[np.arange(n) % len(palette)]


@functools.cache
def _palette() -> UInt8[np.ndarray, "n 3"]:
    coarse, fine = _vivid_colors(step=12), _vivid_colors(step=8)
    chosen = [np.array(color, np.uint8) for color in _FIRST_COLORS]
    candidates = _oklab(coarse)
    nearest = np.full(len(candidates), np.inf, np.float32)
    for index in range(256):
        if index >= len(chosen):
            chosen.append(coarse[nearest.argmax()])
        distances = np.square(candidates - _oklab(chosen[index][None])).sum(axis=1)
        nearest = np.minimum(nearest, distances)
    # A stride that shares no factor with their number visits all, and takes neighbours far apart.
    rest = fine[np.arange(len(fine)) * 7919 % len(fine)]
    everything = np.concatenate([np.stack(chosen), rest])
    _, first = np.unique(everything, axis=0, return_index=True)
    palette = everything[np.sort(first)]
    palette.flags.writeable = False
    return palette


def _vivid_colors(step: int) -> UInt8[np.ndarray, "n 3"]:
    """The colours of an RGB grid that are neither dark, nor pale, nor greyish, nor glaring."""
    axis = np.arange(0, 256, step, dtype=np.uint8)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, a, b = _oklab(grid).T
    chroma = np.hypot(a, b)
    return grid[(lightness > 0.42) & (lightness < 0.88) & (chroma > 0.07) & (chroma < 0.22)]


def _oklab(rgb: UInt8[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """OKLab: lightness in [0, 1], and the opponent axes green-red and blue-yellow (bottosson.github.io/posts/oklab)."""
    srgb = rgb.astype(np.float32) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _LINEAR_TO_CONES.T) @ _CONES_TO_OKLAB.T


def write_label_map(
    path: str | os.PathLike[str], labels: UInt16[np.ndarray, "H W"], colors: UInt8[np.ndarray, "K 3"]
) -> None:
    """Write a label map as PNG, atomically.

    Up to 255 classes: a palette PNG of 8 bits, in which 255 is unlabelled. More: a grey PNG of 16 bits, in which 65535
    is unlabelled. Either way a pixel's value is the index of its class.

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
        raise ValueError(f"label {highest} has no colour: there are {len(colors)} classes; give one colour a class")
    if len(colors) <= _UNLABELLED_8_BIT:
        # uint16 65535 becomes 255 when cut to 8 bits, just as wanted.
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

    Returns: the index of each pixel's class; 65535 is unlabelled.

    Raises:
        InputError: the file can't be read, or is no such picture.
    """
    with opened_image(path) as image:
        mode, values = image.mode, np.array(image)
    if mode in ("P", "L"):
        labels = values.astype(np.uint16)
        labels[labels == _UNLABELLED_8_BIT] = UNLABELLED
        return labels
    if mode.startswith("I;16"):
        return values.astype(np.uint16)
    raise InputError(f"{os.fspath(path)!r} is a {mode} picture; a label map is a palette or grey PNG")
