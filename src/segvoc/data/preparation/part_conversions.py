"""Conversions for part benchmarks: one record for each object, with only the parts in its mask (OV-PARTS)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt16
from PIL import Image

from segvoc.data.manifests import ManifestRecord
from segvoc.data.preparation.coco_masks import coco_mask
from segvoc.data.preparation.conversions import (
    ConversionResult,
    ImageConversion,
    check_image,
    write_image,
    write_labels,
)
from segvoc.data.preparation.label_ids import ids_to_labels, read_ids
from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELED

Objects = Iterable[tuple[int, Bool[np.ndarray, "H W"]]]
"""Index and mask of each object of an image."""


@dataclass(frozen=True, kw_only=True)
class ObjectMap:
    """Objects of Pascal-Part-116: a PNG with the object class of each pixel; all pixels of a class are one object."""

    path: str
    """Path below the data folder."""

    def read(self, root: Path, shape: tuple[int, int]) -> Objects:
        """Read the index and the mask of each object in an image of this shape (H, W) [px].

        Raises:
            InputError: the masks are missing or damaged, or have another shape.
        """
        labels = ids_to_labels(read_ids(root / self.path), "pascal-part-116 objects", root / self.path)
        if labels.shape != shape:
            raise InputError(f"{str(root / self.path)!r} has another size than the part map; download both again")
        return [(int(label), labels == label) for label in np.unique(labels) if label != UNLABELED]


@dataclass(frozen=True, kw_only=True)
class InstanceMasks:
    """Objects of ADE20K-Part-234: COCO masks of single instances."""

    path: str
    """Path of the annotation file below the data folder, for error messages."""
    instances: tuple[tuple[int, Any], ...]
    """Object index and COCO segmentation of each instance."""

    def read(self, root: Path, shape: tuple[int, int]) -> Objects:
        """See `ObjectMap.read`."""
        try:
            return [(index, coco_mask(mask, *shape)) for index, mask in self.instances]
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise InputError(f"a mask in {str(root / self.path)!r} is damaged: {error}; download it again") from None


@dataclass(frozen=True, kw_only=True)
class PartConversion(ImageConversion):
    """Writes a label map and a mask for each object of an image; for training, maps of learned parts and of objects.

    Objects without parts are left out, since nothing of them could be scored, and so are images without learned parts.
    """

    parts: str
    """Path of the original part map."""
    objects: ObjectMap | InstanceMasks
    """The objects of the image."""
    table: str
    """Name of the table in `ID_TABLES` that maps part ids to labels."""
    folder: str
    """Folder of the written files; of a benchmark that is scored, each image gets a sub-folder."""
    learned: tuple[int, ...] | None = None
    """For training: labels of the learned parts among all parts, in the order of their labels in the training set."""

    def run(self, root: Path) -> ConversionResult:
        """See `ImageConversion.run`."""
        parts = ids_to_labels(read_ids(root / self.parts), self.table, root / self.parts)
        check_image(root / self.image, parts.shape)
        objects = self.objects.read(root, parts.shape)
        if self.learned is None:
            return self._by_object(root, parts, objects)
        return self._for_training(root, parts, objects, self.learned)

    def _by_object(self, root: Path, parts: UInt16[np.ndarray, "H W"], objects: Objects) -> ConversionResult:
        records: list[ManifestRecord] = []
        written: dict[str, str] = {}
        left_out: dict[str, str] = {}
        for number, (part_object, mask) in enumerate(objects):
            stem = f"{self.stem}/{number}"
            labels = np.where(mask, parts, np.uint16(UNLABELED))
            if (labels == UNLABELED).all():
                left_out[stem] = "its object has no part"
                continue
            path, mask_path = f"{self.folder}/{stem}.png", f"{self.folder}/{stem}.mask.png"
            written[path] = write_labels(root / path, labels, self.ignored)
            outside = Image.fromarray(np.where(mask, 0, 255).astype(np.uint8))
            written[mask_path] = write_image(root / mask_path, outside, "PNG")
            records.append(
                ManifestRecord(stem=stem, image=self.image, labels=path, part_object=part_object, mask=mask_path)
            )
        return ConversionResult(stem=self.stem, records=tuple(records), sha256=written, left_out=left_out)

    def _for_training(
        self, root: Path, parts: UInt16[np.ndarray, "H W"], objects: Objects, learned: tuple[int, ...]
    ) -> ConversionResult:
        labels = np.full(UNLABELED + 1, UNLABELED, np.uint16)
        labels[list(learned)] = np.arange(len(learned))
        own = labels[parts]
        if (own == UNLABELED).all():
            return ConversionResult(stem=self.stem, left_out={self.stem: "none of its parts is learned"})
        object_map = np.full(parts.shape, UNLABELED, np.uint16)
        for index, mask in objects:
            object_map[mask] = index
        maps = {f"{self.folder}/{self.stem}.png": own, f"{self.folder}/{self.stem}.objects.png": object_map}
        written = {path: write_labels(root / path, values, self.ignored) for path, values in maps.items()}
        path, object_path = maps
        record = ManifestRecord(stem=self.stem, image=self.image, labels=path, mask=object_path)
        return ConversionResult(stem=self.stem, records=(record,), sha256=written)
