"""Writes the files of original downloads of benchmarks, in their own formats and archives."""

import json
import pickle
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from segvoc.data.benchmarks import find_benchmark
from segvoc.data.labeled_images import read_class_list

Masks = Sequence[tuple[int, Mapping[str, Any]]]
"""Category and run lengths of each mask of an image, in the order in which they are painted."""


def pack(name: str, root: Path, *others: str) -> None:
    """Put the originals of benchmarks into archives with the names that they are downloaded under."""
    archives: dict[str, dict[str, Path]] = {}
    for download in (download for one in (name, *others) for download in find_benchmark(one).downloads):
        if not download.archives:
            continue
        members = archives.setdefault(download.archives[0], {})
        place = root / download.locations[0]
        above = f"{place.relative_to(root).parts[0]}/" if download.archives[0].endswith(".tar.gz") else ""
        above = "" if download.member == "trainval" else above
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file():
                members[f"{above}{download.member}{str(path).removeprefix(str(place))}"] = path
    for archive, members in archives.items():
        if archive.endswith(".zip"):
            with zipfile.ZipFile(root / archive, "w") as file:
                for member, path in members.items():
                    file.write(path, member)
                file.writestr("__MACOSX/._junk.jpg", b"\0\5\x16\7")
        else:
            with tarfile.open(root / archive, "w:gz" if archive.endswith("gz") else "w") as file:
                for member, path in members.items():
                    file.add(path, member)
    for path in {path for members in archives.values() for path in members.values()}:
        path.unlink()


def hide_beside(path: Path) -> None:
    """Write the hidden file that macOS leaves beside a file."""
    path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")


def save_ids(path: Path, ids: np.ndarray, *, palette: bool = False) -> None:
    """An 8-bit PNG of ids, with macOS's hidden file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids.astype(np.uint8))
    if palette:
        image.putpalette([value for value in range(256) for _ in "rgb"])
    image.save(path)
    hide_beside(path)


def save_ade20k_ids(path: Path, ids: np.ndarray) -> None:
    """The ids of the full ADE20K: tens of red count 256 each, green counts one; blue tells instances apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([ids // 256 * 10, ids % 256, ids * 0 + 7], axis=-1).astype(np.uint8)).save(path)


def save_ade20k_index(root: Path, images: Sequence[tuple[str, str]]) -> None:
    """The index of the full ADE20K, for images given as (folder below that of the data set, stem)."""
    names = [f"object {number}" for number in range(1, 3689)]
    for entry in read_class_list("ade847_ids"):
        names[entry["ade_id"] - 1] = entry["name"]
    index = {
        "filename": [f"{stem}.jpg" for _, stem in images],
        "folder": [f"ADE20K_2021_17_01/{folder}" for folder, _ in images],
        "objectnames": names,
        "objectPresence": np.zeros((5, len(images))),
    }
    (root / "ADE20K_2021_17_01/index_ade20k.pkl").write_bytes(pickle.dumps(index, protocol=4))


def runs_of(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask, column by column, of zeros first."""
    flat = mask.flatten(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(np.concatenate(([0], flat))))
    return np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()


def compressed_runs(mask: np.ndarray) -> str:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


def save_context_masks(path: Path, size: tuple[int, int], val: Mapping[str, Masks], train: Mapping[str, Masks]) -> None:
    """The masks of PASCAL-Context, by stem; all images of a size (width, height), in two phases."""
    width, height = size
    images, annotations = [], []
    for phase, stems in (("val", val), ("train", train)):
        for stem, masks in stems.items():
            image_id = int(stem.replace("_", ""))
            images.append({"image_id": image_id, "file_name": f"{stem}.jpg", "phase": phase})
            images[-1] |= {"height": height, "width": width}
            annotations += [
                {"image_id": image_id, "category_id": category, "segmentation": {"size": [height, width], **mask}}
                for category, mask in masks
            ]
    path.write_text(json.dumps({"images": images, "annos_segmentation": annotations}))


def save_matlab_73(path: Path, labels: np.ndarray) -> None:
    """A MATLAB file of version 7.3: HDF5 behind a header of text, with columns as rows."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["LabelMap"] = labels.T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2010".ljust(124))


def save_instances(path: Path, size: tuple[int, int], instances: Mapping[str, Sequence[tuple[int, Any]]]) -> None:
    """A COCO file of instances by stem: category, and run lengths or polygons; all images of a size (width, height)."""
    width, height = size
    images = [
        {"id": number, "file_name": f"{stem}.jpg", "height": height, "width": width}
        for number, stem in enumerate(instances, 1)
    ]
    masks = [(number, *mask) for number, own in enumerate(instances.values(), 1) for mask in own]
    annotations = [
        {"id": place, "image_id": number, "category_id": category, "segmentation": mask}
        for place, (number, category, mask) in enumerate(masks)
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
