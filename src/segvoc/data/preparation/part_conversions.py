"""Parts: for each object of a picture a record of its own, the parts in its mask and nothing else (OV-PARTS)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt16
from PIL import Image

from segvoc.data.preparation.coco_masks import coco_mask
from segvoc.data.preparation.conversions import Converted, IgnoredLabel, check_picture, write_labels, write_picture
from segvoc.data.preparation.label_ids import read_ids, translated
from segvoc.data.preparation.manifests import Record
from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELLED


@runtime_checkable
class ObjectMasks(Protocol):
    """The objects of a picture."""

    def read(self, root: Path, shape: tuple[int, int]) -> Iterable[tuple[int, Bool[np.ndarray, "H W"]]]:
        """Index and mask of each object, for a picture of this shape.

        Raises: InputError: they are missing, damaged, or of another shape.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ObjectMap:
    """Pascal-Part-116: a PNG with the class of each pixel's object; all pixels of a class are one object."""

    path: str

    def read(self, root: Path, shape: tuple[int, int]) -> Iterable[tuple[int, Bool[np.ndarray, "H W"]]]:
        """See `ObjectMasks.read`."""
        labels = translated(read_ids(root / self.path), "pascal-part-116 objects", root / self.path)
        if labels.shape != shape:
            raise InputError(f"{str(root / self.path)!r} has another size than the map of parts; download both again")
        return [(int(label), labels == label) for label in np.unique(labels) if label != UNLABELLED]


@dataclass(frozen=True, kw_only=True)
class Instances:
    """ADE20K-Part-234: COCO's masks of single objects. path: of the file they are from, for errors."""

    path: str
    instances: tuple[tuple[int, Any], ...]

    def read(self, root: Path, shape: tuple[int, int]) -> Iterable[tuple[int, Bool[np.ndarray, "H W"]]]:
        """See `ObjectMasks.read`."""
        try:
            return [(index, coco_mask(mask, *shape)) for index, mask in self.instances]
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise InputError(f"a mask in {str(root / self.path)!r} is damaged: {error}; download it again") from None


@dataclass(frozen=True, kw_only=True)
class PartConversion:
    """A picture, its map of parts and its objects.

    image, parts: below the root. table: of the parts' ids. folder: below it a folder for this picture gets a label map
    and a mask for each record. A record without any part is left out: nothing of it could be scored.
    """

    stem: str
    image: str
    parts: str
    objects: ObjectMasks
    table: str
    folder: str
    ignored: IgnoredLabel

    def run(self, root: Path) -> Converted:
        """See `ImageConversion.run`."""
        parts = translated(read_ids(root / self.parts), self.table, root / self.parts)
        check_picture(root / self.image, parts.shape)
        records: list[Record] = []
        written: dict[str, str] = {}
        left_out: dict[str, str] = {}
        for number, (part_object, mask) in enumerate(self.objects.read(root, parts.shape)):
            stem = f"{self.stem}/{number}"
            labels = np.where(mask, parts, np.uint16(UNLABELLED))
            if (labels == UNLABELLED).all():
                left_out[stem] = "its object has no part"
                continue
            record = self._record(stem, part_object)
            written[record.labels] = write_labels(root / record.labels, labels, self.ignored)
            written[f"{self.folder}/{stem}.mask.png"] = _write_mask(root / f"{self.folder}/{stem}.mask.png", mask)
            records.append(record)
        return Converted(stem=self.stem, records=tuple(records), sha256=written, left_out=left_out)

    def _record(self, stem: str, part_object: int) -> Record:
        base = f"{self.folder}/{stem}"
        return Record(
            stem=stem, image=self.image, labels=f"{base}.png", part_object=part_object, mask=f"{base}.mask.png"
        )


@dataclass(frozen=True, kw_only=True)
class PartTrainingConversion:
    """A picture that parts are learnt from: a map of the learnt parts, and one of its objects.

    learnt: the ids of these parts in the original map, in the order of their labels. See also `PartConversion`. A
    picture without any of them is left out.
    """

    stem: str
    image: str
    parts: str
    objects: ObjectMasks
    table: str
    learnt: tuple[int, ...]
    folder: str
    ignored: IgnoredLabel

    def run(self, root: Path) -> Converted:
        """See `ImageConversion.run`."""
        parts = translated(read_ids(root / self.parts), self.table, root / self.parts)
        check_picture(root / self.image, parts.shape)
        labels = np.full(UNLABELLED + 1, UNLABELLED, np.uint16)
        labels[list(self.learnt)] = np.arange(len(self.learnt))
        own = labels[parts]
        if (own == UNLABELLED).all():
            return Converted(stem=self.stem, left_out={self.stem: "none of its parts is learnt"})
        objects = np.full(parts.shape, UNLABELLED, np.uint16)
        for index, mask in self.objects.read(root, parts.shape):
            objects[mask] = index
        paths = f"{self.folder}/{self.stem}.png", f"{self.folder}/{self.stem}.objects.png"
        written = {
            path: write_labels(root / path, values, self.ignored)
            for path, values in zip(paths, (own, objects), strict=True)
        }
        record = Record(stem=self.stem, image=self.image, labels=paths[0], mask=paths[1])
        return Converted(stem=self.stem, records=(record,), sha256=written)


def _write_mask(path: Path, mask: Bool[np.ndarray, "H W"]) -> str:
    values: UInt16[np.ndarray, "H W"] = np.where(mask, 0, 255).astype(np.uint8)
    return write_picture(path, Image.fromarray(values), "PNG")
