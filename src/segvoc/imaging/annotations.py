"""Regions and label maps in other tools' formats: COCO, LabelMe, Label Studio's brush masks, and supervision."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Integer, UInt8, UInt16

from segvoc.errors import UsageError, missing_package
from segvoc.imaging.connected_regions import Region, connected_regions, pieces_of, polygon_of, segments
from segvoc.imaging.palette import class_colors

if TYPE_CHECKING:
    import supervision


MaskForm = Literal["rle", "polygons"]
"""Mask format of an annotation: compressed run lengths (exact), or polygons, one per component."""


def region_facts(region: Region) -> dict[str, Any]:
    """The fields of any annotation of a region; the id of a category is label + 1."""
    return {"category_id": region.label + 1, "area": region.area, "bbox": region.box, "iscrowd": int(region.is_crowd)}


def region_annotations(
    regions: Iterable[Region], size: tuple[int, int], form: MaskForm = "rle"
) -> Iterator[tuple[Region, dict[str, Any]]]:
    """Each region of an image of this height and width [px] with its annotation, but for the ids of both.

    Crowds are always run lengths, as COCO's tools expect.
    """
    from pycocotools.mask import encode

    mask = np.zeros(size, np.uint8, order="F")
    for region in regions:
        if form == "polygons" and not region.is_crowd:
            # COCO's tools ignore polygons of less than three points; an outline has at least four
            shape: object = [polygon_of(piece).round(2).ravel().tolist() for piece in pieces_of(region)]
        else:
            mask[region.place] = region.inside
            runs: Any = encode(mask)
            shape = {"size": list(size), "counts": runs["counts"].decode("ascii")}
            mask[region.place] = 0
        yield region, {"segmentation": shape, **region_facts(region)}


def categories(words: Sequence[str], stuff: Set[int]) -> Iterator[dict[str, Any]]:
    """The COCO category of each word, with ids from 1; `stuff` are the labels of stuff."""
    for label, (word, color) in enumerate(zip(words, class_colors(len(words)).tolist(), strict=True)):
        kind = {"isthing": int(label not in stuff), "supercategory": "stuff" if label in stuff else "thing"}
        yield {"id": label + 1, "name": word, **kind, "color": color}


CocoSegmentation = Mapping[str, Any] | Sequence[Sequence[float | int]]
"""The mask of an annotation: {"size": [H, W], "counts": text or list}, or polygons [x0, y0, x1, y1, ...] in pixels."""

COORDINATE_LIMIT = 100_000.0
"""Largest absolute coordinate of a polygon [px]."""

_NUMBERS = re.compile(rb"(?:[P-o]{0,6}[0-O])+")
"""Compressed run lengths: five bits of a number per character; a sixth bit says that another character follows."""


def coco_mask(segmentation: CocoSegmentation, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """Decode the mask of an annotation in an image of this size [px]; polygons of fewer than three corners are skipped.

    `ValueError` if the segmentation is damaged, of an unknown format, or of another size than the image.
    """
    from pycocotools import mask as coco

    if isinstance(segmentation, Mapping):
        return _run_length_mask(coco, segmentation, height, width)
    polygons: Any = [np.asarray(flat, np.float64) for flat in segmentation if len(flat) >= 6 and len(flat) % 2 == 0]
    # written so that NaN fails as well
    if not all((np.abs(corners) <= COORDINATE_LIMIT).all() for corners in polygons):
        raise ValueError("a corner of its polygon lies far outside its image")
    if not polygons:
        return np.zeros((height, width), bool)
    polygons = [corners.tolist() for corners in polygons]
    return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)


def _run_length_mask(coco: Any, segmentation: Mapping[str, Any], height: int, width: int) -> Bool[np.ndarray, "H W"]:
    size = list(segmentation.get("size", [height, width]))
    if size != [height, width]:
        raise ValueError(f"a mask is {size}, its image {[height, width]} (height, width)")
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        text = counts.encode("ascii") if isinstance(counts, str) else counts
        if not _NUMBERS.fullmatch(text):
            raise ValueError("its compressed run lengths are not valid")
    else:
        runs = np.asarray(counts)
        if runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any() or runs.sum() != height * width:
            raise ValueError(f"its run lengths don't fill the {height * width} pixels of its image")
        text = coco.frPyObjects({"size": size, "counts": runs.tolist()}, height, width)["counts"]
    # pycocotools only checks for "too long": the lengths must be too long for one pixel fewer, and fit exactly
    if _fits(coco, text, height * width - 1) or not _fits(coco, text, height * width):
        raise ValueError(f"its run lengths don't fill the {height * width} pixels of its image")
    return coco.decode({"size": size, "counts": text}).astype(bool)


def _fits(coco: Any, text: bytes, pixels: int) -> bool:
    try:
        coco.decode({"size": [pixels, 1], "counts": text})
    except ValueError:
        return False
    return True


def coco_masks(labels: UInt16[np.ndarray, "H W"], classes: int) -> Iterator[dict[str, Any]]:
    """Yield the mask of each class, {"size": [H, W], "counts": "..."}, as compressed by pycocotools.

    A single pass finds the runs of all classes, so time doesn't grow with their number. Labels from `classes` on
    (65535: unlabeled) have no mask.
    """
    from pycocotools.mask import frPyObjects

    height, width = labels.shape
    for changes in class_runs(labels.T, classes):
        counts = np.diff(changes, prepend=0, append=labels.size).tolist()
        if counts[-1] == 0:
            counts.pop()
        uncompressed: Any = {"size": [height, width], "counts": counts}
        mask = frPyObjects(uncompressed, height, width)
        yield {"size": [height, width], "counts": mask["counts"].decode("ascii")}


_AT_ONCE = 1 << 22
"""Labels that are compared at a time."""


def class_runs(labels: UInt16[np.ndarray, "H W"], classes: int) -> Iterator[Integer[np.ndarray, " R"]]:
    """Yield the bounds of each class's runs, row by row: begin, end (exclusive), begin, end, and so on.

    Some rows are read at a time, since a copy of a large label map is as large.
    """
    step, last = max(1, _AT_ONCE // labels.shape[1]), -1
    places, kinds = list[np.ndarray](), list[np.ndarray]()
    for start in range(0, len(labels), step):
        some = labels[start : start + step].ravel()
        begins = np.flatnonzero(np.concatenate(([some[0] != last], some[1:] != some[:-1])))
        places.append(begins + start * labels.shape[1])
        kinds.append(some[begins])
        last = some[-1]
    begins, kind = np.concatenate(places), np.concatenate(kinds)
    ends = np.concatenate((begins[1:], [labels.size]))
    by_class = np.argsort(kind, kind="stable")
    bounds = np.searchsorted(kind[by_class], np.arange(classes + 1))
    for first, last in itertools.pairwise(bounds):
        of_class = by_class[first:last]
        yield np.stack((begins[of_class], ends[of_class]), axis=1).ravel()


LABELME_VERSION = "5.5.0"


def labelme_content(
    labels: UInt16[np.ndarray, "H W"],
    words: Sequence[str],
    objects: UInt16[np.ndarray, "H W"] | None,
    *,
    path: str,
    data: str | None = None,
) -> dict[str, Any]:
    """The content of LabelMe's file of an image; the polygons of an object have its number as their group.

    Args:
        labels: the index of each pixel's word; indices without a word (65535: unlabeled) have no polygon.
        words: the words.
        objects: the number of each pixel's object, 0 for none; None: connected regions are the objects.
        path: path of the image, relative to the file.
        data: the image file in base64; None: LabelMe reads it from `path`.
    """
    regions = [piece for region in connected_regions(labels, len(words), objects) for piece in pieces_of(region)]
    # LabelMe draws outlines too, so a region in a hole has to come after the region around it
    regions.sort(key=lambda region: -region.area)
    height, width = labels.shape
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": [
            {
                "label": words[region.label],
                # LabelMe cuts fractions of corners off and draws the line between them, too: it draws the same pixels
                "points": polygon_of(region, tolerance=0.2, inset=0.2).round(2).tolist(),
                "group_id": region.number or None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for region in regions
        ],
        "imagePath": path,
        "imageData": data,
        "imageHeight": height,
        "imageWidth": width,
    }


def detections(
    labels: UInt16[np.ndarray, "H W"],
    words: Sequence[str],
    confidence: Float32[np.ndarray, "H W"],
    objects: UInt16[np.ndarray, "H W"] | None = None,
    *,
    is_tracked: bool = False,
) -> "supervision.Detections":
    """A detection for each word that has pixels, or for each of its objects.

    Args:
        labels: the index of each pixel's word; indices without a word (65535: unlabeled) are in no detection.
        words: the words.
        confidence: the probability of each pixel's word, in [0, 1]; a detection has the mean over its pixels.
        objects: the number of each pixel's object, 0 for none; other pixels of a word with objects are in no detection.
        is_tracked: whether these are the numbers of tracks; other words than those with objects have no detection then.
    """
    try:
        from supervision import Detections
    except ModuleNotFoundError:
        raise missing_package("supervision") from None
    every = frozenset(range(len(words)))
    regions = [region for region in segments(labels, len(words), every, objects) if not region.is_crowd]
    if is_tracked:
        regions = [region for region in regions if region.number is not None]
    masks = np.zeros((len(regions), *labels.shape), bool)
    for mask, region in zip(masks, regions, strict=True):
        mask[region.place] = region.inside
    boxes = np.array([region.box for region in regions], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]  # from sizes to right and bottom edges
    indices = np.array([region.label for region in regions], int)
    return Detections(
        xyxy=boxes,
        mask=masks,
        confidence=np.array([region.mean(confidence) for region in regions], np.float32),
        class_id=indices,
        tracker_id=np.array([region.number for region in regions], int) if is_tracked else None,
        data={"class_name": np.array([words[index] for index in indices], dtype=str)},
    )


# ---- brush masks of Label Studio: an RGBA image, row by row, packed as runs (the format of the JavaScript package
# rle-pack). All numbers are unsigned bit fields, most significant bit first:
#
# - 32 bits: number of values
# - 5 bits: bits per value, minus 1
# - 4 x 4 bits: four widths, in bits, minus 1
# - for each run: a 1, the index of a width (2 bits), the run length minus 1 (in that width), and the value

_CHANNELS = 4
"""Values of a pixel: red, green, blue and alpha, which are equal here."""

_VALUE_BITS, _INSIDE = 8, 255

_WIDTHS = np.array([3, 4, 8, 16])
"""Bit widths of run lengths; the shortest sufficient width is used."""

_LONGEST = 1 << 16
"""Maximum run length; longer runs are split."""

_BLOCK = 1 << 16
"""Runs per chunk; each takes 32 bytes."""

_MOST_PIXELS = (1 << 32) // _CHANNELS - 1


def packed_runs(changes: Integer[np.ndarray, " R"], pixels: int) -> UInt8[np.ndarray, " N"]:
    """Pack a mask of `pixels` pixels from the run bounds of `class_runs`; `UsageError` from 2^30 pixels on."""
    if pixels > _MOST_PIXELS:
        raise UsageError(f"a brush mask has at most {_MOST_PIXELS} pixels, not {pixels}; make the image smaller")
    lengths = np.diff(changes, prepend=0, append=pixels) * _CHANNELS
    values = np.resize(np.array([0, _INSIDE]), lengths.size)
    lengths, values = lengths[lengths > 0], values[lengths > 0]
    pieces = -(-lengths // _LONGEST)
    last = np.cumsum(pieces) - 1
    values = np.repeat(values, pieces)
    pieces_of = np.full(values.size, _LONGEST)
    pieces_of[last] = lengths - (pieces - 1) * _LONGEST
    header = [(pixels * _CHANNELS, 32), (_VALUE_BITS - 1, 5), *((width - 1, 4) for width in _WIDTHS)]
    left = np.concatenate([_bits(np.array([number]), np.array([size])) for number, size in header])
    packed = []
    for start in range(0, values.size, _BLOCK):
        bits = np.concatenate((left, _run_bits(pieces_of[start : start + _BLOCK], values[start : start + _BLOCK])))
        whole = bits.size - bits.size % 8
        packed.append(np.packbits(bits[:whole]))
        left = bits[whole:]
    # the missing bits of the last byte are 0
    return np.concatenate((*packed, np.packbits(left)))


def _run_bits(lengths: Integer[np.ndarray, " R"], values: Integer[np.ndarray, " R"]) -> UInt8[np.ndarray, " N"]:
    number = np.searchsorted(1 << _WIDTHS, lengths)
    width = _WIDTHS[number]
    codes = (((0b100 | number) << width | (lengths - 1)) << _VALUE_BITS) | values
    return _bits(codes, 3 + width + _VALUE_BITS)


def _bits(numbers: Integer[np.ndarray, " R"], sizes: Integer[np.ndarray, " R"]) -> UInt8[np.ndarray, " N"]:
    """The lowest `sizes` bits of each number, highest first, one after another."""
    high_aligned = (numbers.astype(np.uint64) << (32 - sizes).astype(np.uint64)).astype(">u4")
    bits = np.unpackbits(high_aligned.view(np.uint8)).reshape(-1, 32)
    return bits[np.arange(32) < sizes[:, None]]
