"""COCO's entries: the annotation of a region and the categories of words."""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from segvoc.annotations.connected_regions import Region, pieces_of
from segvoc.annotations.outlines import polygon_of
from segvoc.errors import missing_extra
from segvoc.imaging.palette import class_colors

MaskForm = Literal["rle", "polygons"]
"""How an annotation has its mask: compressed run lengths, which are exact, or polygons, one for each piece."""


def region_facts(region: Region) -> dict[str, Any]:
    """What any annotation says of a region; the id of a category is label + 1."""
    return {
        "category_id": region.label + 1,
        "area": region.area,
        "bbox": region.box,
        "iscrowd": int(region.is_crowd),
    }


def region_annotations(
    regions: Iterable[Region], size: tuple[int, int], form: MaskForm = "rle"
) -> Iterator[tuple[Region, dict[str, Any]]]:
    """Each region with its annotation, which lacks the ids of the annotation and of its image.

    Args:
        regions: any regions of one image.
        size: height and width of the image [px].
        form: how the masks are written down; crowds are run lengths in any case, as COCO's own tools expect.

    Raises:
        UsageError: pycocotools isn't installed, or for polygons scikit-image.
    """
    mask = np.zeros(size, np.uint8, order="F")
    for region in regions:
        if form == "polygons" and not region.is_crowd:
            # a polygon of less than three points is none to COCO's tools; an outline has four at least
            shape: object = [polygon_of(piece).round(2).ravel().tolist() for piece in pieces_of(region)]
        else:
            mask[region.place] = region.inside
            shape = _run_lengths(mask)
            mask[region.place] = 0
        yield region, {"segmentation": shape, **region_facts(region)}


def _run_lengths(mask: UInt8[np.ndarray, "H W"]) -> dict[str, Any]:
    """A mask of zeros and ones as compressed run lengths, {"size": [H, W], "counts": "..."}.

    Raises:
        UsageError: pycocotools isn't installed.
    """
    try:
        from pycocotools.mask import encode
    except ModuleNotFoundError:
        raise missing_extra("pycocotools", "formats") from None
    runs: Any = encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def categories(words: Sequence[str], stuff: Set[int]) -> Iterator[dict[str, Any]]:
    """The category of each word, with the ids from 1 on.

    Args:
        words: all words, in the order of their labels.
        stuff: the labels that are stuff.
    """
    for label, (word, color) in enumerate(zip(words, class_colors(len(words)).tolist(), strict=True)):
        kind = {"isthing": int(label not in stuff), "supercategory": "stuff" if label in stuff else "thing"}
        yield {"id": label + 1, "name": word, **kind, "color": color}
