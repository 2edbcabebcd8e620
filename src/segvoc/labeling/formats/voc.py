"""PASCAL VOC: palette PNGs of labels and of objects, and lists of images."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from segvoc.data.labeled_images import class_names
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED, LabelTable
from segvoc.inference.objects import consecutive
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.base import DatasetEntry, DatasetFormat, Facts, FormatWriter, write_lines
from segvoc.labeling.formats.map_folders import MapPair, Naming, maps_by_stem, paired_maps
from segvoc.labeling.formats.parsed import DatasetSource, ParsedDataset
from segvoc.labeling.formats.untrusted_files import read_lines
from segvoc.storage.atomic_writes import write_atomically
from segvoc.vocabulary.files import IGNORED_NAMES, ClassRow, read_classes

VOC_ROOT = "VOCdevkit/VOC2012"
"""The folder of all others."""

VOC_SETS = ("train", "val", "trainval")
"""The lists of images. Each has all images; splits are up to the user."""

_VOID, _IGNORED = 255, "ignored"
"""The index of pixels without a class, and its name."""

VOC_BACKGROUND = "background"
"""The name of index 0 where no word is the background."""


def voc_colors() -> UInt8[np.ndarray, "256 3"]:
    """VOC's palette: three bits of an index at a time go to red, green and blue, highest bit first."""
    bits = np.arange(8)
    places = 3 * bits + np.arange(3)[:, None]
    return ((np.arange(256)[:, None, None] >> places & 1) @ (128 >> bits)).astype(np.uint8)


def find_voc(folder: Path) -> Path | None:
    """Find the folder with `SegmentationClass` in or below a folder; None without one."""
    places = (folder / below for below in ("", "VOC2012", "VOCdevkit/VOC2012"))
    return next((place for place in places if (place / "SegmentationClass").is_dir()), None)


def read_voc(source: DatasetSource) -> ParsedDataset:
    """Read label maps in `SegmentationClass`: palette PNGs, or RGB ones in the colors of `labelmap.txt`.

    Without that file, the classes come from `class_names.txt`, or else are VOC's. The dataset's path may be a list in
    `ImageSets/Segmentation`, which the split selects too.
    """
    root = find_voc(source.folder.parent.parent if source.path.is_file() else source.folder)
    if root is None:
        raise UsageError(f"{str(source.path)!r} has no folder SegmentationClass; check the path")
    naming = Naming(objects=("/SegmentationClass/", "/SegmentationObject/"))
    pair = MapPair(root / "JPEGImages", root / "SegmentationClass", naming)
    files = (root / name for name in ("labelmap.txt", "class_names.txt"))
    classes = _voc_classes(next((file for file in files if file.is_file()), None))
    return replace(paired_maps(source, pair, classes, _voc_stems(source, root)), background=VOC_BACKGROUND)


def _voc_stems(source: DatasetSource, root: Path) -> list[str]:
    lists = {file.stem: read_lines(file) for file in sorted((root / "ImageSets/Segmentation").glob("*.txt"))}
    if source.path.is_file():
        stems = read_lines(source.path)
    elif not lists:
        return sorted(maps_by_stem(root / "SegmentationClass"))
    elif source.split is None and all(lines == next(iter(lists.values())) for lines in lists.values()):
        stems = next(iter(lists.values()))  # as written by segvoc, without a split
    else:
        stems = source.chosen(lists, "lists in ImageSets/Segmentation")
    return list(dict.fromkeys(stem.strip() for stem in stems if stem.strip()))


def _voc_classes(file: Path | None) -> LabelTable:
    """The classes in the order of their indices; 255 and its color are unlabeled."""
    palette = [red << 16 | green << 8 | blue for red, green, blue in voc_colors().tolist()]
    rows = [ClassRow(name=name) for name in class_names("voc21")] if file is None else read_classes(file)
    if rows[0].color is None:
        rows = [replace(row, color=color) for row, color in zip(rows, palette, strict=False)]
    table = LabelTable.of_rows(rows)
    colors = {palette[255]: UNLABELED, **(table.colors or {})}
    return replace(table, indices={**table.indices, 255: UNLABELED}, colors=colors, has_indices=True)


class _VocWriter(FormatWriter):
    """`VOCdevkit/VOC2012` with `JPEGImages`, `SegmentationClass`, `ImageSets/Segmentation/*.txt` and `labelmap.txt`.

    Results with objects also have `SegmentationObject`, with their numbers: the 254 largest, and void for pixels that
    are in no object though their word has some.
    """

    lost = rf"[:\n\r]|^#|^({'|'.join(IGNORED_NAMES)})$"
    # whatever the image was: VOC's own tools and torchvision look for nothing else
    image_file = f"{VOC_ROOT}/JPEGImages/{{stem}}.jpg"
    own_file = f"{VOC_ROOT}/SegmentationClass/{{stem}}.png"

    def __init__(self, words: Sequence[str], background: str | None = None) -> None:
        super().__init__(words, background)
        first = VOC_BACKGROUND if background is None else background
        self.names = (first, *(word for word in words if word != first))
        if len(self.names) > _VOID:
            raise UsageError(
                f"voc has room for {_VOID - 1} words besides the background, not for {len(self.names) - 1}; "
                "choose coco-panoptic, which has room for all"
            )
        self._indices = np.full(UNLABELED + 1, _VOID, np.uint8)
        self._indices[: len(self.words)] = [self.names.index(word) for word in self.words]

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        if stem != stem.strip():
            raise UsageError(f"{stem!r} has a space at an end, which VOC's lists of images lose; rename the image")
        _write_palette_png(folder / self.files(stem)[0], self._indices[result.labels])
        file = folder / f"{VOC_ROOT}/SegmentationObject/{stem}.png"
        if result.object_map is None:
            file.unlink(missing_ok=True)  # left by an earlier result
            return {}
        numbers = consecutive(result.labels, result.object_map, len(self.words))
        counted = np.isin(result.labels, result.labels[numbers > 0])
        uncounted = (numbers == 0) & (counted | (result.labels >= len(self.words)))
        _write_palette_png(file, np.where(uncounted, _VOID, np.minimum(numbers, _VOID)).astype(np.uint8))
        return {}

    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        colors = voc_colors().tolist()
        lines = [f"{name}:{','.join(map(str, color))}::" for name, color in zip(self.names, colors, strict=False)]
        lines.append(f"{_IGNORED}:{','.join(map(str, colors[_VOID]))}::")
        write_lines(folder / VOC_ROOT / "labelmap.txt", ["# label:color_rgb:parts:actions", *lines])
        for name in VOC_SETS:
            file = folder / VOC_ROOT / f"ImageSets/Segmentation/{name}.txt"
            write_lines(file, (entry.stem for entry in entries))


def _write_palette_png(path: Path, values: UInt8[np.ndarray, "H W"]) -> None:
    png = Image.fromarray(values)
    png.putpalette(voc_colors().tobytes())
    write_atomically(path, lambda file: png.save(file, "PNG"))


VOC = DatasetFormat(
    name="voc",
    read=read_voc,
    writer=_VocWriter,
    marks=find_voc,
    is_file=lambda path: path.suffix.lower() == ".txt" and path.parent.name == "Segmentation",
)
