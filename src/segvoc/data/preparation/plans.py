"""Plans the preparation of benchmarks: the original files of each image and their conversion."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from segvoc.data.benchmarks import Benchmark, BenchmarkParts
from segvoc.data.labeled_images import image_stems, read_class_list
from segvoc.data.preparation.conversions import (
    LabelConversion,
    LabelReader,
    ObjectReader,
    convert_full_ade,
    convert_labels,
    convert_parts,
    paint_context_masks,
    read_id_map,
    read_instances,
    read_matlab_labels,
    read_object_map,
)
from segvoc.data.preparation.originals import files_below, read_pickled_index
from segvoc.errors import UsageError, one_line

OriginalPaths = Sequence[str]
"""Paths of a benchmark's downloads below the data folder, in the order of `Benchmark.downloads`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The conversions that prepare a benchmark."""

    conversions: Mapping[str, LabelConversion]
    """By stem: the conversions of all images whose files exist, in order."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """By stem: the first missing file of each image that lacks one."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """By stem: why an image is left out, as in the published evaluations."""

    @property
    def image_count(self) -> int:
        """Number of images that the originals list."""
        return len(self.conversions) + len(self.missing) + len(self.left_out)


def plan_preparation(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    """Plan the preparation of a benchmark; raises `UsageError` if a file that lists its originals can't be read."""
    return _PLANS[_table(benchmark)](benchmark, root, originals)


