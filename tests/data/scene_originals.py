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
    runs_of,
    save_ade20k_ids,
    save_ade20k_index,
    save_context_masks,
    save_ids,
    save_instances,
    save_matlab_73,
)
from tests.data.scenes import SIZE, Scene, draw_scene, labels_of, part_labels_of

TRAINING_IMAGES, TEST_IMAGES = 48, 3

Writer = Callable[[str, Path, Mapping[str, Scene]], None]


def stems_of(name: str) -> list[str]:
    """The stems of all images of a benchmark, as its files are called."""
    count = TRAINING_IMAGES if name.endswith("-train") else TEST_IMAGES
    if name in ("pc-59", "pc-60", "pc-459"):
        return list(image_stems("pascalcontext_val")[:count])
    patterns = {
        "coco": "{:012d}",
        "cityscapes": "frankfurt/frankfurt_000000_{:06d}",
        "a": "ADE_train_{:08d}" if name.endswith("-train") else "ADE_val_{:08d}",
    }
    pattern = patterns.get(name.split("-")[0].replace("ade20k", "a"), "2007_{:06d}")
    return [pattern.format(number) for number in range(1, count + 1)]


def write_originals(names: Sequence[str], root: Path) -> None:
    """Write benchmarks' archives (shared ones together), and what is downloaded without one, into a data folder."""
    unpacked = root / "unpacked"
    for name in names:
        training = name.endswith("-train")
        scenes = {stem: draw_scene((_family(name), training, number)) for number, stem in enumerate(stems_of(name))}
        WRITERS[name](name, unpacked, scenes)
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


def _files(name: str, root: Path, stem: str) -> list[Path]:
    """Where each download of a benchmark has an image's file, or all of them."""
    places = [(root / download.locations[0], download.suffix) for download in find_benchmark(name).downloads]
    return [place / f"{stem}{suffix}" if suffix else place for place, suffix in places]


def _save_image(path: Path, scene: Scene) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(scene.image)
    image.save(path, quality=95, subsampling=0) if path.suffix == ".jpg" else image.save(path)


def _paired(names: Sequence[str], ids: Sequence[int], *, palette: bool = False) -> Writer:
    """Maps with the id of each class of a list; the last id is that of all else."""

    def write(name: str, root: Path, scenes: Mapping[str, Scene]) -> None:
        for stem, scene in scenes.items():
            image, labels, *_ = _files(name, root, stem)
            _save_image(image, scene)
            save_ids(labels, np.array(ids)[labels_of(scene, names, -1)], palette=palette)

    return write


def _coco() -> Writer:
    """All 171 classes by their ids, which have gaps; COCO-Object is made from the same files."""
    entries = read_class_list("coco_stuff171_ids")
    return _paired([entry["name"] for entry in entries], [*(entry["stuffthing_id"] for entry in entries), 255])


def _cityscapes() -> Writer:
    ids = {label: int(entry) for entry, label in read_class_list("cityscapes19_ids").items()}
    return _paired(class_names("cityscapes19"), [*(ids[label] for label in range(19)), 0])


def _voc(name: str, root: Path, scenes: Mapping[str, Scene]) -> None:
    _paired(class_names("voc20"), [*range(1, 21), 0], palette=True)(name, root, scenes)
    listing = _files(name, root, "")[-1]
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("".join(f"{stem}\n" for stem in scenes))


def _a847(name: str, root: Path, scenes: Mapping[str, Scene]) -> None:
    entries, folder = read_class_list("ade847_ids"), "images/ADE/validation/urban/street"
    names, ids = [entry["name"] for entry in entries], np.array([entry["ade_id"] for entry in entries] + [0])
    for stem, scene in scenes.items():
        _save_image(root / "ADE20K_2021_17_01" / folder / f"{stem}.jpg", scene)
        path = root / "ADE20K_2021_17_01" / folder / f"{stem}_seg.png"
        save_ade20k_ids(path, ids[labels_of(scene, names, -1)])
    save_ade20k_index(root, [(folder, stem) for stem in scenes])


def _context(name: str, root: Path, scenes: Mapping[str, Scene]) -> None:
    """PC-59 and PC-60: one mask for each class of an image; the file has both phases, whichever is asked for."""
    ids, phases = read_class_list("pc59_ids")["ids"], []
    for phase in ("pc-59", "pc-59-train"):
        masks = {}
        for number, stem in enumerate(stems_of(phase)):
            scene = draw_scene((_family(phase), phase.endswith("-train"), number))
            _save_image(_files(phase, root, stem)[0], scene)
            labels = labels_of(scene, class_names("pc59"), -1)
            found = [int(label) for label in np.unique(labels) if label >= 0]
            masks[stem] = [(ids[label + 1], {"counts": compressed_runs(labels == label)}) for label in found]
        phases.append(masks)
    val, train = phases
    save_context_masks(_files(name, root, "")[-1], SIZE, val, train)


def _context_459(name: str, root: Path, scenes: Mapping[str, Scene]) -> None:
    """Files of MATLAB, of version 5 and 7.3 in turn."""
    for number, (stem, scene) in enumerate(scenes.items()):
        image, path = _files(name, root, stem)
        _save_image(image, scene)
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = (labels_of(scene, class_names("pc459"), -1) + 1).astype(np.uint16)
        save_matlab_73(path, labels) if number % 2 else scipy.io.savemat(path, {"LabelMap": labels})


def _pascal_part(name: str, root: Path, scenes: Mapping[str, Scene]) -> None:
    things = read_class_list("pascal_part116")["obj_names"]
    for stem, scene in scenes.items():
        image, objects, parts = _files(name, root, stem)
        _save_image(image, scene)
        save_ids(objects, labels_of(scene, things, 255))
        save_ids(parts, part_labels_of(scene, class_names("pascal_part116"), 255))


def _ade20k_part(name: str, root: Path, scenes: Mapping[str, Scene]) -> None:
    """Both splits, since the benchmark takes unseen objects from the training set too."""
    things = read_class_list("ade20k_part234")["obj_names"]
    for training, one in enumerate(("ade20k-part-234", "ade20k-part-234-train")):
        instances: dict[str, list] = {}
        for number, stem in enumerate(stems_of(one)):
            scene = draw_scene((_family(one), training, number))
            image, parts, listing = _files(one, root, stem)[:: 1 if training else 2]
            _save_image(image, scene)
            parts.parent.mkdir(parents=True, exist_ok=True)
            part_map = part_labels_of(scene, class_names("ade20k_part234"), 65535)
            Image.fromarray(part_map.astype(np.uint16)).save(parts)
            labels = labels_of(scene, things, -1)
            present = (int(label) for label in np.unique(labels) if label >= 0)
            instances[stem] = [
                (label, {"size": [SIZE[1], SIZE[0]], "counts": runs_of(labels == label)}) for label in present
            ]
        save_instances(listing, SIZE, instances)


WRITERS: Mapping[str, Writer] = {
    **dict.fromkeys(("coco-stuff", "coco-object", "coco-stuff-train"), _coco()),
    **dict.fromkeys(("a-150", "a-150-train"), _paired(class_names("ade150"), [*range(1, 151), 0])),
    "a-847": _a847,
    **dict.fromkeys(("pc-59", "pc-59-train", "pc-60"), _context),
    "pc-459": _context_459,
    **dict.fromkeys(("pas-20", "pas-20b", "voc-21"), _voc),
    "cityscapes": _cityscapes(),
    **dict.fromkeys(("pascal-part-116", "pascal-part-116-train"), _pascal_part),
    **dict.fromkeys(("ade20k-part-234", "ade20k-part-234-train"), _ade20k_part),
}
