"""Writes the training sets and benchmarks as they are downloaded, with drawn scenes in place of photographs."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from segvoc.data.benchmarks import find_benchmark
from segvoc.data.labeled_images import class_names, image_stems, read_class_list
from tests.data.original_files import (
    compressed_runs,
    pack,
    save_ade20k_ids,
    save_ade20k_index,
    save_context_masks,
    save_ids,
    save_instances,
    save_matlab_73,
)
from tests.data.scenes import (
    SIZE,
    Scene,
    draw_scene,
    labels_of,
    part_labels_of,
)

TRAINING_IMAGES, TEST_IMAGES = 48, 3
"""Images of a training set, and of a benchmark."""

Ids = np.ndarray
Writer = Callable[[Path, Mapping[str, Scene]], None]


def stems_of(name: str) -> list[str]:
    """The stems of all images of a benchmark, as its files are called."""
    count = TRAINING_IMAGES if name.endswith("-train") else TEST_IMAGES
    if name in ("pc-59", "pc-60", "pc-459"):
        return list(image_stems("pascalcontext_val")[:count])
    pattern = {
        "coco-stuff": "{:012d}",
        "coco-object": "{:012d}",
        "coco-stuff-train": "{:012d}",
        "cityscapes": "frankfurt/frankfurt_000000_{:06d}",
        "a-150": "ADE_val_{:08d}",
        "a-847": "ADE_val_{:08d}",
        "ade20k-part-234": "ADE_val_{:08d}",
        "ade20k-part-234-train": "ADE_train_{:08d}",
        "a-150-train": "ADE_train_{:08d}",
    }.get(name, "2007_{:06d}")
    return [pattern.format(number) for number in range(1, count + 1)]


def write_originals(names: Sequence[str], root: Path) -> None:
    """Write the archives of benchmarks, and what is downloaded without one, into a data folder.

    Args:
        names: the benchmarks; those that share an archive must be written together.
        root: the data folder.
    """
    unpacked = root / "unpacked"
    for name in names:
        training = name.endswith("-train")
        scenes = {stem: draw_scene((_family(name), training, number)) for number, stem in enumerate(stems_of(name))}
        WRITERS[name](unpacked, scenes)
    first, *others = names
    pack(first, unpacked, *others)
    listing = unpacked / find_benchmark("pc-59").downloads[1].locations[0]
    for path in (*unpacked.glob("*.*"), *([listing] if listing.exists() else [])):
        path.rename(root / path.name)
    shutil.rmtree(unpacked)


_SHARED = (
    ("coco-stuff", "coco-object", "coco-stuff-train"),
    ("a-150", "a-847", "a-150-train"),
    ("pc-59", "pc-60", "pc-459", "pc-59-train"),
    ("pas-20", "pas-20b", "voc-21"),
    ("cityscapes",),
    ("pascal-part-116", "pascal-part-116-train"),
    ("ade20k-part-234", "ade20k-part-234-train"),
)
"""Benchmarks that show the same images, or two splits of one data set."""


def _family(name: str) -> int:
    return next(number for number, shared in enumerate(_SHARED) if name in shared)


def _save_image(path: Path, scene: Scene) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(scene.image)
    image.save(path, quality=95, subsampling=0) if path.suffix == ".jpg" else image.save(path)


def _coco(split: str) -> Writer:
    """All 171 classes by their ids, which have gaps; COCO-Object is made from the same files."""
    entries = read_class_list("coco_stuff171_ids")
    names, ids = [entry["name"] for entry in entries], np.array([entry["stuffthing_id"] for entry in entries] + [255])

    def write(root: Path, scenes: Mapping[str, Scene]) -> None:
        for stem, scene in scenes.items():
            _save_image(root / f"coco-stuff/images/{split}/{stem}.jpg", scene)
            save_ids(root / f"coco-stuff/annotations/{split}/{stem}.png", ids[labels_of(scene, names, -1)])

    return write


def _a150(split: str) -> Writer:
    def write(root: Path, scenes: Mapping[str, Scene]) -> None:
        base = root / "ADEChallengeData2016"
        for stem, scene in scenes.items():
            _save_image(base / f"images/{split}/{stem}.jpg", scene)
            save_ids(base / f"annotations/{split}/{stem}.png", labels_of(scene, class_names("ade150"), -1) + 1)

    return write


def _a847(root: Path, scenes: Mapping[str, Scene]) -> None:
    entries, folder = read_class_list("ade847_ids"), "images/ADE/validation/urban/street"
    names, ids = [entry["name"] for entry in entries], np.array([entry["ade_id"] for entry in entries] + [0])
    for stem, scene in scenes.items():
        _save_image(root / "ADE20K_2021_17_01" / folder / f"{stem}.jpg", scene)
        path = root / "ADE20K_2021_17_01" / folder / f"{stem}_seg.png"
        save_ade20k_ids(path, ids[labels_of(scene, names, -1)])
    save_ade20k_index(root, [(folder, stem) for stem in scenes])


def _runs(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask, column by column, of zeros first."""
    flat = mask.flatten(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(np.concatenate(([0], flat))))
    return np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()


