"""From a picture's original labels to its prepared label map: one value for each picture, which any process can run."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt16
from PIL import ExifTags, Image

from segvoc.data.preparation.coco_masks import coco_mask
from segvoc.data.preparation.foreign_files import read_matlab_array
from segvoc.data.preparation.label_ids import read_ids, translated
from segvoc.data.preparation.manifests import Record
from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.imaging.reading import opened_image
from segvoc.storage.atomic_writes import write_atomically

IgnoredLabel = Literal[255, 65535]
"""The value of ignored pixels in a prepared map, which is also its number of bits."""


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a conversion has written.

    records: pictures to score. sha256: of each file, by its path below the root. left_out: what the published
    evaluations leave out as well, and why.
    """

    stem: str
    records: tuple[Record, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class ImageConversion(Protocol):
    """What is to be done for one picture; it can be pickled."""

    @property
    def stem(self) -> str:
        """Names the picture among all of its benchmark."""
        ...

    def run(self, root: Path) -> Converted:
        """Read the originals below the root, and write the prepared files there.

        Raises:
            InputError: an original is missing or damaged, or holds ids that the benchmark does not know.
            OutputError: a file can't be written.
        """
        ...


@runtime_checkable
class LabelSource(Protocol):
    """The original labels of a picture."""

    def read(self, root: Path) -> UInt16[np.ndarray, "H W"]:
        """The benchmark's labels; 65535 is ignored.

        Raises: InputError: they are missing, damaged, or hold unknown ids.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LabelConversion:
    """A picture that stays as it is, and its label map.

    image, labels: below the root, in and out. ignored: the value of ignored pixels in the map: 255, or 65535 in one of
    16 bits. skip_empty: a map of which every pixel is ignored is not written, as in the published preparation of VOC.
    """

    stem: str
    image: str
    labels: str
    source: LabelSource
    ignored: IgnoredLabel
    skip_empty: bool = False

    def run(self, root: Path) -> Converted:
        """See `ImageConversion.run`."""
        labels = self.source.read(root)
        check_picture(root / self.image, labels.shape)
        if self.skip_empty and (labels == UNLABELLED).all():
            return Converted(stem=self.stem, left_out={self.stem: "every pixel is ignored"})
        written = {self.labels: write_labels(root / self.labels, labels, self.ignored)}
        return Converted(stem=self.stem, records=(self.record,), sha256=written)

    @property
    def record(self) -> Record:
        """What will stand in the manifest."""
        return Record(stem=self.stem, image=self.image, labels=self.labels)


@dataclass(frozen=True, kw_only=True)
class IdPicture:
    """A PNG of ids. table: how they are translated (`ID_TABLES`)."""

    path: str
    table: str

    def read(self, root: Path) -> UInt16[np.ndarray, "H W"]:
        """See `LabelSource.read`."""
        return translated(read_ids(root / self.path), self.table, root / self.path)


@dataclass(frozen=True, kw_only=True)
class MatlabLabels:
    """PASCAL-Context's LabelMap: ids from 1, which are the labels' positions plus one."""

    path: str

    def read(self, root: Path) -> UInt16[np.ndarray, "H W"]:
        """See `LabelSource.read`."""
        ids = read_matlab_array(root / self.path, "LabelMap").astype(np.int64)
        return translated(ids, "pc-459", root / self.path)


@dataclass(frozen=True, kw_only=True)
class PaintedMasks:
    """PASCAL-Context's masks as run lengths, painted one over another in their order, on 0.

    path: of the file they are from, for errors. masks: category id and run lengths of each. table: of the category ids
    (`ID_TABLES`).
    """

    path: str
    height: int
    width: int
    masks: tuple[tuple[int, "str | tuple[int, ...]"], ...]
    table: str

    def read(self, root: Path) -> UInt16[np.ndarray, "H W"]:
        """See `LabelSource.read`."""
        ids = np.zeros((self.height, self.width), np.int64)
        try:
            for category, counts in self.masks:
                ids[coco_mask({"counts": counts}, self.height, self.width)] = category
        except (ValueError, IndexError, OverflowError) as error:
            raise InputError(f"a mask in {str(root / self.path)!r} is damaged: {error}; download it again") from None
        return translated(ids, self.table, root / self.path)


def check_picture(path: Path, shape: tuple[int, ...]) -> None:
    """Check that a picture can be decoded to its end, and has the size of its labels (H, W), upright.

    Raises: InputError: it can't, or hasn't.
    """
    with opened_image(path) as image:
        size = image.size
        if image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
            size = size[::-1]
        # an eighth of the size is enough to find where a JPEG breaks off, and three times as quick
        image.draft("L", (max(image.width // 8, 1), max(image.height // 8, 1)))
        image.load()
    if size[::-1] != tuple(shape):
        raise InputError(
            f"{str(path)!r} is {size[0]} x {size[1]} pixels, and its labels {shape[1]} x {shape[0]}; "
            "download both again"
        )


def write_labels(path: Path, labels: UInt16[np.ndarray, "H W"], ignored: IgnoredLabel) -> str:
    """Write a label map as PNG, or TIFF if its suffix says so; where `ignored` is 255, in 8 bits, else in 16.

    Returns: its sha256.
    """
    # 65535 becomes 255 when it is cut to 8 bits, just as wanted
    image = Image.fromarray(labels.astype(np.uint8) if ignored == 255 else labels)
    if path.suffix == ".png":
        return write_picture(path, image, "PNG")
    return write_picture(path, image, "TIFF", compression="tiff_adobe_deflate")


def write_picture(path: Path, image: Image.Image, picture_format: str, **options: str) -> str:
    """Write a picture, atomically. Returns: its sha256."""
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    content = buffer.getvalue()
    write_atomically(path, lambda file: file.write(content))
    return hashlib.sha256(content).hexdigest()
