"""ADE20K: the scene parsing challenge of 2016 with 150 classes, and the full dataset of 2021."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import ExifTags, ImageOps

from segvoc.data.class_lists import class_names, read_class_list
from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, checked_size
from segvoc.data.datasets.label_tables import read_label_table
from segvoc.data.datasets.maps import IndexMap
from segvoc.data.datasets.mask_pairs import FolderPair, paired_images
from segvoc.data.datasets.places import DatasetSource, chosen_set, visible_files
from segvoc.errors import UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED, label_table
from segvoc.imaging.reading import opened_image

_TABLE = "objectInfo150.txt"
_SETS = ("training", "validation")
_SEGMENTATION = "_seg.png"


def is_ade20k(folder: Path) -> bool:
    """Whether a folder is ADEChallengeData2016 or ADE20K_2021_17_01, complete or not."""
    scenes = (folder / "sceneCategories.txt").is_file() or (folder / _TABLE).is_file()
    return scenes or (folder / "images/ADE").is_dir() or any((folder / "annotations" / name).is_dir() for name in _SETS)


def read_ade20k(source: DatasetSource) -> FoundDataset:
    """Read the challenge's `annotations/validation/*.png`, in which 0 is unlabeled, or the full dataset's `*_seg.png`.

    The classes are those of `objectInfo150.txt`, or the 847 with which the full dataset is evaluated; other objects of
    it are unlabeled.

    Args:
        source: the folder ADEChallengeData2016, or ADE20K_2021_17_01.

    Raises:
        UsageError: a folder is missing, there are several sets, or the table is damaged.
    """
    if (source.folder / "images/ADE").is_dir():
        return _full(source)
    maps = source.folder / "annotations"
    if not maps.is_dir():
        raise UsageError(
            f"{str(source.path)!r} has no folder annotations; unpack all of ADEChallengeData2016.zip there"
        )
    file = source.folder / _TABLE
    if file.is_file():
        table = read_label_table(file)
        names, labels = table.names, dict(table.indices)
    else:
        names = class_names("ade150")
        labels = {index: label for label, index in enumerate(range(1, len(names) + 1))}
    labels |= {0: UNLABELED}
    sets = {name: path for name in sorted(path.name for path in maps.iterdir()) if (path := maps / name).is_dir()}
    split = chosen_set(source, sets or {"": maps}, "sets")
    pair = FolderPair(images=source.folder / "images" / split.relative_to(maps), masks=split)
    images = paired_images(source, pair, lambda path: IndexMap(path=path, labels=labels))
    return FoundDataset(names=names, images=images, has_outside=False)


@dataclass(frozen=True, kw_only=True)
class FullAdeMap:
    """A `_seg.png`: red / 10 * 256 + green is the id of a pixel's object class, blue the number of its object."""

    path: Path
    """The file."""
    image: Path
    """The image, whose stored pixels it fits, whatever its EXIF orientation says."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        pixels = self._pixels(size)
        ids = pixels[..., 0].astype(np.uint16) // 10 * 256 + pixels[..., 1]
        return label_table(_full_labels())[ids]

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        numbers = self._pixels(size)[..., 2]
        labels = self.draw(size, UNLABELED)
        return np.where(np.isin(labels, [*stuff, UNLABELED]), 0, numbers).astype(np.uint16)

    def _pixels(self, size: tuple[int, int]) -> np.ndarray:
        with opened_image(self.image) as photo:
            orientation = photo.getexif().get(ExifTags.Base.Orientation, 1)
        with opened_image(self.path) as image:
            if image.mode != "RGB":
                raise ValueError(f"{self.path.name!r} is a {image.mode} image, not RGB")
            image.getexif()[ExifTags.Base.Orientation] = orientation
            pixels = np.array(ImageOps.exif_transpose(image))
        checked_size(size, pixels.shape[:2])
        return pixels


def _full_labels() -> Mapping[int, int]:
    return {entry["ade_id"]: entry["train_id"] for entry in read_class_list("ade847_ids")}


def _full(source: DatasetSource) -> FoundDataset:
    root = source.folder / "images/ADE"
    sets = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    if not sets:
        raise UsageError(f"{str(root)!r} has no sets; unpack all of ADE20K_2021_17_01.zip there")
    split = chosen_set(source, sets, "sets")
    found = []
    photos = {
        path.relative_to(split).with_suffix("").as_posix(): path
        for path in visible_files(split, lambda path: path.suffix.lower() in IMAGE_SUFFIXES - {".png"})
    }
    maps = {
        path.relative_to(split).as_posix().removesuffix(_SEGMENTATION)
        for path in visible_files(split, lambda path: path.name.endswith(_SEGMENTATION))
    }
    if not maps:
        raise UsageError(f"{str(split)!r} has no files *{_SEGMENTATION}; unpack all of ADE20K_2021_17_01.zip there")
    for stem in sorted(maps | photos.keys()):
        image = photos.get(stem, split / f"{stem}.jpg")
        if source.images is not None:
            image = source.images / image.relative_to(split)
        path = split / f"{stem}{_SEGMENTATION}"
        annotation = FullAdeMap(path=path, image=image)
        found.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=annotation))
    return FoundDataset(names=class_names("ade847"), images=found, has_outside=False)
