"""Conversions of one image's original labels to a prepared label map, as values that worker processes can run."""

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from PIL import ExifTags, Image

from segvoc.data.labeled_images import read_class_list
from segvoc.data.manifests import ManifestRecord
from segvoc.data.preparation.originals import read_matlab_array
from segvoc.errors import InputError, missing_extra
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import opened_image
from segvoc.storage.atomic_writes import write_bytes

UNKNOWN_ID = 65_534
"""Marks ids in a table that no file of the benchmark should contain."""


def _table(size: int, labels: Mapping[int, int], ignored: range | tuple[int, ...]) -> UInt16[np.ndarray, " N"]:
    table = np.full(size, UNKNOWN_ID, np.uint16)
    table[list(ignored)] = UNLABELED
    table[list(labels)] = list(labels.values())
    table.flags.writeable = False
    return table


@cache
def _coco_stuff() -> UInt16[np.ndarray, " N"]:
    labels = {entry["stuffthing_id"]: entry["train_id"] for entry in read_class_list("coco_stuff171_ids")}
    return _table(256, labels, (*range(182), 255))  # the gaps between the ids are ignored


@cache
def _coco_object() -> UInt16[np.ndarray, " N"]:
    things = {entry["stuffthing_id"]: entry["train_id"] + 1 for entry in read_class_list("coco_stuff171_ids")[:80]}
    return _table(256, dict.fromkeys((*range(182), 255), 0) | things, ())


@cache
def _context(background: bool) -> UInt16[np.ndarray, " N"]:
    ids: list[int] = read_class_list("pc59_ids")["ids"]
    labels = {category: position - (not background) for position, category in enumerate(ids) if category or background}
    return _table(460, labels, range(460))


@cache
def _cityscapes() -> UInt16[np.ndarray, " N"]:
    labels = {int(entry): label for entry, label in read_class_list("cityscapes19_ids").items()}
    return _table(256, labels, (*range(34), 255))


@cache
def _full_ade20k() -> UInt16[np.ndarray, " N"]:
    # all values of red / 10 * 256 + green, since ids that aren't among the 847 are ignored
    return _table(
        26 * 256, {entry["ade_id"]: entry["train_id"] for entry in read_class_list("ade847_ids")}, range(26 * 256)
    )


ID_TABLES: Mapping[str, Callable[[], UInt16[np.ndarray, " N"]]] = {
    "coco-stuff": _coco_stuff,
    "coco-object": _coco_object,
    "a-150": cache(lambda: _table(256, {entry: entry - 1 for entry in range(1, 151)}, (0,))),
    "a-847": _full_ade20k,
    "pc-59": lambda: _context(False),
    "pc-60": lambda: _context(True),
    # the published preparation maps 460 to 459, its ignored label
    "pc-459": cache(lambda: _table(461, {entry: entry - 1 for entry in range(1, 460)}, (0, 460))),
    "pas-20": cache(lambda: _table(256, {entry: entry - 1 for entry in range(1, 21)}, (0, 255))),
    "pas-20b": cache(lambda: _table(256, {0: 20} | {entry: entry - 1 for entry in range(1, 21)}, (255,))),
    "voc-21": cache(lambda: _table(256, {entry: entry for entry in range(21)}, (255,))),
    "cityscapes": _cityscapes,
    "pascal-part-116 objects": cache(lambda: _table(256, {entry: entry for entry in range(20)}, (255,))),
    "pascal-part-116": cache(lambda: _table(256, {entry: entry for entry in range(116)}, (255,))),
    "ade20k-part-234": cache(lambda: _table(65_536, {entry: entry for entry in range(234)}, (65_535,))),
}
"""Function per benchmark that returns its table: the label of each id, 65535 if ignored, else `UNKNOWN_ID`."""


def read_ids(path: Path) -> np.ndarray:
    """Read the pixel values of a grayscale or palette image of 8 or 16 bits, shape (H, W).

    Raises:
        InputError: the file can't be read, or is a color image.
    """
    with opened_image(path) as image:
        mode, values = image.mode, np.array(image)
    if mode not in ("P", "L") and not mode.startswith("I"):
        raise InputError(f"{str(path)!r} is a {mode} image, not a map of ids; download it again")
    return values


