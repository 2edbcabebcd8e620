"""The files of a result: label map, part map, numbers of objects, overlay and report."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from segvoc.errors import OutputError, UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import write_label_map, write_placed_label_map
from segvoc.imaging.overlay import OverlayStyle
from segvoc.imaging.result_paths import ResultPaths, refuse_overwriting
from segvoc.imaging.tiff_tags import place_of
from segvoc.inference.reports import json_text
from segvoc.storage.atomic_writes import check_names, write_atomically


def save_result(
    result: Any,
    out_dir: str | os.PathLike[str],
    stem: str | None,
    overlay: OverlayStyle | None,
    *,
    compact: bool,
) -> ResultPaths:
    """See `Segmentation.save`."""
    out_dir, stem = _place(result, out_dir, stem)
    place = None if result.source is None else place_of(result.source)
    paths = ResultPaths.below(
        out_dir,
        stem,
        parts=result.part_labels is not None,
        objects=result.object_map is not None,
        overlay=overlay is not None,
        placed=place is not None,
    )
    if result.source is not None:
        refuse_overwriting([result.source], paths)
    check_names(paths)
    drawn, stale = None if overlay is None else result.overlay(**asdict(overlay)), paths.stale()
    if place is None:
        write_label_map(paths.label_map, result.labels, result.colors)
    else:
        write_placed_label_map(paths.label_map, result.labels, result.colors, result.words, place)
    if paths.part_map is not None and result.part_labels is not None:
        write_label_map(paths.part_map, result.part_labels, result.part_colors)
    if paths.object_map is not None and result.object_map is not None:
        numbers = Image.fromarray(result.object_map)
        write_atomically(paths.object_map, lambda file: numbers.save(file, "PNG"))
    if paths.overlay is not None and drawn is not None:
        # Level 1: at level 6, photos are hardly smaller but take four times as long.
        write_atomically(paths.overlay, lambda file: drawn.save(file, "PNG", compress_level=1))
    write_atomically(paths.report, lambda file: file.write(json_text(result.report(compact=compact))))
    for left in stale:
        try:
            left.unlink(missing_ok=True)
        except OSError as error:
            problem = f"{str(left)!r} of an earlier run can't be removed: {error.strerror}; remove it yourself"
            raise OutputError(problem) from None
    return paths


def _place(result: Any, out_dir: str | os.PathLike[str], stem: str | None) -> tuple[str | os.PathLike[str], str]:
    suffix = "" if stem is not None or os.path.isdir(out_dir) else Path(out_dir).suffix.lower()
    if suffix == ".png":
        return Path(out_dir).parent, Path(out_dir).stem
    if suffix in (*IMAGE_SUFFIXES, ".json", ".npy", ".npz", ".txt", ".csv"):
        raise UsageError(
            f"{os.fspath(out_dir)!r}: label maps are PNGs, since JPEG would change labels; give a folder or a name "
            "that ends with .png, or write a picture or file of your own: result.overlay(), .labels or .report()"
        )
    if stem is None:
        stem = "segmentation" if result.source is None else Path(result.source).stem
    if not stem or os.path.isabs(stem) or ".." in Path(stem).parts:
        raise UsageError(f"stem={stem!r} leads out of {os.fspath(out_dir)!r}; give a name like 'sub/photo'")
    return out_dir, stem
