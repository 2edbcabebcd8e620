"""LabelMe's entries: a polygon for each connected piece of a region."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt16

from segvoc.annotations.connected_regions import connected_regions, pieces_of
from segvoc.annotations.outlines import polygon_of

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
        path: of the image, as seen from the file.
        data: the image itself, a file in base64; None: LabelMe reads it from `path`.

    Raises:
        UsageError: scikit-image isn't installed.
    """
    regions = [piece for region in connected_regions(labels, len(words), objects) for piece in pieces_of(region)]
    # LabelMe draws outlines too, so that what lies in a hole has to come after what is around it
    regions.sort(key=lambda region: -region.area)
    height, width = labels.shape
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": [
            {
                "label": words[region.label],
                "points": polygon_of(region).round(2).tolist(),
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
