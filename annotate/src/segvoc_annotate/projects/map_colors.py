"""The colors of label maps, which change without their pixels: a palette is a piece of its own in a PNG."""

from collections.abc import Mapping
from zlib import crc32

import numpy as np
from jaxtyping import UInt8

from segvoc.imaging.label_maps import UNLABELED_8_BIT, label_palette

HEAD_BYTES = 1_000
"""The palette of a label map of ours is among its first bytes."""

_SIGNATURE_BYTES = 8
_AROUND = 12
"""Bytes of a piece beside its content: its length, its name and its checksum."""
_EIGHT_BITS_OF_PALETTE = b"\x08\x03"


def color_table(colors: Mapping[int, tuple[int, int, int]]) -> UInt8[np.ndarray, "K 3"]:
    """Colors by id as an array up to the highest id; black where there is none.

    Args:
        colors: RGB by id.
    """
    table = np.zeros((max(colors, default=-1) + 1, 3), np.uint8)
    for number, color in colors.items():
        table[number] = color
    return table


def in_colors(png: bytes, colors: Mapping[int, tuple[int, int, int]]) -> bytes:
    """A label map in other colors; the same bytes where it has no palette of 256 colors.

    Args:
        png: the file, or its first bytes.
        colors: RGB by id.
    """
    at = _SIGNATURE_BYTES
    while (name := png[at + 4 : at + 8]) not in (b"PLTE", b"IDAT", b""):
        if name == b"IHDR" and png[at + 16 : at + 18] != _EIGHT_BITS_OF_PALETTE:
            return png
        at += _AROUND + int.from_bytes(png[at : at + 4])
    if name != b"PLTE":
        return png
    palette = label_palette(color_table(colors)[:UNLABELED_8_BIT]).tobytes()
    end = at + _AROUND + int.from_bytes(png[at : at + 4])
    piece = name + palette
    return png[:at] + len(palette).to_bytes(4) + piece + crc32(piece).to_bytes(4) + png[end:]
