"""The boundary F-score: how well the outlines of classes agree, which area-based scores hardly show.

Source: Csurka et al., "What is a good evaluation measure for semantic segmentation?" (BMVC 2013).
"""

import math
from importlib.util import find_spec

import numpy as np
from jaxtyping import Bool, UInt16

from segvoc.errors import missing_extra
from segvoc.imaging.label_maps import UNLABELED

TOLERANCE = 0.0075
"""Largest distance between matching outlines, as a share of the image diagonal: 0.75 %, the usual value."""


def boundary_scores(
    truth: UInt16[np.ndarray, "H W"], prediction: UInt16[np.ndarray, "H W"], tolerance: float = TOLERANCE
) -> dict[int, float]:
    """The boundary F-score of each class in the true labels of an image.

    The outline of a class is the set of its pixels with a 4-neighbor that belongs to another class or, in the
    prediction, is unlabeled. The edge of the image and pixels without a true class make no outline. Precision P is the
    share of the predicted outline within a distance d of the true outline, recall R is the share of the true outline
    within d of the predicted one, with d = max(1 px, tolerance x diagonal), and F = 2PR / (P + R). A class that fills
    all labeled pixels has no outline: F is 1 if the prediction is the same, else 0.

    Args:
        truth: the true class of each pixel; 65535 is ignored.
        prediction: the predicted class of each pixel, or 65535.
        tolerance: share of the diagonal.

    Returns:
        F in [0, 1] by class.

    Raises:
        UsageError: scipy is not installed.
    """
    known = truth != UNLABELED
    reach = max(1.0, tolerance * math.hypot(*truth.shape))
    scores = {}
    for label in np.unique(truth[known]).tolist():
        true, given = known & (truth == label), known & (prediction == label)
        scores[label] = _score(true, given, known, reach)
    return scores


def _score(
    true: Bool[np.ndarray, "H W"], given: Bool[np.ndarray, "H W"], known: Bool[np.ndarray, "H W"], reach: float
) -> float:
    true_outline, given_outline = _outline(true, known), _outline(given, known)
    if not true_outline.any() and not given_outline.any():
        # neither has an outline: the class is everywhere, or (in the prediction) nowhere
        return float(given.any())
    if not true_outline.any() or not given_outline.any():
        return 0.0
    rows, columns = np.nonzero(true_outline | given_outline)
    frame = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    true_outline, given_outline = true_outline[frame], given_outline[frame]
    precision = _share_near(given_outline, true_outline, reach)
    recall = _share_near(true_outline, given_outline, reach)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(points: Bool[np.ndarray, "H W"], outline: Bool[np.ndarray, "H W"], reach: float) -> float:
    require_scipy()
    from scipy.ndimage import distance_transform_edt  # here, since few evaluations need it

    distances = np.asarray(distance_transform_edt(~outline))
    return float((distances[points] <= reach).mean())


def require_scipy() -> None:
    """Fail before any work is done if boundary F-scores can't be computed.

    Raises:
        UsageError: scipy isn't installed.
    """
    if find_spec("scipy") is None:
        raise missing_extra("scipy", "benchmarks")


def _outline(area: Bool[np.ndarray, "H W"], known: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels of the area with a neighbor outside it that has a true class."""
    outside = known & ~area
    beside = np.zeros_like(area)
    beside[1:] |= outside[:-1]
    beside[:-1] |= outside[1:]
    beside[:, 1:] |= outside[:, :-1]
    beside[:, :-1] |= outside[:, 1:]
    return area & beside