def _context(root: Path, scenes: Mapping[str, Scene]) -> None:
    """PC-59 and PC-60: one mask for each class of an image; the file has both phases, whichever is asked for."""
    base, ids = root / "VOCdevkit/VOC2010", read_class_list("pc59_ids")["ids"]
    phases = []
    for name in ("pc-59", "pc-59-train"):
        masks = {}
        for number, stem in enumerate(stems_of(name)):
            scene = draw_scene((_family(name), name.endswith("-train"), number))
            _save_image(base / f"JPEGImages/{stem}.jpg", scene)
            labels = labels_of(scene, class_names("pc59"), -1)
            found = [int(label) for label in np.unique(labels) if label >= 0]
            masks[stem] = [(ids[label + 1], {"counts": compressed_runs(_runs(labels == label))}) for label in found]
        phases.append(masks)
    val, train = phases
    save_context_masks(base / "trainval_merged.json", SIZE, val, train)


def _context_459(root: Path, scenes: Mapping[str, Scene]) -> None:
    """Files of MATLAB, of version 5 and 7.3 in turn."""
    base = root / "VOCdevkit/VOC2010"
    (base / "trainval").mkdir(parents=True, exist_ok=True)
    for number, (stem, scene) in enumerate(scenes.items()):
        _save_image(base / f"JPEGImages/{stem}.jpg", scene)
        labels = (labels_of(scene, class_names("pc459"), -1) + 1).astype(np.uint16)
        path = base / f"trainval/{stem}.mat"
        save_matlab_73(path, labels) if number % 2 else scipy.io.savemat(path, {"LabelMap": labels})


def _voc(root: Path, scenes: Mapping[str, Scene]) -> None:
    base = root / "VOCdevkit/VOC2012"
    for stem, scene in scenes.items():
        _save_image(base / f"JPEGImages/{stem}.jpg", scene)
        ids = labels_of(scene, class_names("voc20"), -1) + 1
        save_ids(base / f"SegmentationClass/{stem}.png", ids, palette=True)
    (base / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    (base / "ImageSets/Segmentation/val.txt").write_text("".join(f"{stem}\n" for stem in scenes))


def _cityscapes(root: Path, scenes: Mapping[str, Scene]) -> None:
    ids = {label: int(entry) for entry, label in read_class_list("cityscapes19_ids").items()}
    of_label = np.array([ids[label] for label in range(19)] + [0])
    for stem, scene in scenes.items():
        _save_image(root / f"cityscapes/leftImg8bit/val/{stem}_leftImg8bit.png", scene)
        labels = of_label[labels_of(scene, class_names("cityscapes19"), -1)]
        save_ids(root / f"cityscapes/gtFine/val/{stem}_gtFine_labelIds.png", labels)


def _pascal_part(split: str) -> Writer:
    objects = read_class_list("pascal_part116")["obj_names"]

    def write(root: Path, scenes: Mapping[str, Scene]) -> None:
        base = root / "PascalPart116"
        for stem, scene in scenes.items():
            _save_image(base / f"images/{split}/{stem}.jpg", scene)
            parts = part_labels_of(scene, class_names("pascal_part116"), 255)
            save_ids(base / f"annotations_detectron2_obj/{split}/{stem}.png", labels_of(scene, objects, 255))
            save_ids(base / f"annotations_detectron2_part/{split}/{stem}.png", parts)

    return write


def _ade20k_part(root: Path, scenes: Mapping[str, Scene]) -> None:
    """Both splits, since the benchmark takes unseen objects from the training set too."""
    base, objects = root / "ADE20KPart234", read_class_list("ade20k_part234")["obj_names"]
    own = "training" if next(iter(scenes)).startswith("ADE_train") else "validation"
    other, number = {"training": ("validation", 0), "validation": ("training", 1)}[own]
    stems = stems_of("ade20k-part-234-train" if number else "ade20k-part-234")
    more = {stem: draw_scene((len(_SHARED) - 1, number, place)) for place, stem in enumerate(stems)}
    for split, drawn in ((own, scenes), (other, more)):
        instances: dict[str, list] = {}
        for stem, scene in drawn.items():
            _save_image(base / f"images/{split}/{stem}.jpg", scene)
            path = base / f"annotations_detectron2_part/{split}/{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            parts = part_labels_of(scene, class_names("ade20k_part234"), 65535)
            Image.fromarray(parts.astype(np.uint16)).save(path)
            labels = labels_of(scene, objects, -1)
            instances[stem] = [
                (int(label), {"size": [SIZE[1], SIZE[0]], "counts": _runs(labels == label)})
                for label in np.unique(labels)
                if label >= 0
            ]
        listing = {"training": "ade20k_instance_train.json", "validation": "ade20k_instance_val.json"}[split]
        save_instances(base / listing, SIZE, instances)


WRITERS: Mapping[str, Writer] = {
    "coco-stuff": _coco("val2017"),
    "coco-object": _coco("val2017"),
    "coco-stuff-train": _coco("train2017"),
    "a-150": _a150("validation"),
    "a-150-train": _a150("training"),
    "a-847": _a847,
    "pc-59": _context,
    "pc-59-train": _context,
    "pc-60": _context,
    "pc-459": _context_459,
    "pas-20": _voc,
    "pas-20b": _voc,
    "voc-21": _voc,
    "cityscapes": _cityscapes,
    "pascal-part-116": _pascal_part("val"),
    "pascal-part-116-train": _pascal_part("train"),
    "ade20k-part-234": _ade20k_part,
    "ade20k-part-234-train": _ade20k_part,
}
"""How the unpacked files of each benchmark are written."""
