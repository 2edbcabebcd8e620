"""Label maps of datasets, with their maps of objects, and the images that they are paired with by name."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16

from segvoc.errors import UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED_8_BIT, LabelTable, read_label_map, stored_map
from segvoc.labeling.formats.annotated_images import (
    AnnotatedImage,
    Annotation,
    DatasetSource,
    ParsedDataset,
    broken,
    checked_size,
    unique_stems,
    visible_files,
)
from segvoc.storage.files import composed, safe_path

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".npy")
"""Suffixes of masks, all lossless formats."""


class ObjectNumbers(NamedTuple):
    """Encoding of a class index and an object number in 16 bits: `factor` times the index plus the number."""

    factor: int
    things: frozenset[int]
    """The indices that have objects."""

    def of(self, values: np.ndarray) -> np.ndarray:
        """Extract each pixel's object number, 0 for none."""
        if values.dtype == np.uint8:
            raise ValueError("the object map is not 16-bit")
        is_object = np.isin(values // self.factor, list(self.things))
        return np.where(is_object, values.astype(np.int64) + 1, 0)


@dataclass(frozen=True, kw_only=True)
class MapFile(Annotation):
    """A map of indices (gray or palette) or colors, with an optional object map."""

    path: Path
    table: LabelTable
    objects_path: Path | None = None
    numbers: ObjectNumbers | None = None
    """Encoding of the object map; None: plain object numbers, with 255 for none in 8 bits."""

    @property
    def table_digest(self) -> str:
        """See `Annotation`."""
        return self.table.digest

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        labels = read_label_map(self.path, self.table)
        checked_size(size, labels.shape)
        return labels

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        if self.objects_path is None:
            return None
        values = stored_map(self.objects_path).values
        if values.ndim != 2:
            raise ValueError(f"{self.objects_path.name!r} is a color image, not a map of object numbers")
        checked_size(size, values.shape)
        if self.numbers is not None:
            values = self.numbers.of(values)
        elif values.dtype == np.uint8:
            values = np.where(values == UNLABELED_8_BIT, 0, values)
        renumbered = np.zeros(size, np.uint16)
        renumbered[values > 0] = np.unique(values[values > 0], return_inverse=True)[1] + 1
        return renumbered


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How the maps of a folder are named after their images, and their object maps after them."""

    image_ending: str = ""
    """Ending of image names after the part shared with their maps, without the suffix."""
    endings: tuple[str, ...] = ("",)
    """Possible endings of map names; the most frequent is used."""
    objects: tuple[str, str] | None = None
    """Path replacement from a map to its object map."""
    numbers: ObjectNumbers | None = None
    """What the values of that file are."""

    def map_file(self, path: Path, table: LabelTable) -> MapFile:
        """A map, with its object map if there is one."""
        objects = None
        if self.objects is not None:
            before, _, after = path.as_posix().rpartition(self.objects[0])
            objects = Path(f"{before}{self.objects[1]}{after}")
        objects = objects if objects is not None and objects.is_file() else None
        return MapFile(path=path, table=table, objects_path=objects, numbers=self.numbers)


class MapPair(NamedTuple):
    """An image folder and a map folder."""

    images: Path
    maps: Path
    naming: Naming


def paired_maps(
    source: DatasetSource, pair: MapPair, table: LabelTable, stems: Iterable[str] | None = None
) -> ParsedDataset:
    """Pair images and maps of the same names, or only those in a list.

    Images without a map and maps without an image are included, and reading them says which file is missing.
    """
    folder, maps_folder, naming = source.images or pair.images, pair.maps, pair.naming
    for place, what in ((folder, "images"), (maps_folder, "labels")):
        if not place.is_dir():
            problem = f"the folder {str(place)!r} is missing; unpack it there"
            raise UsageError(f"{str(source.path)!r} has no {what}: {problem}")
    files = [path.relative_to(folder) for path in visible_files(folder, IMAGE_SUFFIXES)]
    files = [file for file in files if folder != maps_folder or not file.stem.endswith(naming.endings)]
    stems_of_files = (composed(stem).removesuffix(naming.image_ending) for stem in unique_stems(files))
    images = dict(zip(stems_of_files, files, strict=True))
    maps = maps_by_stem(maps_folder)
    for stem, whole in ((stem + end, f"{images[stem].as_posix()}{end}") for stem in images for end in naming.endings):
        if (whole := composed(whole)) in maps:  # a.jpg.png may be the mask of a.jpg
            maps[stem] = maps.pop(whole)
    counts = {ending: sum(stem + ending in maps for stem in images) for ending in naming.endings}
    ending = max(naming.endings, key=counts.__getitem__)
    if stems is None:
        if not images:
            raise UsageError(f"{str(folder)!r} has no images; give their folder with --images")
        if not counts[ending]:
            first, file = next(iter(images.items()))
            raise UsageError(
                f"no image in {str(folder)!r} has a map in {str(maps_folder)!r}; {str(folder / file)!r} needs "
                f"{str(maps_folder / f'{first}{ending}.png')!r}"
            )
        # "photo_color.png" is another view of photo.png, not a mask whose image is missing
        alone = {stem.removesuffix(ending) for stem in maps if stem.endswith(ending)} - images.keys()
        known = images.keys() | alone
        stems = sorted(images.keys() | {stem for stem in alone if stem.rpartition("_")[0] not in known})
    paired = []
    for stem in map(composed, stems):
        try:
            safe_path(stem)
        except ValueError as error:
            paired.append(broken(source.path, stem, error))
            continue
        path = maps.get(stem + ending, maps_folder / f"{stem}{ending}.png")
        image = folder / images.get(stem, f"{stem}{naming.image_ending}.jpg")
        paired.append(AnnotatedImage(image=image, labels=path, stem=stem, annotation=naming.map_file(path, table)))
    return ParsedDataset(names=table.names, images=paired, are_shapes=False)


def maps_by_stem(folder: Path) -> dict[str, Path]:
    """The maps in a folder by their paths below it, without suffix."""
    paths = visible_files(folder, MASK_SUFFIXES)
    return {composed(path.relative_to(folder).with_suffix("").as_posix()): path for path in paths}


def map_sets(folder: Path, pattern: str) -> dict[str, Path]:
    """The folders that match a pattern, by the text that matches its asterisk; "" without one."""
    if "*" not in pattern:
        return {"": folder / pattern} if (folder / pattern).is_dir() else {}
    before, _, after = pattern.partition("*")
    places = [path for path in sorted(folder.glob(pattern)) if path.is_dir()]
    names = [path.relative_to(folder).as_posix().removeprefix(before).removesuffix(after) for path in places]
    return {name: path for name, path in zip(names, places, strict=True) if not name.startswith(".")}