def _paired(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    """An image folder and a label folder, whose file names differ only in the suffix."""
    folders = [(folder, download.suffix) for download, folder in zip(benchmark.downloads, originals, strict=True)]
    names = ((name, suffix) for folder, suffix in folders for name in files_below(root / folder, suffix))
    stems = sorted({name.removesuffix(suffix) for name, suffix in names})
    return _planned(
        root,
        {stem: tuple(f"{folder}/{stem}{suffix}" for folder, suffix in folders) for stem in stems},
        lambda stem, image, path: _id_map_conversion(benchmark, stem, image, path),
    )


def _voc(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    images, labels, listing = originals
    stems = (root / listing).read_text(encoding="utf-8", errors="replace").split()
    return _planned(
        root,
        {stem: (f"{images}/{stem}.jpg", f"{labels}/{stem}.png") for stem in stems},
        lambda stem, image, path: _id_map_conversion(benchmark, stem, image, path, skip_empty=True),
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
            PurePosixPath(entry["file_name"]).stem: partial(
                paint_context_masks,
                path=listing,
                size=(int(entry["height"]), int(entry["width"])),
                masks=masks[number],
                table=_table(benchmark),
            )
            for number, entry in wanted.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown_form(root / listing, error) from None
    return _planned(
        root,
        {stem: (f"{images}/{stem}.jpg",) for stem in sorted(sources)},
        lambda stem, image: _conversion(benchmark, stem, image, sources[stem]),
    )


def _context_matlab(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    images, labels = originals
    plan = _planned(
        root,
        {stem: (f"{images}/{stem}.jpg",) for stem in image_stems("pascalcontext_val")},
        lambda stem, image: _conversion(
            benchmark, stem, image, partial(read_matlab_labels, path=f"{labels}/{stem}.mat")
        ),
    )
    labeled = {stem: run for stem, run in plan.conversions.items() if (root / labels / f"{stem}.mat").exists()}
    unlabeled = {stem: "it has no MATLAB file" for stem in plan.conversions if stem not in labeled}
    return replace(plan, conversions=labeled, left_out=unlabeled)


def _full_ade20k(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    *_, listing = originals
    index = read_pickled_index(root / listing)
    try:
        names, folders, objects = ([str(name) for name in index[key]] for key in ("filename", "folder", "objectnames"))
    except (KeyError, TypeError) as error:
        raise _unknown_form(root / listing, error) from None
    entries = read_class_list("ade847_ids")
    # ids start at 1; a few names may differ in spelling, but another release shifts all ids
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
            raise UsageError(f"{str(root / listing)!r} points outside the data folder ({path}); don't trust it")
        if name.startswith("ADE_val_"):
            wanted[path.stem] = (path.as_posix(), path.with_name(f"{path.stem}_seg.png").as_posix())
    return _planned(
        root,
        wanted,
        lambda stem, image, _: partial(
            convert_full_ade,
            stem=stem,
            original=image,
            image=f"ADE20K_2021_17_01/images_detectron2/validation/{stem}.jpg",
            labels=_label_path(benchmark, stem),
            ignored=benchmark.ignored,
        ),
    )


def _pascal_part(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    images, objects, parts = originals
    stems = sorted({PurePosixPath(name).stem for folder in originals for name in files_below(root / folder, "")})
    return _planned(
        root,
        {stem: (f"{images}/{stem}.jpg", f"{objects}/{stem}.png", f"{parts}/{stem}.png") for stem in stems},
        lambda stem, image, object_map, path: _part_conversion(
            benchmark, stem, image, path, partial(read_object_map, path=object_map)
        ),
    )


def _ade20k_part(benchmark: Benchmark, root: Path, originals: OriginalPaths) -> Plan:
    """All validation instances and the unseen objects of the training set; for training, all training instances."""
    parts_of_objects = BenchmarkParts(class_list=benchmark.class_list)
    splits = {"validation": originals[::2], "training": originals[1::2]}
    if benchmark.training_parts is not None:
        splits = {"training": originals}
    wanted: dict[str, tuple[str, ...]] = {}
    sources: dict[str, ObjectReader] = {}
    for split, (images, parts, listing) in splits.items():
        unseen_only = split == "training" and benchmark.training_parts is None
        instances = _instances(root / listing, parts_of_objects, unseen_only=unseen_only)
        for stem in sorted(instances):
            wanted[f"{split}/{stem}"] = (f"{images}/{stem}.jpg", f"{parts}/{stem}.png")
            sources[f"{split}/{stem}"] = partial(read_instances, path=listing, instances=instances[stem])
    return _planned(
        root, wanted, lambda stem, image, path: _part_conversion(benchmark, stem, image, path, sources[stem])
    )


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
    benchmark: Benchmark, stem: str, image: str, part_map: str, objects: ObjectReader
) -> LabelConversion:
    training = benchmark.training_parts
    return partial(
        convert_parts,
        stem=stem,
        image=image,
        part_map=part_map,
        read_objects=objects,
        table=_table(benchmark),
        folder=benchmark.label_folder,
        ignored=benchmark.ignored,
        learned=None if training is None else [label for label, seen in enumerate(training.seen) if seen],
    )


def _id_map_conversion(
    benchmark: Benchmark, stem: str, image: str, path: str, *, skip_empty: bool = False
) -> LabelConversion:
    read = partial(read_id_map, path=path, table=_table(benchmark))
    return _conversion(benchmark, stem, image, read, skip_empty=skip_empty)


def _conversion(
    benchmark: Benchmark, stem: str, image: str, read: LabelReader, *, skip_empty: bool = False
) -> LabelConversion:
    labels = _label_path(benchmark, stem)
    ignored = benchmark.ignored
    return partial(
        convert_labels, stem=stem, image=image, labels=labels, read=read, ignored=ignored, skip_empty=skip_empty
    )


def _table(benchmark: Benchmark) -> str:
    return benchmark.name.removesuffix("-train")


def _label_path(benchmark: Benchmark, stem: str) -> str:
    return f"{benchmark.label_folder}/{stem}{benchmark.label_suffix}"


def _planned(root: Path, wanted: Mapping[str, tuple[str, ...]], convert: Callable[..., LabelConversion]) -> Plan:
    """The conversions of all complete images, and the first missing file of each other image.

    `wanted` has the files of each image by stem; `convert` takes a stem and its files.
    """
    absent = {stem: [path for path in paths if not (root / path).exists()] for stem, paths in wanted.items()}
    missing = {stem: paths[0] for stem, paths in absent.items() if paths}
    conversions = {stem: convert(stem, *paths) for stem, paths in wanted.items() if stem not in missing}
    return Plan(conversions=conversions, missing=missing)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)!r} can't be read as JSON ({one_line(error)}); download it again") from None


def _unknown_form(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{str(path)!r} doesn't have the format that its page describes ({error!r}); download it again")


_PLANS: Mapping[str, Callable[[Benchmark, Path, OriginalPaths], Plan]] = {
    **dict.fromkeys(("coco-stuff", "a-150", "coco-object", "cityscapes"), _paired),
    **dict.fromkeys(("pc-59", "pc-60"), _context_masks),
    **dict.fromkeys(("pas-20", "pas-20b", "voc-21"), _voc),
    "a-847": _full_ade20k,
    "pc-459": _context_matlab,
    "pascal-part-116": _pascal_part,
    "ade20k-part-234": _ade20k_part,
}
