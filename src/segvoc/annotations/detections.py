"""Words and objects as the detections of Roboflow's library `supervision`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt16

from segvoc.annotations.connected_regions import words_and_objects
from segvoc.errors import missing_extra

if TYPE_CHECKING:
    import supervision


def detections(
    labels: UInt16[np.ndarray, "H W"],
    words: Sequence[str],
    confidence: Float32[np.ndarray, "H W"],
    objects: UInt16[np.ndarray, "H W"] | None = None,
) -> "supervision.Detections":
    """A detection for each word that has pixels, or for each of its objects.

    Args:
        labels: the index of each pixel's word; indices without a word (65535: unlabeled) are in no detection.
        words: the words.
        confidence: the probability of each pixel's word, in [0, 1]; a detection has the mean over its pixels.
        objects: the number of each pixel's object, 0 for none; pixels of a word with objects that are in none of them
            are in no detection.

    Raises:
        UsageError: supervision isn't installed.
    """
    try:
        from supervision import Detections
    except ModuleNotFoundError:
        raise missing_extra("supervision", "viewers") from None
    regions = [one for one in words_and_objects(labels, len(words), objects) if not one.is_crowd]
    masks = np.zeros((len(regions), *labels.shape), bool)
    for mask, region in zip(masks, regions, strict=True):
        mask[region.place] = region.inside
    boxes = np.array([one.box for one in regions], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]  # from sizes to right and bottom edges
    means = [confidence[one.place][one.inside].mean(dtype=np.float64) for one in regions]
    indices = np.array([one.label for one in regions], int)
    return Detections(
        xyxy=boxes,
        mask=masks,
        confidence=np.array(means, np.float32),
        class_id=indices,
        data={"class_name": np.array([words[index] for index in indices], dtype=str)},
    )
