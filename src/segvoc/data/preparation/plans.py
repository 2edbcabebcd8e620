"""Plans the preparation of benchmarks: the original files of each image, and their conversion."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from segvoc.data.benchmarks import Benchmark, BenchmarkParts
from segvoc.data.labeled_images import image_stems, read_class_list
from segvoc.data.preparation.conversions import (
    LabelConversion,
    Original,
    convert_full_ade,
    convert_labels,
    convert_parts,
    paint_context_masks,
    read_instances,
    read_matlab_labels,
    read_object_map,
)
from segvoc.data.preparation.originals import files_below, read_pickled_index
from segvoc.errors import UsageError, one_line
from segvoc.storage.files import read_json

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


def _paired(benchmark: Benchmark, root: Path, paths: OriginalPaths) -> Iterator[Original]:
    """Folders of images and label maps, whose file names differ only in the suffix."""
    folders = [(folder, download.suffix) for download, folder in zip(benchmark.downloads, paths, strict=True)]
    names = ((name, suffix) for folder, suffix in folders for name in files_below(root / folder, suffix))
    for stem in sorted({name.removesuffix(suffix) for name, suffix in names}):
        yield Original(benchmark, stem, tuple(f"{folder}/{stem}{suffix}" for folder, suffix in folders))


def _voc(benchmark: Benchmark, root: Path, paths: OriginalPaths) -> Iterator[Original]:
    images, labels, listing = paths
    for stem in (root / listing).read_text(encoding="utf-8", errors="replace").split():
        yield Original(benchmark, stem, (f"{images}/{stem}.jpg", f"{labels}/{stem}.png"))


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


def _context_matlab(benchmark: Benchmark, root: Path, paths: OriginalPaths) -> Iterator[Original]:
    images, labels = paths
    for stem in image_stems("pascalcontext_val"):
        yield Original(benchmark, stem, (f"{images}/{stem}.jpg", f"{labels}/{stem}.mat"))


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


def _pascal_part(benchmark: Benchmark, root: Path, paths: OriginalPaths) -> Iterator[Original]:
    images, objects, parts = paths
    for stem in sorted({PurePosixPath(name).stem for folder in paths for name in files_below(root / folder, "")}):
        yield Original(benchmark, stem, (f"{images}/{stem}.jpg", f"{parts}/{stem}.png", f"{objects}/{stem}.png"))


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
    found: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    with _naming_unknown_form(path):
        stems = {entry["id"]: PurePosixPath(entry["file_name"]).stem for entry in content["images"]}
        for entry in content["annotations"]:
            index = int(entry["category_id"])
            if not 0 <= index < len(parts.objects):
                raise ValueError(f"category {index} is unknown")
            if not (unseen_only and parts.objects[index] in parts.seen_objects):
                found[stems[entry["image_id"]]].append((index, entry["segmentation"]))
    return found


def _read_json(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} can't be read as JSON ({one_line(error)}); download it again") from None


@contextmanager
def _naming_unknown_form(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{str(path)!r} doesn't have the format that its page describes ({error!r}); download it again"
        raise UsageError(problem) from None


_PLANS: Mapping[str, tuple[Callable[[Benchmark, Path, OriginalPaths], Iterator[Original]], LabelConversion]] = {
    **dict.fromkeys(("coco-stuff", "a-150", "coco-object", "cityscapes"), (_paired, convert_labels)),
    **dict.fromkeys(("pc-59", "pc-60"), (_context_masks, partial(convert_labels, read=paint_context_masks))),
    **dict.fromkeys(("pas-20", "pas-20b", "voc-21"), (_voc, partial(convert_labels, skip_empty=True))),
    "a-847": (_full_ade20k, convert_full_ade),
    "pc-459": (_context_matlab, partial(convert_labels, read=read_matlab_labels)),
    "pascal-part-116": (_pascal_part, partial(convert_parts, read_objects=read_object_map)),
    "ade20k-part-234": (_ade20k_part, partial(convert_parts, read_objects=read_instances)),
}
"""Per benchmark: what lists its originals, and the conversion of an image."""
