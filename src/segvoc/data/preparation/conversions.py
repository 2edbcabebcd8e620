"""A benchmark's originals: the files of each image, the ids in them, and their conversion to label maps."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from PIL import ExifTags, Image

from segvoc.data.benchmarks import Benchmark, BenchmarkParts, ManifestRecord
from segvoc.data.labeled_images import image_stems, read_class_list
from segvoc.data.preparation.originals import files_below, read_matlab_array, read_pickled_index
from segvoc.errors import InputError, UsageError, one_line
from segvoc.imaging.annotations import coco_mask
from segvoc.imaging.label_maps import UNLABELED, label_table, stored_map
from segvoc.imaging.reading import opened_image
from segvoc.runtime.arrays import bilinear
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import read_json

UNKNOWN_ID = 65_534
"""Marks ids in a table that no file of the benchmark should contain."""


def _table(size: int, labels: Mapping[int, int], ignored: Iterable[int] = ()) -> UInt16[np.ndarray, " N"]:
    table = np.full(size, UNKNOWN_ID, np.uint16)
    table[list(ignored)] = UNLABELED
    table[list(labels)] = list(labels.values())
    table.flags.writeable = False
    return table


def _counted(count: int, first_id: int = 0) -> dict[int, int]:
    return {first_id + label: label for label in range(count)}


def _listed(class_list: str, id_key: str) -> dict[int, int]:
    return {entry[id_key]: entry["train_id"] for entry in read_class_list(class_list)}


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
    "pc-59": lambda: _table(460, {id: n for n, id in enumerate(read_class_list("pc59_ids")["ids"][1:])}, range(460)),
    "pc-60": lambda: _table(460, {id: n for n, id in enumerate(read_class_list("pc59_ids")["ids"])}, range(460)),
    # the published preparation maps 460 to 459, its ignored label
    "pc-459": lambda: _table(461, _counted(459, 1), (0, 460)),
    "pas-20": lambda: _table(256, _counted(20, 1), (0, 255)),
    "pas-20b": lambda: _table(256, {0: 20} | _counted(20, 1), (255,)),
    "voc-21": lambda: _table(256, _counted(21), (255,)),
    "cityscapes": lambda: _table(
        256, {int(id): label for id, label in read_class_list("cityscapes19_ids").items()}, (*range(34), 255)
    ),
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
    if (values := stored_map(path).values).ndim != 2:
        raise InputError(f"{str(path)!r} is a color image, not a map of ids; download it again")
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
    with _naming_damage(InputError, f"a mask in {str(path)!r} is damaged"):
        for category, mask in original.masks:
            ids[coco_mask(mask, *original.size)] = category
    return ids_to_labels(ids, original.table, path)


@contextmanager
def _naming_damage(kind: type[InputError | UsageError], problem: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise kind(f"{problem} ({error!r}); download it again") from None


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
    """Write a label map, with 8 bits if 255 is ignored; returns the file's SHA-256."""
    # the cast to 8 bits turns 65535 into 255
    return write_image(path, labels.astype(np.uint8) if benchmark.ignored == 255 else labels)


def write_image(path: Path, pixels: np.ndarray) -> str:
    """Write an image as PNG, TIFF or JPEG, by the suffix, atomically; returns the file's SHA-256."""
    buffer = io.BytesIO()
    image_format = {".png": "PNG", ".tif": "TIFF", ".jpg": "JPEG"}[path.suffix]
    options = {"compression": "tiff_adobe_deflate"} if image_format == "TIFF" else {}
    Image.fromarray(pixels).save(buffer, image_format, **options)
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
    digest = write_image(root / image, pixels)
    return _result(root, original, image, label_map, **{image: digest})


