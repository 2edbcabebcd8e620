"""Regions in other tools' formats: COCO annotations, LabelMe shapes, and supervision detections."""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from segvoc.errors import missing_package, naming_extra
from segvoc.imaging.connected_regions import Region, connected_regions, pieces_of, segments
from segvoc.imaging.outlines import polygon_of
from segvoc.imaging.palette import class_colors

if TYPE_CHECKING:
    import supervision


STUFF_NAMES = frozenset(
    """
    air asphalt background beach brick building bush cardboard carpet ceiling cement clay cloth cloud concrete
    counter countertop cupboard curtain desert dirt earth fabric fence field floor flooring fog foliage forest
    glacier grass gravel ground hill ice lake land lawn leaves liquid marble meadow metal mirror moss mountain mud
    ocean other path pavement plastic platform playingfield railing railroad river road rock roof rug runway sand
    sea shelf shrub sidewalk sky smoke snow soil stairs stone straw structure sunlight terrain textile tile track
    tree vegetation wall wallpaper water waterfall waves window wood woods
    """.split()
)
"""Names of stuff: classes of COCO panoptic, COCO-Stuff and Cityscapes, and similar words."""


def stuff_classes(words: Sequence[str], background: str | None) -> frozenset[int]:
    """The indices of the words that are stuff: "stone wall", "trees", and the background.

    The last word of the first synonym is in `STUFF_NAMES`, in singular or plural.
    """
    return frozenset(index for index, word in enumerate(words) if word == background or _is_stuff(word))


def _is_stuff(word: str) -> bool:
    parts = word.split(",")[0].replace("-", " ").replace("_", " ").lower().split()
    last = parts[-1] if parts else ""
    return last in STUFF_NAMES or last.removesuffix("s") in STUFF_NAMES


MaskForm = Literal["rle", "polygons"]
"""Mask format of an annotation: compressed run lengths (exact), or polygons, one per component."""


def region_facts(region: Region) -> dict[str, Any]:
    """The fields of any annotation of a region; the id of a category is label + 1."""
    return {"category_id": region.label + 1, "area": region.area, "bbox": region.box, "iscrowd": int(region.is_crowd)}


def region_annotations(
    regions: Iterable[Region], size: tuple[int, int], form: MaskForm = "rle"
) -> Iterator[tuple[Region, dict[str, Any]]]:
    """Each region of an image of this height and width [px] with its annotation, but for the ids of both.

    Crowds are always run lengths, as COCO's tools expect. `UsageError` if pycocotools isn't installed, or for polygons
    scikit-image.
    """
    mask = np.zeros(size, np.uint8, order="F")
    for region in regions:
        if form == "polygons" and not region.is_crowd:
            # COCO's tools ignore polygons of less than three points; an outline has at least four
            shape: object = [polygon_of(piece).round(2).ravel().tolist() for piece in pieces_of(region)]
        else:
            mask[region.place] = region.inside
            shape = _run_lengths(mask)
            mask[region.place] = 0
        yield region, {"segmentation": shape, **region_facts(region)}


def _run_lengths(mask: UInt8[np.ndarray, "H W"]) -> dict[str, Any]:
    """A binary mask as compressed run lengths, {"size": [H, W], "counts": "..."}."""
    with naming_extra("pycocotools", "data"):
        from pycocotools.mask import encode
    runs: Any = encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}


def categories(words: Sequence[str], stuff: Set[int]) -> Iterator[dict[str, Any]]:
    """The COCO category of each word, with ids from 1; `stuff` are the labels of stuff."""
    for label, (word, color) in enumerate(zip(words, class_colors(len(words)).tolist(), strict=True)):
        kind = {"isthing": int(label not in stuff), "supercategory": "stuff" if label in stuff else "thing"}
        yield {"id": label + 1, "name": word, **kind, "color": color}


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
) -> "supervision.Detections":
    """A detection for each word that has pixels, or for each of its objects.

    Args:
        labels: the index of each pixel's word; indices without a word (65535: unlabeled) are in no detection.
        words: the words.
        confidence: the probability of each pixel's word, in [0, 1]; a detection has the mean over its pixels.
        objects: the number of each pixel's object, 0 for none; other pixels of a word with objects are in no detection.
    """
    try:
        from supervision import Detections
    except ModuleNotFoundError:
        raise missing_package("supervision") from None
    every = frozenset(range(len(words)))
    regions = [one for one in segments(labels, len(words), every, objects) if not one.is_crowd]
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