def ids_to_labels(ids: np.ndarray, table_name: str, path: Path) -> UInt16[np.ndarray, "H W"]:
    """Map the ids of a file to labels.

    Raises:
        InputError: the table doesn't define an id.
    """
    table = ID_TABLES[table_name]()
    known = (ids >= 0) & (ids < len(table))
    labels = table[np.where(known, ids, 0)]
    unknown = ids[~known | (labels == UNKNOWN_ID)]
    if unknown.size:
        raise InputError(
            f"{str(path)!r} contains the id {unknown[0]}, which its benchmark doesn't define; download it again"
        )
    return labels


CocoSegmentation = Mapping[str, Any] | Sequence[Sequence[float | int]]
"""The mask of an annotation: {"size": [H, W], "counts": text or list}, or polygons [x0, y0, x1, y1, ...] in pixels."""

COORDINATE_LIMIT = 100_000.0
"""Largest absolute coordinate of a polygon [px]."""

_NUMBERS = re.compile(rb"(?:[P-o]{0,6}[0-O])+")
"""Compressed run lengths: five bits of a number per character; a sixth bit says that another character follows."""


def coco_mask(segmentation: CocoSegmentation, height: int, width: int) -> Bool[np.ndarray, "H W"]:
    """Decode the mask of an annotation; polygons with fewer than three corners are skipped.

    Args:
        segmentation: run lengths or polygons.
        height: height of the image [px].
        width: width of the image [px].

    Returns:
        The mask, shape (height, width).

    Raises:
        ValueError: the segmentation has an unknown format, is damaged, or has another size than the image.
        UsageError: pycocotools is not installed.
    """
    coco = _pycocotools()
    if isinstance(segmentation, Mapping):
        return _run_length_mask(coco, segmentation, height, width)
    polygons = [_checked_corners(polygon) for polygon in segmentation if len(polygon) >= 6 and len(polygon) % 2 == 0]
    if not polygons:
        return np.zeros((height, width), bool)
    return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)


def _run_length_mask(
    coco: ModuleType, segmentation: Mapping[str, Any], height: int, width: int
) -> Bool[np.ndarray, "H W"]:
    size = list(segmentation.get("size", [height, width]))
    if size != [height, width]:
        raise ValueError(f"a mask is {size}, its image {[height, width]} (height, width)")
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        text = counts.encode("ascii") if isinstance(counts, str) else counts
        if not _NUMBERS.fullmatch(text):
            raise ValueError("its compressed run lengths are not valid")
    else:
        runs = np.asarray(counts)
        if runs.ndim != 1 or runs.dtype.kind not in "iu" or (runs < 0).any() or runs.sum() != height * width:
            raise ValueError(f"its run lengths don't fill the {height * width} pixels of its image")
        text = coco.frPyObjects({"size": size, "counts": runs.tolist()}, height, width)["counts"]
    # pycocotools only checks for "too long": the lengths must be too long for one pixel fewer
    if _fits(coco, text, height * width - 1) or not _fits(coco, text, height * width):
        raise ValueError(f"its run lengths don't fill the {height * width} pixels of its image")
    return coco.decode({"size": size, "counts": text}).astype(bool)


def _fits(coco: ModuleType, text: bytes, pixels: int) -> bool:
    try:
        coco.decode({"size": [pixels, 1], "counts": text})
    except ValueError:
        return False
    return True


def _checked_corners(polygon: Sequence[float | int]) -> list[float]:
    corners = np.asarray(polygon, np.float64)
    # written so that NaN fails as well
    if not (np.abs(corners) <= COORDINATE_LIMIT).all():
        raise ValueError("a corner of its polygon lies far outside its image")
    return corners.tolist()


def _pycocotools() -> ModuleType:
    try:
        from pycocotools import mask
    except ImportError:
        raise missing_extra("pycocotools", "data") from None
    return mask


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
    """Stems of records left out as in the published evaluations, with the reason."""