def _read_rgb(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    # ignore the EXIF orientation: the labels match the stored pixels
    with opened_image(path) as image:
        return np.array(image.convert("RGB"))


def shrunk_size(height: int, width: int) -> tuple[int, int]:
    """Height and width [px] with a short side of at most `SHORT_SIDE`; the long side is rounded."""
    short = min(height, width, SHORT_SIDE)
    return (short, round(width / height * short)) if width >= height else (round(height / width * short), short)


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
    with _naming_damage(InputError, f"a mask in {str(root / original.files[2])!r} is damaged"):
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
        part_map = label_table({label: index for index, label in enumerate(learned)})[parts]
        if (part_map == UNLABELED).all():
            return ConversionResult(stem=stem, left_out={stem: "none of its parts is learned"})
        object_map = np.full(parts.shape, UNLABELED, np.uint16)
        for index, mask in objects:
            object_map[mask] = index
        maps = {f"{target}.png": part_map, f"{target}.objects.png": object_map}
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
        written[mask_path] = write_image(root / mask_path, np.where(mask, 0, 255).astype(np.uint8))
        records.append(
            ManifestRecord(stem=record_stem, image=image, labels=path, part_object=part_object, mask=mask_path)
        )
    return ConversionResult(stem=stem, records=tuple(records), sha256=written, left_out=left_out)


# ---- the originals of each benchmark

OriginalPaths = Sequence[str]
"""Paths of a benchmark's downloads below the data folder, in the order of `Benchmark.downloads`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The conversions that prepare a benchmark."""

    convert: LabelConversion
    originals: Mapping[str, Original]
    """By stem: the images whose files exist, in order."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """By stem: the first missing file of each image that lacks one."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """By stem: why an image is left out, as in the published evaluations."""

    @property
    def image_count(self) -> int:
        """Number of images that the originals list."""
        return len(self.originals) + len(self.missing) + len(self.left_out)


def plan_preparation(benchmark: Benchmark, root: Path, paths: OriginalPaths) -> Plan:
    """Plan the preparation of a benchmark; raises `UsageError` if a file that lists its originals can't be read."""
    listed, convert = _PLANS[benchmark.name.removesuffix("-train")]
    originals, missing, left_out = dict[str, Original](), dict[str, str](), dict[str, str]()
    for original in listed(benchmark, root, paths):
        absent = next((path for path in original.files if not (root / path).exists()), None)
        if absent is None:
            originals[original.stem] = original
        elif absent.endswith(".mat"):
            left_out[original.stem] = "it has no MATLAB file"  # PASCAL-Context doesn't label all images of its list
        else:
            missing[original.stem] = absent
    return Plan(convert=convert, originals=originals, missing=missing, left_out=left_out)


def _paired(
    benchmark: Benchmark, root: Path, paths: OriginalPaths, stems: Callable[[], Iterable[str]] | None = None
) -> Iterator[Original]:
    """Folders of images and label maps, whose file names differ only in the suffix; all, or those in a list."""
    places = list(zip(paths, benchmark.downloads, strict=True))
    folders = [(folder, download.suffix) for folder, download in places if not download.is_file]
    lists = [root / path for path, download in places if download.is_file]
    if stems is not None:
        listed = stems()
    elif lists:
        listed = lists[0].read_text(encoding="utf-8", errors="replace").split()
    else:
        names = ((name, suffix) for folder, suffix in folders for name in files_below(root / folder, suffix))
        listed = sorted({name.removesuffix(suffix) for name, suffix in names})
    for stem in listed:
        yield Original(benchmark, stem, tuple(f"{folder}/{stem}{suffix}" for folder, suffix in folders))


def _context_masks(benchmark: Benchmark, root: Path, paths: OriginalPaths) -> Iterator[Original]:
    images, listing = paths
    content = _read_json(root / listing)
    phase = "train" if benchmark.name.endswith("-train") else "val"
    with _naming_unknown_form(root / listing):
        wanted = {entry["image_id"]: entry for entry in content["images"] if entry["phase"] == phase}
        masks: dict[Any, list[tuple[int, Any]]] = defaultdict(list)
        for entry in content["annos_segmentation"]:
            if entry["image_id"] in wanted:
                counts = entry["segmentation"]["counts"]
                masks[entry["image_id"]].append((int(entry["category_id"]), {"counts": counts}))
        originals = {
            (stem := PurePosixPath(entry["file_name"]).stem): Original(
                benchmark,
                stem,
                (f"{images}/{stem}.jpg", listing),
                masks=tuple(masks[number]),
                size=(int(entry["height"]), int(entry["width"])),
            )
            for number, entry in wanted.items()
        }
    yield from (originals[stem] for stem in sorted(originals))


def _full_ade20k(benchmark: Benchmark, root: Path, paths: OriginalPaths) -> Iterator[Original]:
    listing = root / paths[-1]
    index = read_pickled_index(listing)
    with _naming_unknown_form(listing):
        names, folders, objects = ([str(name) for name in index[key]] for key in ("filename", "folder", "objectnames"))
    entries = read_class_list("ade847_ids")
    # ids start at 1; a few names may differ in spelling, but another release shifts all ids
    same = sum(objects[entry["ade_id"] - 1 : entry["ade_id"]] == [entry["name"]] for entry in entries)
    if same < len(entries) // 2:
        raise UsageError(
            f"{str(listing)!r} belongs to another release of ADE20K, but A-847 uses the ids of "
            "release 2021_17_01; download that one"
        )
    for folder, name in sorted(zip(folders, names, strict=True), key=lambda pair: pair[1]):
        path = PurePosixPath(folder, name)
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"{str(listing)!r} points outside the data folder ({path}); don't trust it")
        if name.startswith("ADE_val_"):
            labels = path.with_name(f"{path.stem}_seg.png")
            yield Original(benchmark, path.stem, (path.as_posix(), labels.as_posix()))


