"""What an overlay shows where: classes and parts, each region with a colour and a line of the legend."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer, UInt8, UInt16

from segvoc.imaging.label_maps import UNLABELLED, UNLABELLED_COLOR, class_colors
from segvoc.imaging.legend import LegendEntry
from segvoc.vocabulary import Part, parts_of


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of a picture; colors: RGB of each. entries: lines of the legend, those of parts below their object's."""

    labels: Integer[np.ndarray, "H W"]
    colors: UInt8[np.ndarray, "R 3"]
    entries: list[LegendEntry]


def class_regions(labels: UInt16[np.ndarray, "H W"], words: Sequence[str], colors: UInt8[np.ndarray, "K 3"]) -> Regions:
    """The regions of the K classes; 65535 is none."""
    table = np.empty((UNLABELLED + 1, 3), np.uint8)
    table[:] = UNLABELLED_COLOR
    table[: len(colors)] = colors
    counts = np.bincount(labels.ravel(), minlength=UNLABELLED + 1)
    present = np.flatnonzero(counts)
    # The legend asks which classes are here: what has none comes last, however large.
    order = np.lexsort((-counts[present], present == UNLABELLED))
    entries = []
    label: int
    for label in present[order].tolist():
        name = words[label] if label != UNLABELLED else "unlabelled"
        entries.append(_entry(label, name, table[label], counts[label] / labels.size))
    return Regions(labels, table, entries)


def with_parts(
    regions: Regions, words: Sequence[str], part_labels: UInt16[np.ndarray, "H W"], parts: Sequence[Part]
) -> Regions:
    """The regions of classes, divided into those of their parts, in shades of the class's colour."""
    labels = regions.labels.astype(np.int32)
    colors, entries = [regions.colors], []
    number = len(regions.colors)
    of_words = list(parts_of(words, parts))
    for entry in regions.entries:
        entries.append(entry)
        own = [] if entry.label == UNLABELLED or entry.label is None else of_words[entry.label]
        if not own:
            continue
        inside = regions.labels == entry.label
        counts = np.bincount(part_labels[inside], minlength=UNLABELLED + 1)
        of_object = []
        for (index, part), shade in zip(own, _shades(entry.color, len(own)), strict=True):
            if counts[index]:
                labels[inside & (part_labels == index)] = number
                colors.append(shade[None])
                of_object.append(_entry(index, part.part, shade, counts[index] / labels.size, of_part=True))
                number += 1
        entries += sorted(of_object, key=lambda entry: -entry.fraction)
    return Regions(labels, np.concatenate(colors), entries)


def part_colors(
    words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], parts: Sequence[Part]
) -> UInt8[np.ndarray, "M 3"]:
    """RGB of each part: a shade of its object's colour; a part of any object has one that no class has."""
    shown = class_colors(len(words) + len(parts))[len(words) :].copy()
    for of_word, color in zip(parts_of(words, parts), colors, strict=True):
        for (index, part), shade in zip(of_word, _shades(color, len(of_word)), strict=True):
            if part.object is not None:
                shown[index] = shade
    return shown


def _shades(color: Sequence[int] | UInt8[np.ndarray, " 3"], number: int) -> list[UInt8[np.ndarray, " 3"]]:
    """So many colours around one, from dark to light; neighbours in the row differ a little in hue, too."""
    hue, own, saturation = colorsys.rgb_to_hls(*(int(value) / 255 for value in color))
    # one step more than there are parts: that which is nearest to the object's own colour stays free
    steps = np.linspace(0.22, 0.86, number + 1)
    steps = np.delete(steps, np.abs(steps - own).argmin()).tolist()
    turned = [(hue + (0.06 if place % 2 else -0.06)) % 1 for place in range(number)]
    shades = [colorsys.hls_to_rgb(angle, step, saturation) for angle, step in zip(turned, steps, strict=True)]
    return [np.array([round(255 * value) for value in shade], np.uint8) for shade in shades]


def _entry(
    label: int, name: str, color: UInt8[np.ndarray, " 3"], fraction: float, *, of_part: bool = False
) -> LegendEntry:
    red, green, blue = color.tolist()
    return LegendEntry(label=label, name=name, color=(red, green, blue), fraction=float(fraction), of_part=of_part)
