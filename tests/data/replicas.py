"""Replicas of the original downloads of all benchmarks: a few drawn images each, with every special case.

Files have the original layout, with hidden files of macOS among them. The expected label maps are written beside the
originals, worked out by hand rather than by the code under test.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image, ImageDraw

from segvoc.data.labeled_images import class_names, image_stems, read_class_list
from tests.data.original_files import (
    compressed_runs,
    hide_beside,
    save_ade20k_ids,
    save_ade20k_index,
    save_context_masks,
    save_ids,
    save_instances,
    save_matlab_73,
)

IGNORED = 65535
SIZE = (24, 16)


@dataclass(frozen=True, kw_only=True)
class Replica:
    """The expected result of preparing a replica."""

    labels: dict[str, np.ndarray]
    """The label map of each stem; 65535 is ignored."""
    left_out: frozenset[str] = frozenset()
    objects: dict[str, int] = field(default_factory=dict)
    """For part benchmarks: the object index of each stem."""


def replica(name: str, root: Path) -> Replica:
    """Draw the originals of a benchmark below a root, unpacked; several may share one root."""
    return _BUILDERS[name](root)


def draw(path: Path, size: tuple[int, int] = SIZE) -> None:
    """Draw an image with a disc, and write a hidden file of macOS beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (40, 120, 200))
    ImageDraw.Draw(image).ellipse((2, 2, size[0] // 2, size[1] - 2), fill=(220, 180, 40))
    image.save(path)
    hide_beside(path)


def halves(left: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A map with one value on its left half and one on its right."""
    values = np.full(size[::-1], left, np.uint16)
    values[:, size[0] // 2 :] = right
    return values


Ids = dict[str, np.ndarray]


def _write(root: Path, image: str, labels: str, ids: Ids, *, palette: bool = False) -> None:
    """Draw the image of each stem, and write its ids; * in the paths stands for the stem."""
    for stem, values in ids.items():
        draw(root / image.replace("*", stem))
        save_ids(root / labels.replace("*", stem), values, palette=palette)


def _drawn(write: Callable[[Path], object], stems: Iterable[str], *labels: np.ndarray) -> Callable[[Path], Replica]:
    """Writes the originals of several benchmarks, and expects these label maps."""

    def build(root: Path) -> Replica:
        write(root)
        return Replica(labels=dict(zip(stems, labels, strict=True)))

    return build


_COCO_IDS = {"000000000139": halves(0, 12), "000000000285": halves(181, 255), "000000000632": halves(89, 11)}
"""12 follows 10 (stop sign, after a gap), 181 is the last (wood), 11 is in a gap, 255 unlabeled; 89 is the toothbrush,
the last of the 80 things."""


def _coco(split: str) -> Callable[[Path], None]:
    image, labels = f"images/{split}/*.jpg", f"annotations/{split}/*.png"
    return lambda root: _write(root / "coco-stuff", image, labels, _COCO_IDS)


def _coco_stuff(split: str) -> Callable[[Path], Replica]:
    return _drawn(_coco(split), _COCO_IDS, halves(0, 11), halves(170, IGNORED), halves(79, IGNORED))


def _a150(split: str, short: str) -> Callable[[Path], Replica]:
    ids = {f"ADE_{short}_00000001": halves(1, 150), f"ADE_{short}_00000002": halves(0, 8)}
    image, labels = f"images/{split}/*.jpg", f"annotations/{split}/*.png"

    def write(root: Path) -> None:
        _write(root / "ADEChallengeData2016", image, labels, ids)

    return _drawn(write, ids, halves(0, 149), halves(IGNORED, 7))


def _a847(root: Path) -> Replica:
    """Wall is 2978, the adding machine 3148; 5 is none of the 847. The second image is shrunk by two."""
    folder, large = "images/ADE/validation/urban/street", (1100, 1024)
    maps = {"ADE_val_00000001": halves(2978, 5), "ADE_val_00000002": halves(3148, 2978, large)}
    for stem, ids in maps.items():
        place = root / "ADE20K_2021_17_01" / folder
        draw(place / f"{stem}.jpg", ids.shape[::-1])
        save_ade20k_ids(place / f"{stem}_seg.png", ids)
        save_ids(place / f"{stem}_parts_1.png", ids * 0)
    listed = [("images/ADE/training/urban/street", "ADE_train_00000001"), *((folder, stem) for stem in maps)]
    save_ade20k_index(root, listed)
    first, second = maps
    return Replica(labels={first: halves(0, IGNORED), second: halves(846, 0, (550, 512))})


_CONTEXT = ("2008_000002", "2008_000003", "2008_000007")
_CONTEXT_TRAIN = "2008_000008"


def _context_masks(root: Path) -> dict[str, np.ndarray]:
    """Category ids of PASCAL-Context: 2 aeroplane, 458 wood, 0 background; 1 is none of the 59."""
    base = root / "VOCdevkit/VOC2010"
    width, height = SIZE
    whole, half = width * height, width // 2 * height
    painted = {
        # wood over all, then aeroplane over the left half: the order decides
        _CONTEXT[0]: [(458, {"counts": [0, whole]}), (2, {"counts": compressed_runs(halves(1, 0))})],
        # only the right half is painted; the rest stays 0
        _CONTEXT[1]: [(9, {"counts": compressed_runs(halves(0, 1))})],
        _CONTEXT[2]: [(1, {"counts": [0, half, whole - half]}), (458, {"counts": [half, whole - half]})],
    }
    for stem in painted:
        draw(base / f"JPEGImages/{stem}.jpg")
    train = {_CONTEXT_TRAIN: [(2, {"counts": [half, whole - half]})]}
    draw(base / f"JPEGImages/{_CONTEXT_TRAIN}.jpg")
    save_context_masks(base / "trainval_merged.json", SIZE, painted, train)
    return {_CONTEXT[0]: halves(2, 458), _CONTEXT[1]: halves(0, 9), _CONTEXT[2]: halves(1, 458)}


def _pc459(root: Path) -> Replica:
    """Ids count from 1: 1 accordion, 459 wool. The first file is of version 5, the second of 7.3; one is missing."""
    base = root / "VOCdevkit/VOC2010"
    stems = image_stems("pascalcontext_val")[:3]
    for stem in stems:
        draw(base / f"JPEGImages/{stem}.jpg")
    (base / "trainval").mkdir(parents=True)
    scipy.io.savemat(base / f"trainval/{stems[0]}.mat", {"LabelMap": halves(1, 459)})
    save_matlab_73(base / f"trainval/{stems[1]}.mat", halves(2, 0))
    return Replica(labels={stems[0]: halves(0, 458), stems[1]: halves(1, IGNORED)}, left_out=frozenset({stems[2]}))


_VOC_IDS = {"2007_000033": halves(1, 20), "2007_000042": halves(0, 255), "2007_000061": halves(0, 4)}


def _voc(root: Path) -> None:
    """Palette PNGs: 0 background, 1 aeroplane, 20 tvmonitor, 255 outlines. The second has no object at all."""
    base, unlisted = root / "VOCdevkit/VOC2012", {"2007_000027": halves(15, 0)}
    _write(base, "JPEGImages/*.jpg", "SegmentationClass/*.png", _VOC_IDS | unlisted, palette=True)
    (base / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    (base / "ImageSets/Segmentation/val.txt").write_text("".join(f"{stem}\n" for stem in _VOC_IDS))


def _pas20(root: Path) -> Replica:
    _voc(root)
    first, empty, third = _VOC_IDS
    return Replica(labels={first: halves(0, 19), third: halves(IGNORED, 3)}, left_out=frozenset({empty}))


def _cityscapes(root: Path) -> Replica:
    """Label ids: 7 road, 33 bicycle, 0 unlabeled, 34 is none; 29 is a caravan, which is not scored."""
    raw = {"frankfurt/frankfurt_000000_000294": halves(7, 33), "munster/munster_000000_000019": halves(29, 11)}
    for kind in ("labelIds", "instanceIds"):
        image, labels = "leftImg8bit/val/*_leftImg8bit.png", f"gtFine/val/*_gtFine_{kind}.png"
        _write(root / "cityscapes", image, labels, raw)
    first, second = raw
    return Replica(labels={first: halves(0, 18), second: halves(IGNORED, 2)})


_HEAD, _LEG = map(class_names("pascal_part116").index, ("cat's head", "dog's leg"))


def _write_pascal_part(root: Path, split: str, objects: Ids, parts: Ids) -> None:
    for kind, ids in (("obj", objects), ("part", parts)):
        image, labels = f"images/{split}/*.jpg", f"annotations_detectron2_{kind}/{split}/*.png"
        _write(root / "PascalPart116", image, labels, ids)


def _pascal_part(root: Path) -> Replica:
    """A cat (7) on the left and a dog (11) on the right; parts of the cat run over into the dog, the sofa has none."""
    parts = halves(_HEAD, _LEG)
    parts[:, 13] = _HEAD
    parts[0, :] = 255
    in_dog = parts.copy()
    in_dog[:, :12] = IGNORED
    in_dog[0, :] = IGNORED
    in_cat = halves(_HEAD, IGNORED)
    in_cat[0, :] = IGNORED
    objects = {"2008_000003": halves(7, 11), "2008_000009": halves(17, 255)}
    _write_pascal_part(root, "val", objects, {"2008_000003": parts, "2008_000009": parts * 0 + 255})
    return Replica(
        labels={"2008_000003/0": in_cat, "2008_000003/1": in_dog},
        left_out=frozenset({"2008_000009/0"}),
        objects={"2008_000003/0": 7, "2008_000003/1": 11},
    )


def _pascal_part_train(root: Path) -> Replica:
    """A cat (seen) and a dog (unseen) with a part each: the cat's is learned; the image of the sofa has none."""
    objects = {"2008_000004": halves(7, 11), "2008_000005": halves(17, 11)}
    _write_pascal_part(root, "train", objects, {"2008_000004": halves(_HEAD, _LEG), "2008_000005": halves(255, _LEG)})
    learned = read_class_list("pascal_part116")["seen_class_names"].index("cat's head")
    return Replica(labels={"2008_000004": halves(learned, IGNORED)}, left_out=frozenset({"2008_000005"}))


def _ade20k_part_train(root: Path) -> Replica:
    """Of the training set's door and bench (unseen) the door's knob is learned."""
    _ade20k_part(root)
    learned = read_class_list("ade20k_part234")["seen_class_names"].index("door's knob")
    return Replica(labels={"training/ADE_train_00000002": halves(learned, IGNORED)})


def _ade20k_part(root: Path) -> Replica:
    """Two doors (17) and a bench (3, unseen); in training only the bench counts. 16-bit maps, 65535 without part."""
    base, names = root / "ADE20KPart234", class_names("ade20k_part234")
    knob, seat = names.index("door's knob"), names.index("bench's seat")
    width, height = SIZE
    left = {"size": [height, width], "counts": [0, width // 2 * height, width // 2 * height]}
    # a polygon around the right half, on the borders of pixels
    right = [[12, 0, 24, 0, 24, 16, 12, 16]]
    stems = {"validation": "ADE_val_00000001", "training": "ADE_train_00000002"}
    instances = {"validation": [(17, left), (17, right)], "training": [(17, left), (3, right)]}
    maps = {"validation": halves(knob, IGNORED), "training": halves(knob, seat)}
    maps["validation"][3:5, 20] = knob
    for split, stem in stems.items():
        draw(base / f"images/{split}/{stem}.jpg")
        path = base / f"annotations_detectron2_part/{split}/{stem}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(maps[split]).save(path)
        listing = base / f"ade20k_instance_{split.removesuffix('idation').removesuffix('ing')}.json"
        save_instances(listing, SIZE, {stem: instances[split]})
    doors = [halves(knob, IGNORED), halves(IGNORED, IGNORED)]
    doors[1][3:5, 20] = knob
    labels = {f"validation/{stems['validation']}/{number}": door for number, door in enumerate(doors)}
    bench = f"training/{stems['training']}/0"
    return Replica(labels={**labels, bench: halves(IGNORED, seat)}, objects={**dict.fromkeys(labels, 17), bench: 3})


_BUILDERS: dict[str, Callable[[Path], Replica]] = {
    "coco-stuff": _coco_stuff("val2017"),
    "coco-stuff-train": _coco_stuff("train2017"),
    "a-150": _a150("validation", "val"),
    "a-150-train": _a150("training", "train"),
    "a-847": _a847,
    "pc-59": _drawn(_context_masks, _CONTEXT, halves(0, 58), halves(IGNORED, 1), halves(IGNORED, 58)),
    "pc-59-train": _drawn(_context_masks, [_CONTEXT_TRAIN], halves(IGNORED, 0)),
    "pc-459": _pc459,
    "pas-20": _pas20,
    "pas-20b": _drawn(_voc, _VOC_IDS, halves(0, 19), halves(20, IGNORED), halves(20, 3)),
    "voc-21": _drawn(_voc, _VOC_IDS, halves(1, 20), halves(0, IGNORED), halves(0, 4)),
    "pc-60": _drawn(_context_masks, _CONTEXT, halves(1, 59), halves(0, 2), halves(IGNORED, 59)),
    # things are one more than their place among the 80; stuff, gaps and unlabeled pixels are background
    "coco-object": _drawn(_coco("val2017"), _COCO_IDS, halves(1, 12), halves(0, 0), halves(80, 0)),
    "cityscapes": _cityscapes,
    "pascal-part-116": _pascal_part,
    "ade20k-part-234": _ade20k_part,
    "pascal-part-116-train": _pascal_part_train,
    "ade20k-part-234-train": _ade20k_part_train,
}
