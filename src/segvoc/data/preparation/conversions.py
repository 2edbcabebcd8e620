"""Convert one image's original labels to a prepared label map."""

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from PIL import ExifTags, Image

from segvoc.data.benchmarks import Benchmark, ManifestRecord
from segvoc.data.labeled_images import read_class_list
from segvoc.data.preparation.originals import read_matlab_array
from segvoc.errors import InputError, missing_extra
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import opened_image
from segvoc.runtime.arrays import bilinear
from segvoc.storage.atomic_writes import write_bytes

UNKNOWN_ID = 65_534
"""Marks ids in a table that no file of the benchmark should contain."""


def _table(size: int, labels: Mapping[int, int], ignored: Iterable[int] = ()) -> UInt16[np.ndarray, " N"]:
    table = np.full(size, UNKNOWN_ID, np.uint16)
    table[list(ignored)] = UNLABELED
    table[list(labels)] = list(labels.values())
    table.flags.writeable = False
    return table


def _counted(count: int, first_id: int = 0) -> dict[int, int]:
    """Labels 0, 1, ... of consecutive ids."""
    return {first_id + label: label for label in range(count)}


def _listed(class_list: str, id_key: str) -> dict[int, int]:
    return {entry[id_key]: entry["train_id"] for entry in read_class_list(class_list)}


def _context_ids() -> list[int]:
    return read_class_list("pc59_ids")["ids"]


def _cityscapes_ids() -> dict[int, int]:
    return {int(entry): label for entry, label in read_class_list("cityscapes19_ids").items()}


_TABLES: Mapping[str, Callable[[], UInt16[np.ndarray, " N"]]] = {
    # the gaps between the ids are ignored
    "coco-stuff": lambda: _table(256, _listed("coco_stuff171_ids", "stuffthing_id"), (*range(182), 255)),
    "coco-object": lambda: _table(
        256,
        dict.fromkeys((*range(182), 255), 0)
        | {id: label + 1 for id, label in _listed("coco_stuff171_ids", "stuffthing_id").items() if label < 80},
    ),
    "a-150": lambda: _table(256, _counted(150, 1), (0,)),
    # all values of red / 10 * 256 + green, since ids that aren't among the 847 are ignored
    "a-847": lambda: _table(26 * 256, _listed("ade847_ids", "ade_id"), range(26 * 256)),
    "pc-59": lambda: _table(460, {id: label for label, id in enumerate(_context_ids()[1:])}, range(460)),
    "pc-60": lambda: _table(460, {id: label for label, id in enumerate(_context_ids())}, range(460)),
    # the published preparation maps 460 to 459, its ignored label
    "pc-459": lambda: _table(461, _counted(459, 1), (0, 460)),
    "pas-20": lambda: _table(256, _counted(20, 1), (0, 255)),
    "pas-20b": lambda: _table(256, {0: 20} | _counted(20, 1), (255,)),
    "voc-21": lambda: _table(256, _counted(21), (255,)),
    "cityscapes": lambda: _table(256, _cityscapes_ids(), (*range(34), 255)),
    "pascal-part-116 objects": lambda: _table(256, _counted(20), (255,)),
    "pascal-part-116": lambda: _table(256, _counted(116), (255,)),
    "ade20k-part-234": lambda: _table(65_536, _counted(234), (65_535,)),
}


@cache
def id_table(name: str) -> UInt16[np.ndarray, " N"]:
    """The label of each id in a benchmark's files: 65535 if ignored, `UNKNOWN_ID` if undefined."""
    return _TABLES[name]()


def read_ids(path: Path) -> np.ndarray:
    """Read the pixel values of a grayscale or palette image of 8 or 16 bits, shape (H, W)."""
    with opened_image(path) as image:
        mode, values = image.mode, np.array(image)
    if mode not in ("P", "L") and not mode.startswith("I"):
        raise InputError(f"{str(path)!r} is a {mode} image, not a map of ids; download it again")
    return values


