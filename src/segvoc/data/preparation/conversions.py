"""Conversions of one image's original labels to a prepared label map, as values that worker processes can run."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt16
from PIL import ExifTags, Image

from segvoc.data.manifests import ManifestRecord
from segvoc.data.preparation.coco_masks import coco_mask
from segvoc.data.preparation.foreign_files import read_matlab_array
from segvoc.data.preparation.label_ids import ids_to_labels, read_ids
from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import opened_image
from segvoc.storage.atomic_writes import write_bytes

IgnoredLabel = Literal[255, 65535]
"""The label of ignored pixels in a prepared map: 255 in 8-bit maps, 65535 in 16-bit maps."""


@dataclass(frozen=True, kw_only=True)
class ConversionResult:
    """The files that a conversion has written."""

    stem: str
    """Names the image in its benchmark."""
    records: tuple[ManifestRecord, ...] = ()
    """Entries for the manifest: one for the image, or one for each of its objects in a part benchmark."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each written file, by its path below the data folder."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Stems of records that the published evaluations leave out too, with the reason."""


@dataclass(frozen=True, kw_only=True)
class ImageConversion:
    """How one image is converted, as a value that can be pickled; all its paths are below the data folder."""

    stem: str
    """Names the image in its benchmark."""
    image: str
    """Path of the image."""
    ignored: IgnoredLabel
    """The label of ignored pixels in the written maps."""

    def run(self, root: Path) -> ConversionResult:
        """Read the original files and write the prepared ones.

        Raises:
            InputError: an original file is missing or damaged, or contains ids that the benchmark doesn't define.
            OutputError: a file can't be written.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class IdImageLabels:
    """Labels in a PNG of ids."""

    path: str
    """Path below the data folder."""
    table: str
    """Name of the table in `ID_TABLES` that maps ids to labels."""

    def read(self, root: Path) -> UInt16[np.ndarray, "H W"]:
        """Read the labels and map them to those of the benchmark; 65535 is ignored.

        Raises:
            InputError: the file is missing or damaged, or contains unknown ids.
        """
        return ids_to_labels(read_ids(root / self.path), self.table, root / self.path)


@dataclass(frozen=True, kw_only=True)
class MatlabLabels:
    """Labels in a MATLAB file of PASCAL-Context: the array "LabelMap" holds the label plus one."""

    path: str
    """Path below the data folder."""

    def read(self, root: Path) -> UInt16[np.ndarray, "H W"]:
        """See `IdImageLabels.read`."""
        ids = read_matlab_array(root / self.path, "LabelMap").astype(np.int64)
        return ids_to_labels(ids, "pc-459", root / self.path)


@dataclass(frozen=True, kw_only=True)
class MaskLabels:
    """Labels in the masks of a PASCAL-Context JSON file; where masks overlap, the later one wins."""

    path: str
    """Path of the JSON file below the data folder, for error messages."""
    height: int
    """Height of the image [px]."""
    width: int
    """Width of the image [px]."""
    masks: tuple[tuple[int, "str | tuple[int, ...]"], ...]
    """Category id and run lengths of each mask, in the order of the file; pixels outside all masks have id 0."""
    table: str
    """Name of the table in `ID_TABLES` that maps category ids to labels."""

    def read(self, root: Path) -> UInt16[np.ndarray, "H W"]:
        """See `IdImageLabels.read`."""
        ids = np.zeros((self.height, self.width), np.int64)
        try:
            for category, counts in self.masks:
                ids[coco_mask({"counts": counts}, self.height, self.width)] = category
        except (ValueError, IndexError, OverflowError) as error:
            raise InputError(f"a mask in {str(root / self.path)!r} is damaged: {error}; download it again") from None
        return ids_to_labels(ids, self.table, root / self.path)


LabelSource = IdImageLabels | MatlabLabels | MaskLabels
"""The original labels of an image."""


@dataclass(frozen=True, kw_only=True)
class LabelConversion(ImageConversion):
    """Writes the label map of an image; the image itself is used as it is."""

    labels: str
    """Path of the label map to write."""
    source: LabelSource
    """The original labels."""
    skip_empty: bool = False
    """Whether to leave out images with only ignored pixels, as the published preparation of VOC does."""

    def run(self, root: Path) -> ConversionResult:
        """See `ImageConversion.run`."""
        labels = self.source.read(root)
        check_image(root / self.image, labels.shape)
        if self.skip_empty and (labels == UNLABELED).all():
            return ConversionResult(stem=self.stem, left_out={self.stem: "every pixel is ignored"})
        written = {self.labels: write_labels(root / self.labels, labels, self.ignored)}
        record = ManifestRecord(stem=self.stem, image=self.image, labels=self.labels)
        return ConversionResult(stem=self.stem, records=(record,), sha256=written)


def check_image(path: Path, shape: tuple[int, ...]) -> None:
    """Check that an image can be decoded completely, and that its upright size matches the shape of its labels, (H, W).

    Raises:
        InputError: the image is missing or damaged, or has another size.
    """
    with opened_image(path) as image:
        size = image.size
        if image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
            size = size[::-1]
        # decoding a JPEG at an eighth of its size also finds a truncated file, three times as fast
        image.draft("L", (max(image.width // 8, 1), max(image.height // 8, 1)))
        image.load()
    if size[::-1] != tuple(shape):
        raise InputError(
            f"{str(path)!r} is {size[0]} x {size[1]} pixels, but its labels are {shape[1]} x {shape[0]}; "
            "download both again"
        )


def write_labels(path: Path, labels: UInt16[np.ndarray, "H W"], ignored: IgnoredLabel) -> str:
    """Write a label map, atomically.

    Args:
        path: the file; its suffix selects PNG or TIFF.
        labels: the label map; 65535 is ignored.
        ignored: the label of ignored pixels in the file: 255 writes 8 bits, 65535 writes 16 bits.

    Returns:
        SHA-256 of the file.
    """
    # the cast to 8 bits turns 65535 into 255
    image = Image.fromarray(labels.astype(np.uint8) if ignored == 255 else labels)
    if path.suffix == ".png":
        return write_image(path, image, "PNG")
    return write_image(path, image, "TIFF", compression="tiff_adobe_deflate")


def write_image(path: Path, image: Image.Image, image_format: str, **options: str) -> str:
    """Write an image, atomically, in a format and with options of Pillow; returns the SHA-256 of the file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    content = buffer.getvalue()
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()
