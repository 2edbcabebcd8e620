"""Label maps as COCO's run-length encoded masks, one for each class."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt16

from segvoc.errors import missing_extra


def coco_masks(labels: UInt16[np.ndarray, "H W"], classes: int) -> Iterator[dict[str, Any]]:
    """Yield the mask of each class, {"size": [H, W], "counts": "..."}, as pycocotools compresses it.

    The runs of all classes are found in one pass, so time doesn't grow with their number.

    Args:
        labels: the index of each pixel's class; indices from `classes` on (65535: unlabeled) have no mask.
        classes: number of classes.

    Raises:
        UsageError: pycocotools isn't installed.
    """
    try:
        from pycocotools.mask import frPyObjects
    except ModuleNotFoundError:
        raise missing_extra("pycocotools", "serve") from None

    height, width = labels.shape
    for changes in class_runs(labels.T.ravel(), classes):
        counts = np.diff(changes, prepend=0, append=labels.size).tolist()
        if counts[-1] == 0:
            counts.pop()
        uncompressed: Any = {"size": [height, width], "counts": counts}
        mask = frPyObjects(uncompressed, height, width)
        yield {"size": [height, width], "counts": mask["counts"].decode("ascii")}


def class_runs(values: UInt16[np.ndarray, " N"], classes: int) -> Iterator[Integer[np.ndarray, " R"]]:
    """Yield where the runs of each class begin and end: begin, end (exclusive), begin, end, and so on.

    Args:
        values: indices of classes.
        classes: number of classes.
    """
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    begins, ends = np.concatenate(([0], edges)), np.concatenate((edges, [values.size]))
    by_class = np.argsort(values[begins], kind="stable")
    bounds = np.searchsorted(values[begins][by_class], np.arange(classes + 1))
    for first, last in itertools.pairwise(bounds):
        own = by_class[first:last]
        yield np.stack((begins[own], ends[own]), axis=1).ravel()
