"""YOLO segmentation: `data.yaml`, and a text file of polygons per image."""

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, Polygons, Shape, Shapes, broken
from segvoc.data.datasets.fields import DatasetSource, chosen_set, naming_damage, path_ends, read_lines, visible_files
from segvoc.errors import InputError, UsageError, missing_extra, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.storage.files import safe_path

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""The dataset's YAML file."""

_LARGEST_YAML = 10_000_000

_SETS = ("train", "val", "valid", "test")

_SHORT = {1: "label without a shape", 3: "point", 5: "box"}
"""Kind of a line by its number of fields."""


@dataclass(frozen=True, kw_only=True)
class PolygonLines:
    """A text file of polygons: a line is a label, then x and y of each corner as fractions of the image's size."""

    path: Path
    """The file; an image without one has no polygon."""
    classes: int

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        return self._shapes().draw(size, outside)

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        return self._shapes().objects(size, stuff)

    def kinds(self) -> Sequence[str | None]:
        """The kind of each line, None for a polygon; empty if the file can't be read."""
        with suppress(InputError):
            return [_SHORT.get(len(fields)) for _, fields in self._lines()]
        return []

    def _shapes(self) -> Shapes:
        # larger first, as in YOLO: the lines have no order
        lines = [line for line in self._lines() if len(line[1]) not in _SHORT]
        return Shapes(shapes=tuple(self._shape(*line) for line in lines), larger_first=True)

    def _shape(self, number: int, fields: Sequence[str]) -> Shape:
        try:
            label = float(fields[0])  # some tools write 1.0
            corners = np.array(fields[1:], np.float64)
        except ValueError:
            raise ValueError(f"line {number} has {' '.join(fields)[:40]!r} instead of numbers") from None
        if not label.is_integer() or not 0 <= label < self.classes:
            raise ValueError(f"line {number} begins with {fields[0][:20]!r}, not a label below {self.classes}")
        # rounding may give slightly more than 1
        if not ((corners >= -0.01) & (corners <= 1.01)).all():
            raise ValueError(f"line {number} has a coordinate that isn't a fraction of the image's size")
        return Shape(label=int(label), patch=Polygons([corners.tolist()], relative=1.0))

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """The fields of each non-empty line, with its number."""
        try:
            lines = read_lines(self.path) if self.path.exists() else []
        except UsageError as error:
            raise InputError(str(error)) from None
        return ((number, fields) for number, line in enumerate(lines, 1) if (fields := line.split()))


def find_yaml(folder: Path) -> Path | None:
    """Find the YAML file of a folder, or Label Studio's class list; None without one."""
    if (found := next((folder / name for name in YAML_NAMES if (folder / name).is_file()), None)) is not None:
        return found
    classes = folder / "classes.txt"
    return classes if classes.is_file() and next((folder / "labels").rglob("*.txt"), None) is not None else None


def read_yolo(source: DatasetSource) -> FoundDataset:
    """Read polygons in `labels`, at the images' paths with "labels" in place of "images"."""
    path = source.path if source.path.is_file() else find_yaml(source.path)
    if path is None:
        raise UsageError(f"{str(source.path)!r} has no data.yaml; give the YAML file itself as --dataset")
    with naming_damage(path):
        content = (
            _yaml(path) if path.suffix != ".txt" else {"names": [name for name in read_lines(path) if name.strip()]}
        )
        names = _names(content.get("names"))
        # no other type: formatting a list with self-references may never end
        stated = content.get("path")
        ends = path_ends(stated) if isinstance(stated, str) else []
        # the path may be from the machine that made the dataset, or relative to another folder
        root = next((path.parent / end for end in ends if (path.parent / end).is_dir()), path.parent)
        sets: dict[str, tuple[str, ...]] = {}
        for name in _SETS:
            if places := content.get(name):
                places = [places] if isinstance(places, str) else places
                if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
                    raise ValueError(f"{name!r} is no folder")
                if tuple(places) not in sets.values():
                    sets[name] = tuple(places)
        places = chosen_set(source, sets or {"images": ("images",)}, "sets")
        images: list[AnnotatedImage] = []
        polygons = 0
        for place in places:
            found, drawn = _images(source, root, place, len(names))
            images, polygons = images + found, polygons + drawn
        if not polygons and any(image.skipped for image in images):
            raise ValueError("its labels are boxes or points; polygons are required")
    # an image without a text file has no polygons, but a missing folder is an error
    if images and not any(one.labels.is_file() or _is_labels_folder(one) for one in images):
        raise UsageError(
            f"{str(path)!r}: the folder {str(images[0].labels.parent)!r} of its text files is missing; their paths are "
            'those of the images with "labels" in place of "images"'
        )
    return FoundDataset(names=names, images=images)


