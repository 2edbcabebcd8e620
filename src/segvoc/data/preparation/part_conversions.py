"""Conversions for part benchmarks: one record for each object, with only the parts in its mask (OV-PARTS)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt16
from PIL import Image

from segvoc.data.preparation.coco_masks import coco_mask
from segvoc.data.preparation.conversions import ConversionResult, IgnoredLabel, check_image, write_image, write_labels
from segvoc.data.preparation.label_ids import ids_to_labels, read_ids
from segvoc.data.preparation.manifests import ManifestRecord
from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELED


@runtime_checkable
class ObjectMasks(Protocol):
    """The objects of an image."""

    def read(self, root: Path, shape: tuple[int, int]) -> Iterable[tuple[int, Bool[np.ndarray, "H W"]]]:
        """Read the index and the mask of each object.

        Args:
            root: the data folder.
            shape: height and width of the image [px].

        Raises:
            InputError: the masks are missing or damaged, or have another shape.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ObjectMap:
    """Objects of Pascal-Part-116: a PNG with the object class of each pixel; all pixels of a class are one object."""

    path: str
    """Path below the data folder."""

    def read(self, root: Path, shape: tuple[int, int]) -> Iterable[tuple[int, Bool[np.ndarray, "H W"]]]:
        """See `ObjectMasks.read`."""
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

    def read(self, root: Path, shape: tuple[int, int]) -> Iterable[tuple[int, Bool[np.ndarray, "H W"]]]:
        """See `ObjectMasks.read`."""
        try:
            return [(index, coco_mask(mask, *shape)) for index, mask in self.instances]
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise InputError(f"a mask in {str(root / self.path)!r} is damaged: {error}; download it again") from None


@dataclass(frozen=True, kw_only=True)
class PartConversion:
    """Writes a label map and a mask for each object of an image.

    Objects without parts are left out, since nothing of them could be scored.
    """

    stem: str
    """Names the image in its benchmark."""
    image: str
    """Path of the image below the data folder."""
    parts: str
    """Path of the original part map below the data folder."""
    objects: ObjectMasks
    """The objects of the image."""
    table: str
    """Name of the table in `ID_TABLES` that maps part ids to labels."""
    folder: str
    """Folder of the written files, below the data folder; each image gets a sub-folder."""
    ignored: IgnoredLabel
    """The label of ignored pixels in the written maps."""

    def run(self, root: Path) -> ConversionResult:
        """See `ImageConversion.run`."""
        parts = ids_to_labels(read_ids(root / self.parts), self.table, root / self.parts)
        check_image(root / self.image, parts.shape)
        records: list[ManifestRecord] = []
        written: dict[str, str] = {}
        left_out: dict[str, str] = {}
        for number, (part_object, mask) in enumerate(self.objects.read(root, parts.shape)):
            stem = f"{self.stem}/{number}"
            labels = np.where(mask, parts, np.uint16(UNLABELED))
            if (labels == UNLABELED).all():
                left_out[stem] = "its object has no part"
                continue
            record = self._record(stem, part_object)
            written[record.labels] = write_labels(root / record.labels, labels, self.ignored)
            written[f"{self.folder}/{stem}.mask.png"] = _write_mask(root / f"{self.folder}/{stem}.mask.png", mask)
            records.append(record)
        return ConversionResult(stem=self.stem, records=tuple(records), sha256=written, left_out=left_out)

    def _record(self, stem: str, part_object: int) -> ManifestRecord:
        base = f"{self.folder}/{stem}"
        return ManifestRecord(
            stem=stem, image=self.image, labels=f"{base}.png", part_object=part_object, mask=f"{base}.mask.png"
        )


@dataclass(frozen=True, kw_only=True)
class PartTrainingConversion:
    """Writes the label maps of an image that parts are learned from: one of the learned parts, and one of all objects.

    Images without learned parts are left out.
    """

    stem: str
    """Names the image in its benchmark."""
    image: str
    """Path of the image below the data folder."""
    parts: str
    """Path of the original part map below the data folder."""
    objects: ObjectMasks
    """The objects of the image."""
    table: str
    """Name of the table in `ID_TABLES` that maps part ids to labels."""
    learned: tuple[int, ...]
    """Labels of the learned parts among all parts, in the order of their labels in the training set."""
    folder: str
    """Folder of the written files, below the data folder."""
    ignored: IgnoredLabel
    """The label of ignored pixels in the written maps."""

    def run(self, root: Path) -> ConversionResult:
        """See `ImageConversion.run`."""
        parts = ids_to_labels(read_ids(root / self.parts), self.table, root / self.parts)
        check_image(root / self.image, parts.shape)
        labels = np.full(UNLABELED + 1, UNLABELED, np.uint16)
        labels[list(self.learned)] = np.arange(len(self.learned))
        own = labels[parts]
        if (own == UNLABELED).all():
            return ConversionResult(stem=self.stem, left_out={self.stem: "none of its parts is learned"})
        objects = np.full(parts.shape, UNLABELED, np.uint16)
        for index, mask in self.objects.read(root, parts.shape):
            objects[mask] = index
        paths = f"{self.folder}/{self.stem}.png", f"{self.folder}/{self.stem}.objects.png"
        written = {
            path: write_labels(root / path, values, self.ignored)
            for path, values in zip(paths, (own, objects), strict=True)
        }
        record = ManifestRecord(stem=self.stem, image=self.image, labels=paths[0], mask=paths[1])
        return ConversionResult(stem=self.stem, records=(record,), sha256=written)


def _write_mask(path: Path, mask: Bool[np.ndarray, "H W"]) -> str:
    values: UInt16[np.ndarray, "H W"] = np.where(mask, 0, 255).astype(np.uint8)
    return write_image(path, Image.fromarray(values), "PNG")
