"""Plans for preparing benchmarks: find the original files of each image, and how to convert them."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from segvoc.data.benchmarks import Benchmark, BenchmarkParts
from segvoc.data.class_lists import image_stems, read_class_list
from segvoc.data.preparation.conversions import (
    IdImageLabels,
    ImageConversion,
    LabelConversion,
    LabelSource,
    MaskLabels,
    MatlabLabels,
)
from segvoc.data.preparation.foreign_files import read_pickled_index
from segvoc.data.preparation.full_ade20k import FullAdeConversion
from segvoc.data.preparation.originals import files_below
from segvoc.data.preparation.part_conversions import InstanceMasks, ObjectMap, PartConversion, PartTrainingConversion
from segvoc.errors import UsageError, one_line

OriginalPaths = Sequence[str]
"""Where the downloads of a benchmark are, below the data folder, in the order of `Benchmark.downloads`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The conversions that prepare a benchmark."""

    conversions: tuple[ImageConversion, ...]
    """Conversions of all images whose files exist, in the order of their stems."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """By stem: the first missing file of each image that lacks one."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """By stem: why the published evaluations leave out an image too."""

    @property
    def image_count(self) -> int:
        """Number of images that the originals list."""
        return len(self.conversions) + len(self.missing) + len(self.left_out)


def plan_preparation(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    """Plan the preparation of a benchmark.

    Args:
        benchmark: the benchmark.
        root: the data folder.
        originals: where the unpacked downloads are.

    Raises:
        UsageError: a list, index or annotation file of the originals can't be read.
    """
    return _PLANS[benchmark.name](benchmark, root, originals)


def _paired(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    """An image folder and a label folder, with file names that differ in their suffixes."""
    images, labels = (
        {name.removesuffix(download.suffix): f"{folder}/{name}" for name in files_below(root / folder, download.suffix)}
        for download, folder in zip(benchmark.downloads, originals, strict=True)
    )
    table = benchmark.name.removesuffix("-train")
    missing = {
        stem: f"{folder}/{stem}{download.suffix}"
        for found, download, folder in zip((images, labels), benchmark.downloads, originals, strict=True)
        for stem in (images | labels).keys() - found.keys()
    }
    return Plan(
        conversions=tuple(
            _conversion(benchmark, stem, image, IdImageLabels(path=labels[stem], table=table))
            for stem, image in images.items()
            if stem in labels
        ),
        missing=dict(sorted(missing.items())),
    )


def _voc(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    images, labels, listing = originals
    stems = (root / listing).read_text(encoding="utf-8", errors="replace").split()
    wanted = {stem: (f"{images}/{stem}.jpg", f"{labels}/{stem}.png") for stem in stems}
    present, missing = _split(wanted, root)
    return Plan(
        conversions=tuple(
            _conversion(benchmark, stem, image, IdImageLabels(path=path, table=benchmark.name), skip_empty=True)
            for stem, (image, path) in present.items()
        ),
        missing=missing,
    )


def _context_masks(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    images, listing = originals
    content = _read_json(root / listing)
    try:
        phase = "train" if benchmark.name.endswith("-train") else "val"
        wanted = {entry["image_id"]: entry for entry in content["images"] if entry["phase"] == phase}
        masks: dict[Any, list[tuple[int, str | tuple[int, ...]]]] = defaultdict(list)
        for entry in content["annos_segmentation"]:
            if entry["image_id"] in wanted:
                counts = entry["segmentation"]["counts"]
                masks[entry["image_id"]].append(
                    (int(entry["category_id"]), counts if isinstance(counts, str) else tuple(counts))
                )
        sources = {
            PurePosixPath(entry["file_name"]).stem: MaskLabels(
                path=listing,
                height=int(entry["height"]),
                width=int(entry["width"]),
                masks=tuple(masks[number]),
                table=benchmark.name.removesuffix("-train"),
            )
            for number, entry in wanted.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown_form(root / listing, error) from None
    present, missing = _split({stem: (f"{images}/{stem}.jpg",) for stem in sorted(sources)}, root)
    return Plan(
        conversions=tuple(_conversion(benchmark, stem, image, sources[stem]) for stem, (image,) in present.items()),
        missing=missing,
    )


def _context_matlab(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    images, labels = originals
    wanted = {stem: (f"{images}/{stem}.jpg",) for stem in image_stems("pascalcontext_val")}
    present, missing = _split(wanted, root)
    sources = {stem: MatlabLabels(path=f"{labels}/{stem}.mat") for stem in present}
    unlabeled = {stem: "it has no MATLAB file" for stem in present if not (root / sources[stem].path).exists()}
    return Plan(
        conversions=tuple(
            _conversion(benchmark, stem, image, sources[stem])
            for stem, (image,) in present.items()
            if stem not in unlabeled
        ),
        missing=missing,
        left_out=unlabeled,
    )


def _full_ade20k(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    *_, listing = originals
    index = read_pickled_index(root / listing)
    try:
        names = [str(name) for name in index["filename"]]
        folders = [str(folder) for folder in index["folder"]]
        objects = [str(name) for name in index["objectnames"]]
    except (KeyError, TypeError) as error:
        raise _unknown_form(root / listing, error) from None
    entries = read_class_list("ade847_ids")
    # ids count from 1; a few names may be spelled differently, but in another release all ids are shifted
    same = sum(objects[entry["ade_id"] - 1 : entry["ade_id"]] == [entry["name"]] for entry in entries)
    if same < len(entries) // 2:
        raise UsageError(
            f"{str(root / listing)!r} belongs to another release of ADE20K, but A-847 uses the ids of "
            "release 2021_17_01; download that one"
        )
    wanted: dict[str, tuple[str, ...]] = {}
    for folder, name in sorted(zip(folders, names, strict=True), key=lambda pair: pair[1]):
        path = PurePosixPath(folder, name)
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"{str(root / listing)!r} leads out of the data folder ({path}); don't trust it")
        if name.startswith("ADE_val_"):
            wanted[path.stem] = (path.as_posix(), path.with_name(f"{path.stem}_seg.png").as_posix())
    present, missing = _split(wanted, root)
    return Plan(
        conversions=tuple(
            FullAdeConversion(
                stem=stem,
                original=image,
                image=f"ADE20K_2021_17_01/images_detectron2/validation/{stem}.jpg",
                labels=f"{benchmark.label_folder}/{stem}{benchmark.label_suffix}",
            )
            for stem, (image, _) in present.items()
        ),
        missing=missing,
    )


def _pascal_part(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    images, objects, parts = originals
    stems = sorted({PurePosixPath(name).stem for folder in originals for name in files_below(root / folder, "")})
    wanted = {stem: (f"{images}/{stem}.jpg", f"{objects}/{stem}.png", f"{parts}/{stem}.png") for stem in stems}
    present, missing = _split(wanted, root)
    return Plan(
        conversions=tuple(
            _part_conversion(benchmark, stem, image, path, ObjectMap(path=object_map))
            for stem, (image, object_map, path) in present.items()
        ),
        missing=missing,
    )


def _ade20k_part(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    """All instances of the validation set and unseen objects of the training set; for training, all of the latter."""
    parts_of_objects = BenchmarkParts(class_list=benchmark.class_list)
    conversions: list[ImageConversion] = []
    missing: dict[str, str] = {}
    splits = {"validation": originals[::2], "training": originals[1::2]}
    if benchmark.training_parts is not None:
        splits = {"training": originals}
    for split, (images, parts, listing) in splits.items():
        unseen_only = split == "training" and benchmark.training_parts is None
        instances = _instances(root / listing, parts_of_objects, unseen_only=unseen_only)
        wanted = {stem: (f"{images}/{stem}.jpg", f"{parts}/{stem}.png") for stem in sorted(instances)}
        present, absent = _split(wanted, root)
        missing |= {f"{split}/{stem}": path for stem, path in absent.items()}
        conversions += [
            _part_conversion(
                benchmark, f"{split}/{stem}", image, path, InstanceMasks(path=listing, instances=tuple(instances[stem]))
            )
            for stem, (image, path) in present.items()
        ]
    return Plan(conversions=tuple(conversions), missing=missing)


def _instances(path: Path, parts: BenchmarkParts, *, unseen_only: bool) -> dict[str, list[tuple[int, Any]]]:
    """Object index and mask of each instance in a COCO file, by image; the category ids are the object indices."""
    content = _read_json(path)
    try:
        stems = {entry["id"]: PurePosixPath(entry["file_name"]).stem for entry in content["images"]}
        found: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for entry in content["annotations"]:
            index = int(entry["category_id"])
            if not 0 <= index < len(parts.objects):
                raise ValueError(f"category {index} is unknown")
            if not (unseen_only and parts.objects[index] in parts.seen_objects):
                found[stems[entry["image_id"]]].append((index, entry["segmentation"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown_form(path, error) from None
    return found


def _part_conversion(
    benchmark: Benchmark, stem: str, image: str, parts: str, objects: ObjectMap | InstanceMasks
) -> PartConversion | PartTrainingConversion:
    if benchmark.training_parts is not None:
        return PartTrainingConversion(
            stem=stem,
            image=image,
            parts=parts,
            objects=objects,
            table=benchmark.name.removesuffix("-train"),
            learned=tuple(label for label, seen in enumerate(benchmark.training_parts.seen) if seen),
            folder=benchmark.label_folder,
            ignored=benchmark.ignored,
        )
    return PartConversion(
        stem=stem,
        image=image,
        parts=parts,
        objects=objects,
        table=benchmark.name,
        folder=benchmark.label_folder,
        ignored=benchmark.ignored,
    )


def _conversion(
    benchmark: Benchmark, stem: str, image: str, source: LabelSource, *, skip_empty: bool = False
) -> LabelConversion:
    return LabelConversion(
        stem=stem,
        image=image,
        labels=f"{benchmark.label_folder}/{stem}{benchmark.label_suffix}",
        source=source,
        ignored=benchmark.ignored,
        skip_empty=skip_empty,
    )


def _split(wanted: Mapping[str, tuple[str, ...]], root: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The images whose files all exist; and for each other image, its first missing file."""
    absent = {stem: _first_absent(paths, root) for stem, paths in wanted.items()}
    missing = {stem: path for stem, path in absent.items() if path is not None}
    return {stem: paths for stem, paths in wanted.items() if stem not in missing}, missing


def _first_absent(paths: Iterable[str], root: Path) -> str | None:
    return next((path for path in paths if not (root / path).exists()), None)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} can't be read as JSON ({one_line(error)}); download it again") from None


def _unknown_form(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{str(path)!r} doesn't have the format that its page describes ({error!r}); download it again")


_PLANS: Mapping[str, Callable[[Benchmark, Path, OriginalPaths], Plan]] = {
    "coco-stuff": _paired,
    "coco-stuff-train": _paired,
    "a-150": _paired,
    "a-150-train": _paired,
    "a-847": _full_ade20k,
    "pc-59": _context_masks,
    "pc-59-train": _context_masks,
    "pc-459": _context_matlab,
    "pas-20": _voc,
    "pas-20b": _voc,
    "voc-21": _voc,
    "pc-60": _context_masks,
    "coco-object": _paired,
    "cityscapes": _paired,
    "pascal-part-116": _pascal_part,
    "ade20k-part-234": _ade20k_part,
    "pascal-part-116-train": _pascal_part,
    "ade20k-part-234-train": _ade20k_part,
}