def _is_labels_folder(image: AnnotatedImage) -> bool:
    folder = image.labels.parent
    return folder.is_dir() and folder != image.image.parent


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        import yaml
    except ModuleNotFoundError:
        raise missing_extra("PyYAML", "data") from None
    if path.stat().st_size > _LARGEST_YAML:
        raise ValueError("it is too large for a list of classes")
    try:
        # names are literal text, including no, off, 010 and 12:30
        content = yaml.load("\n".join(read_lines(path)), yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is not YAML ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise ValueError("it has no names")
    return content


def _names(names: object) -> list[str]:
    if isinstance(names, dict):
        by_label = {int(key): name for key, name in names.items() if str(key).isdecimal()}
        if len(by_label) < len(names) or sorted(by_label) != list(range(len(names))):
            raise ValueError(f"the labels of its {len(names)} names aren't 0 to {len(names) - 1}")
        names = [by_label[label] for label in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError("it has no names")
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"a name is a {type(wrong[0]).__name__}")
    return [name.strip() for name in names]


def _images(source: DatasetSource, root: Path, place: str, classes: int) -> tuple[list[AnnotatedImage], int]:
    """The images in a folder or list, and their number of polygons."""
    # some tools write "../train/images", others paths on the machine that made the dataset
    ends = path_ends(place)
    there = next((root / end for end in ends if (root / end).exists()), None)
    if there is None:
        there = root / (ends[0] if ends and place.startswith("..") else safe_path(place))
    problems: dict[Path, str] = {}
    if there.is_file():
        # CVAT and others write "data/images/a.jpg"
        base, paths, lists = (
            source.images or root / "images",
            [],
            DatasetSource(path=root, images=source.images or root),
        )
        for line in dict.fromkeys(filter(None, map(str.strip, read_lines(there)))):
            try:
                paths.append(lists.image(line, []))
            except ValueError as error:
                paths.append(root / (path_ends(line) or [Path("image")])[-1])
                problems[paths[-1]] = str(error)
    else:
        base = source.images or there
        if not base.is_dir():
            raise UsageError(f"{str(base)!r}, which {str(source.path)!r} names, is not a folder; check the path")
        paths = visible_files(base, lambda file: file.suffix.lower() in IMAGE_SUFFIXES)
    images: list[AnnotatedImage] = []
    polygons = 0
    for path in paths:
        below = path.relative_to(base) if path.is_relative_to(base) else Path(path.name)
        inside = path.relative_to(root) if path.is_relative_to(root) else _below(there, root) / below
        labels = _text_file(path, root, inside)
        stem = below.with_suffix("").as_posix()
        if path in problems:
            images.append(broken(there, stem, problems[path]))
            continue
        annotation = PolygonLines(path=labels, classes=classes)
        kinds = annotation.kinds()
        polygons += kinds.count(None)
        skipped = tuple(kind for kind in kinds if kind is not None)
        images.append(AnnotatedImage(image=path, labels=labels, stem=stem, annotation=annotation, skipped=skipped))
    return images, polygons


def _below(folder: Path, root: Path) -> Path:
    return folder.relative_to(root) if folder.is_dir() else Path("images")


def _text_file(image: Path, root: Path, inside: Path) -> Path:
    """The text file of an image at `inside` below the dataset's folder."""
    beside = image.with_suffix(".txt")  # as in Darknet
    before, found, after = f"/{inside.with_suffix('.txt').as_posix()}".rpartition("/images/")
    usual = root / f"{before}/labels/{after}".lstrip("/") if found else beside
    return beside if beside.is_file() and not usual.is_file() else usual