@dataclass(frozen=True, kw_only=True)
class ImageConversion:
    """The conversion of an image, picklable; all paths are below the data folder."""

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
    """Writes the label map of an image; the image itself is unchanged."""

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
        # decoding a JPEG at an eighth of its size detects truncation too, three times as fast
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


SHORT_SIDE = 512
"""Max short side; larger images are shrunk [px]."""


@dataclass(frozen=True, kw_only=True)
class FullAdeConversion(ImageConversion):
    """Converts an image and its `_seg.png`, where red / 10 * 256 + green is the id of a pixel's object.

    The image is always written as a new JPEG in Pillow's default quality, even if it keeps its size, as in the
    published preparation.
    """

    original: str
    """Path of the original image, beside its `_seg.png`; `image` is the output."""
    labels: str
    """Path of the label map to write."""

    def run(self, root: Path) -> ConversionResult:
        """See `ImageConversion.run`."""
        original = root / self.original
        colored = original.with_name(f"{original.stem}_seg.png")
        image, segmentation = _read_rgb(original), _read_rgb(colored)
        if image.shape != segmentation.shape:
            raise InputError(
                f"{str(original)!r} is {image.shape[1]} x {image.shape[0]} pixels, but its labels are "
                f"{segmentation.shape[1]} x {segmentation.shape[0]}; unpack both again"
            )
        red, green = segmentation[..., 0].astype(np.int64), segmentation[..., 1].astype(np.int64)
        labels = ids_to_labels(red // 10 * 256 + green, "a-847", colored)
        height, width = shrunk_size(*labels.shape)
        if (height, width) != labels.shape:
            image, labels = resized_linear(image, height, width), resized_nearest(labels, height, width)
        written = {
            self.image: write_image(root / self.image, Image.fromarray(image), "JPEG"),
            self.labels: write_labels(root / self.labels, labels, self.ignored),
        }
        record = ManifestRecord(stem=self.stem, image=self.image, labels=self.labels)
        return ConversionResult(stem=self.stem, records=(record,), sha256=written)


def _read_rgb(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    # ignore the EXIF orientation: the labels match the stored pixels
    with opened_image(path) as image:
        return np.array(image.convert("RGB"))


def shrunk_size(height: int, width: int) -> tuple[int, int]:
    """Height and width [px] with a short side of at most `SHORT_SIDE`; the long side is rounded."""
    if min(height, width) <= SHORT_SIDE:
        return height, width
    if width >= height:
        return SHORT_SIDE, round(width / height * SHORT_SIDE)
    return round(height / width * SHORT_SIDE), SHORT_SIDE


def resized_linear(image: UInt8[np.ndarray, "H W 3"], height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Resize like OpenCV's INTER_LINEAR: bilinear interpolation without antialiasing."""
    rows, columns = _neighbors(image.shape[0], height), _neighbors(image.shape[1], width)
    above, below, down = rows
    left, right, across = columns
    values = image.astype(np.float32)
    values = values[above] + (values[below] - values[above]) * down[:, None, None]
    values = values[:, left] + (values[:, right] - values[:, left]) * across[None, :, None]
    return np.rint(values).astype(np.uint8)


def _neighbors(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output position, the two input positions around it and the weight of the second, in [0, 1]."""
    position = np.clip((np.arange(wanted) + 0.5) * (size / wanted) - 0.5, 0, size - 1)
    lower = np.floor(position).astype(np.int64)
    return lower, np.minimum(lower + 1, size - 1), (position - lower).astype(np.float32)


def resized_nearest(labels: UInt16[np.ndarray, "H W"], height: int, width: int) -> UInt16[np.ndarray, "h w"]:
    """Resize like OpenCV's INTER_NEAREST, which takes the top-left input pixel of each output pixel."""
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    return labels[rows[:, None], columns]


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
    """Writes a label map and a mask per object of an image; for training, maps of learned parts and objects.

    Objects without parts, which can't be scored, and images without learned parts are left out.
    """

    parts: str
    """Path of the original part map."""
    objects: ObjectMap | InstanceMasks
    """The objects of the image."""
    table: str
    """Name of the table in `ID_TABLES` that maps part ids to labels."""
    folder: str
    """Folder of the written files; each image of an evaluation benchmark gets a subfolder."""
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