def ids_to_labels(ids: np.ndarray, table_name: str, path: Path) -> UInt16[np.ndarray, "H W"]:
    """Map the ids of a file to labels; ids that the table doesn't define are an `InputError`."""
    table = id_table(table_name)
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
    """Decode the mask of an annotation in an image of this size [px]; polygons of fewer than three corners are skipped.

    `ValueError` if the segmentation is damaged, of an unknown format, or of another size than the image.
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
    # pycocotools only checks for "too long": the lengths must be too long for one pixel fewer, and fit exactly
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


@dataclass(frozen=True)
class Original:
    """The original files of an image."""

    benchmark: Benchmark
    stem: str
    files: tuple[str, ...]
    """Paths below the data folder: of the image, its labels and its objects."""
    masks: tuple[tuple[int, Any], ...] = ()
    """Its masks in the last of these files: index and COCO segmentation."""
    size: tuple[int, int] = (0, 0)
    """Height and width that this file states for its image [px]."""

    @property
    def table(self) -> str:
        """Name of the table of its ids."""
        return self.benchmark.name.removesuffix("-train")


@dataclass(frozen=True, kw_only=True)
class ConversionResult:
    """The files that a conversion has written."""

    stem: str
    records: tuple[ManifestRecord, ...] = ()
    """Entries for the manifest: one for the image, or one for each of its objects in a part benchmark."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each written file, by its path below the data folder."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Stems of records left out as in the published evaluations, with the reason."""


LabelConversion = Callable[[Path, Original], ConversionResult]
"""Reads an image's original files below the data folder and writes the prepared ones; picklable.

Raises `InputError` if a file is missing or damaged or has unknown ids, `OutputError` if one can't be written.
"""

LabelReader = Callable[[Path, Original], UInt16[np.ndarray, "H W"]]
"""Reads the labels of an image from its original files below the data folder; 65535 is ignored."""


def read_id_map(root: Path, original: Original) -> UInt16[np.ndarray, "H W"]:
    """The labels in a PNG of ids."""
    path = root / original.files[1]
    return ids_to_labels(read_ids(path), original.table, path)


def read_matlab_labels(root: Path, original: Original) -> UInt16[np.ndarray, "H W"]:
    """The labels in a MATLAB file of PASCAL-Context, whose "LabelMap" holds the label plus one."""
    path = root / original.files[1]
    return ids_to_labels(read_matlab_array(path, "LabelMap").astype(np.int64), original.table, path)


def paint_context_masks(root: Path, original: Original) -> UInt16[np.ndarray, "H W"]:
    """The labels in masks of a PASCAL-Context JSON file; where they overlap, the later wins; 0 outside all masks."""
    path, ids = root / original.files[-1], np.zeros(original.size, np.int64)
    with _damage_named(path):
        for category, mask in original.masks:
            ids[coco_mask(mask, *original.size)] = category
    return ids_to_labels(ids, original.table, path)


@contextmanager
def _damage_named(annotations: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise InputError(f"a mask in {str(annotations)!r} is damaged: {error}; download it again") from None


def convert_labels(
    root: Path, original: Original, *, read: LabelReader = read_id_map, skip_empty: bool = False
) -> ConversionResult:
    """Write the label map of an image; the image itself is unchanged.

    `skip_empty` leaves out images with only ignored pixels, as the published preparation of VOC does.
    """
    label_map, image = read(root, original), original.files[0]
    check_image(root / image, label_map.shape)
    if skip_empty and (label_map == UNLABELED).all():
        return ConversionResult(stem=original.stem, left_out={original.stem: "every pixel is ignored"})
    return _result(root, original, image, label_map)


def _result(
    root: Path, original: Original, image: str, label_map: UInt16[np.ndarray, "H W"], **sha256: str
) -> ConversionResult:
    """Write the label map; `sha256` has the digests of what was written before."""
    benchmark, stem = original.benchmark, original.stem
    labels = f"{benchmark.label_folder}/{stem}{benchmark.label_suffix}"
    sha256 |= {labels: write_labels(root / labels, label_map, benchmark)}
    return ConversionResult(stem=stem, records=(ManifestRecord(stem=stem, image=image, labels=labels),), sha256=sha256)


def check_image(path: Path, shape: tuple[int, ...]) -> None:
    """Check that an image can be decoded completely, and that its upright size matches its labels' shape (H, W)."""
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


def write_labels(path: Path, labels: UInt16[np.ndarray, "H W"], benchmark: Benchmark) -> str:
    """Write a label map as PNG or TIFF, by the suffix, with 8 bits if 255 is ignored; returns the file's SHA-256."""
    # the cast to 8 bits turns 65535 into 255
    image = Image.fromarray(labels.astype(np.uint8) if benchmark.ignored == 255 else labels)
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


