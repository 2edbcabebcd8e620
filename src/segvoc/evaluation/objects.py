"""Scores of objects: AP by pycocotools, and PQ of the objects and surfaces (Kirillov et al., CVPR 2019)."""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from jaxtyping import UInt16

from segvoc.encoders.lexicon import surfaces_among
from segvoc.imaging.annotations import region_annotations
from segvoc.imaging.connected_regions import Region, segments
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmentation import Segmentation

Counts = dict[str, list[float]]
"""For the label of each class: the sum of the IoUs of its matched segments, and the numbers of matched, of other
predicted and of other true segments."""


def compared_objects(
    result: Segmentation, truth: UInt16[np.ndarray, "H W"], objects: UInt16[np.ndarray, "H W"]
) -> dict[str, Any]:
    """What an image adds to the scores, as plain values.

    Args:
        result: the prediction.
        truth: the true label of each pixel; 65535 counts nowhere.
        objects: the true object of each pixel, 0 for none; a word's pixels in none of its objects are a crowd.

    Returns:
        Its "size" (height and width), "truth" and "found", the annotations of COCO but for the ids of images, and
        "segments" (`Counts`).
    """
    count = len(result.words)
    stuff = surfaces_among(result.words, result.background)
    true = list(segments(truth, count, stuff, objects))
    found = [one for one in segments(result.labels, count, stuff, result.object_map) if not one.is_crowd]
    # a class with objects is no surface, whatever its name
    surfaces = stuff - {one.label for one in true if one.number is not None}
    return {
        "size": list(truth.shape),
        "truth": _annotations(true, truth.shape, surfaces),
        "found": [
            {**entry, "score": region.mean(result.confidence)}
            for region, entry in region_annotations((one for one in found if one.label not in surfaces), truth.shape)
        ],
        "segments": _matched_segments(true, found, truth != UNLABELED),
    }


def _annotations(regions: Sequence[Region], size: tuple[int, int], surfaces: Set[int]) -> list[dict[str, Any]]:
    things = (region for region in regions if region.label not in surfaces)
    return [entry for _, entry in region_annotations(things, size)]


def _matched_segments(true: Sequence[Region], found: Sequence[Region], known: np.ndarray) -> Counts:
    """Match segments of a class whose IoU is above 0.5; a prediction mostly on crowds or nothing counts nowhere."""
    counts: Counts = {}
    crowds = {label: np.zeros(known.shape, bool) for label in {region.label for region in true if region.is_crowd}}
    for region in true:
        if region.is_crowd:
            crowds[region.label][region.place] |= region.inside
    left = [region for region in true if not region.is_crowd]
    for region in found:
        of_class = counts.setdefault(str(region.label), [0.0] * 4)
        seen = region.inside & known[region.place]
        overlaps = [(_iou(region, other, int(seen.sum())), other) for other in left if other.label == region.label]
        best, match = max(overlaps, key=lambda one: one[0], default=(0.0, None))
        nowhere = ~known[region.place]
        if region.label in crowds:
            nowhere = nowhere | crowds[region.label][region.place]
        if match is not None and best > 0.5:
            left.remove(match)
            of_class[0] += best
            of_class[1] += 1
        elif np.count_nonzero(region.inside & nowhere) <= 0.5 * region.area:
            of_class[2] += 1
    for region in left:
        counts.setdefault(str(region.label), [0.0] * 4)[3] += 1
    return counts


def _iou(one: Region, other: Region, area: int) -> float:
    """IoU of a prediction that has so many known pixels with a true segment."""
    top, left = max(one.top, other.top), max(one.left, other.left)
    bottom = min(one.place[0].stop, other.place[0].stop)
    right = min(one.place[1].stop, other.place[1].stop)
    if bottom <= top or right <= left:
        return 0.0
    both = np.count_nonzero(
        one.inside[top - one.top : bottom - one.top, left - one.left : right - one.left]
        & other.inside[top - other.top : bottom - other.top, left - other.left : right - other.left]
    )
    return float(both / (area + other.area - both))


def object_scores(images: Iterable[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """The scores of all images.

    Args:
        images: `compared_objects` of each.
        classes: the names of the classes.

    Returns:
        In percent, None without a true object or segment: "ap" and "ap50" as COCO's tools report them, and "pq" with
        its factors "sq" and "rq", means over classes; and the numbers of true "objects", of those "found" (IoU at least
        0.5), and of "predicted" ones.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = list(images)
    datasets: dict[str, Any] = {"truth": COCO(), "found": COCO()}
    sizes = [dict(zip(("height", "width"), image["size"], strict=True)) for image in images]
    entries = [{"id": number, **size} for number, size in enumerate(sizes, 1)]
    named = [{"id": label + 1, "name": name} for label, name in enumerate(classes)]
    for kind, dataset in datasets.items():
        annotations = [{"image_id": at, **one} for at, image in enumerate(images, 1) for one in image[kind]]
        numbered = [{"id": number, **one} for number, one in enumerate(annotations, 1)]
        dataset.dataset = {"images": entries, "categories": named, "annotations": numbered}
    with contextlib.redirect_stdout(io.StringIO()):  # its progress
        for dataset in datasets.values():
            dataset.createIndex()
        scoring = COCOeval(datasets["truth"], datasets["found"], "segm")
        scoring.evaluate()
        scoring.accumulate()
    precision = scoring.eval["precision"][:, :, :, 0, -1]  # all areas, at most 100 predictions an image
    hits = sum(
        int((np.asarray(one["dtMatches"])[0] > 0)[~np.asarray(one["dtIgnore"])[0].astype(bool)].sum())
        for one in scoring.evalImgs
        if one is not None and one["aRng"] == scoring.params.areaRng[0]
    )
    return {
        "ap": _percent(precision[precision > -1]),
        "ap50": _percent(precision[0][precision[0] > -1]),
        **_panoptic_quality([image["segments"] for image in images]),
        "objects": sum(not one["iscrowd"] for image in images for one in image["truth"]),
        "found": hits,
        "predicted": sum(len(image["found"]) for image in images),
    }


def _panoptic_quality(images: Sequence[Counts]) -> dict[str, float | None]:
    """PQ = SQ x RQ: the mean IoU of matched segments, and the F1 score of matches; each a mean over classes."""
    total: dict[str, np.ndarray] = {}
    for counts in images:
        for label, numbers in counts.items():
            total[label] = total.get(label, np.zeros(4)) + numbers
    by_class = [(iou, hits, hits + (extra + missed) / 2) for iou, hits, extra, missed in total.values()]
    by_class = [one for one in by_class if one[2] > 0]
    return {
        "pq": _percent(np.array([iou / segments for iou, _, segments in by_class])),
        "sq": _percent(np.array([iou / hits if hits else 0.0 for iou, hits, _ in by_class])),
        "rq": _percent(np.array([hits / segments for _, hits, segments in by_class])),
    }


def _percent(values: np.ndarray) -> float | None:
    return 100 * float(values.mean()) if values.size else None