def _ade20k_part(benchmark: Benchmark, root: Path, paths: OriginalPaths) -> Iterator[Original]:
    """All validation instances and the unseen objects of the training set; for training, all training instances."""
    splits = {"validation": paths[::2], "training": paths[1::2]}
    if benchmark.training_parts is not None:
        splits = {"training": paths}
    for split, (images, parts, listing) in splits.items():
        unseen_only = split == "training" and benchmark.training_parts is None
        instances = _instances(root / listing, BenchmarkParts(class_list=benchmark.class_list), unseen_only=unseen_only)
        for stem, masks in sorted(instances.items()):
            files = (f"{images}/{stem}.jpg", f"{parts}/{stem}.png", listing)
            yield Original(benchmark, f"{split}/{stem}", files, masks=tuple(masks))


def _instances(path: Path, parts: BenchmarkParts, *, unseen_only: bool) -> dict[str, list[tuple[int, Any]]]:
    """Object index and mask of each instance in a COCO file, by image; the category ids are the object indices."""
    content = _read_json(path)
    masks: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    with _naming_unknown_form(path):
        stems = {entry["id"]: PurePosixPath(entry["file_name"]).stem for entry in content["images"]}
        for entry in content["annotations"]:
            index = int(entry["category_id"])
            if not 0 <= index < len(parts.objects):
                raise ValueError(f"category {index} is unknown")
            if not (unseen_only and parts.objects[index] in parts.seen_objects):
                masks[stems[entry["image_id"]]].append((index, entry["segmentation"]))
    return masks


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} can't be read as JSON ({one_line(error)}); download it again") from None


def _naming_unknown_form(path: Path) -> AbstractContextManager[None]:
    return _naming_damage(UsageError, f"{str(path)!r} doesn't have the format that its page describes")


_PLANS: Mapping[str, tuple[Callable[[Benchmark, Path, OriginalPaths], Iterator[Original]], LabelConversion]] = {
    **dict.fromkeys(("coco-stuff", "a-150", "coco-object", "cityscapes"), (_paired, convert_labels)),
    **dict.fromkeys(("pc-59", "pc-60"), (_context_masks, partial(convert_labels, read=paint_context_masks))),
    **dict.fromkeys(("pas-20", "pas-20b", "voc-21"), (_paired, partial(convert_labels, skip_empty=True))),
    "a-847": (_full_ade20k, convert_full_ade),
    "pc-459": (
        partial(_paired, stems=lambda: image_stems("pascalcontext_val")),
        partial(convert_labels, read=read_matlab_labels),
    ),
    "pascal-part-116": (_paired, partial(convert_parts, read_objects=read_object_map)),
    "ade20k-part-234": (_ade20k_part, partial(convert_parts, read_objects=read_instances)),
}
"""Per benchmark: what lists its originals, and the conversion of an image."""