def convert_full_ade(root: Path, original: Original) -> ConversionResult:
    """Convert an image and its `_seg.png`, where red / 10 * 256 + green is the id of a pixel's object.

    The image is always written as a new JPEG in Pillow's default quality, even if it keeps its size, as in the
    published preparation.
    """
    photo, colored = (root / path for path in original.files)
    pixels, segmentation = _read_rgb(photo), _read_rgb(colored)
    if pixels.shape != segmentation.shape:
        raise InputError(
            f"{str(photo)!r} is {pixels.shape[1]} x {pixels.shape[0]} pixels, but its labels are "
            f"{segmentation.shape[1]} x {segmentation.shape[0]}; unpack both again"
        )
    red, green = segmentation[..., 0].astype(np.int64), segmentation[..., 1].astype(np.int64)
    label_map = ids_to_labels(red // 10 * 256 + green, original.table, colored)
    height, width = shrunk_size(*label_map.shape)
    if (height, width) != label_map.shape:
        pixels, label_map = resized_linear(pixels, height, width), resized_nearest(label_map, height, width)
    image = f"ADE20K_2021_17_01/images_detectron2/validation/{original.stem}.jpg"
    digest = write_image(root / image, Image.fromarray(pixels), "JPEG")
    return _result(root, original, image, label_map, **{image: digest})


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
    channels = bilinear(image.transpose(2, 0, 1)[None].astype(np.float32), (height, width))[0]
    return np.rint(channels).astype(np.uint8).transpose(1, 2, 0)


def resized_nearest(labels: UInt16[np.ndarray, "H W"], height: int, width: int) -> UInt16[np.ndarray, "h w"]:
    """Resize like OpenCV's INTER_NEAREST, which takes the top-left input pixel of each output pixel."""
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    return labels[rows[:, None], columns]


Objects = Iterable[tuple[int, Bool[np.ndarray, "H W"]]]

ObjectReader = Callable[[Path, tuple[int, int], Original], Objects]
"""Reads index and mask of each object in an image of this shape (H, W) from its original files in the data folder."""


def read_object_map(root: Path, shape: tuple[int, int], original: Original) -> Objects:
    """The objects of Pascal-Part-116: a PNG with each pixel's object class; all pixels of a class are one object."""
    path = root / original.files[2]
    labels = ids_to_labels(read_ids(path), "pascal-part-116 objects", path)
    if labels.shape != shape:
        raise InputError(f"{str(path)!r} has another size than the part map; download both again")
    return [(int(label), labels == label) for label in np.unique(labels) if label != UNLABELED]


def read_instances(root: Path, shape: tuple[int, int], original: Original) -> Objects:
    """The objects of ADE20K-Part-234: index and mask of each instance."""
    with _damage_named(root / original.files[2]):
        return [(index, coco_mask(mask, *shape)) for index, mask in original.masks]


def convert_parts(root: Path, original: Original, *, read_objects: ObjectReader) -> ConversionResult:
    """Write a label map and a mask per object of an image; for training, maps of learned parts and objects.

    Objects without parts, which can't be scored, and images without learned parts are left out.
    """
    stem, benchmark, image = original.stem, original.benchmark, original.files[0]
    training = benchmark.training_parts
    parts = read_id_map(root, original)
    check_image(root / image, parts.shape)
    objects = read_objects(root, parts.shape, original)
    target = f"{benchmark.label_folder}/{stem}"
    if training is not None:
        learned = [label for label, seen in enumerate(training.seen) if seen]
        labels = np.full(UNLABELED + 1, UNLABELED, np.uint16)
        labels[list(learned)] = np.arange(len(learned))
        own = labels[parts]
        if (own == UNLABELED).all():
            return ConversionResult(stem=stem, left_out={stem: "none of its parts is learned"})
        object_map = np.full(parts.shape, UNLABELED, np.uint16)
        for index, mask in objects:
            object_map[mask] = index
        maps = {f"{target}.png": own, f"{target}.objects.png": object_map}
        written = {path: write_labels(root / path, values, benchmark) for path, values in maps.items()}
        record = ManifestRecord(stem=stem, image=image, labels=f"{target}.png", mask=f"{target}.objects.png")
        return ConversionResult(stem=stem, records=(record,), sha256=written)
    records: list[ManifestRecord] = []
    written, left_out = dict[str, str](), dict[str, str]()
    for number, (part_object, mask) in enumerate(objects):
        record_stem = f"{stem}/{number}"
        labels = np.where(mask, parts, np.uint16(UNLABELED))
        if (labels == UNLABELED).all():
            left_out[record_stem] = "its object has no part"
            continue
        path, mask_path = f"{target}/{number}.png", f"{target}/{number}.mask.png"
        written[path] = write_labels(root / path, labels, benchmark)
        outside = Image.fromarray(np.where(mask, 0, 255).astype(np.uint8))
        written[mask_path] = write_image(root / mask_path, outside, "PNG")
        records.append(
            ManifestRecord(stem=record_stem, image=image, labels=path, part_object=part_object, mask=mask_path)
        )
    return ConversionResult(stem=stem, records=tuple(records), sha256=written, left_out=left_out)
