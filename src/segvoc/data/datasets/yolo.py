"""YOLO segmentation: `data.yaml`, and a text file of polygons for each image."""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset
from segvoc.data.datasets.fields import DatasetSource, chosen_set, naming_damage, read_lines, visible_files
from segvoc.data.datasets.shapes import Polygons, Shapes
from segvoc.errors import InputError, UsageError, missing_extra, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.storage.files import safe_path

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""The file about all images."""

_LARGEST_YAML = 10_000_000

_SETS = ("train", "val", "valid", "test")


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

    def _shapes(self) -> Shapes:
        shapes = []
        for number, line in enumerate(self._lines(), 1):
            fields = line.split()
            if not fields:
                continue
            if len(fields) == 5:
                raise ValueError(f"line {number} is a box, not a polygon")
            if not fields[0].isdecimal() or int(fields[0]) >= self.classes:
                raise ValueError(f"line {number} begins with {fields[0][:20]!r}, not a label below {self.classes}")
            try:
                corners = np.array(fields[1:], np.float64)
            except ValueError:
                raise ValueError(f"line {number} has a coordinate that is no number") from None
            # a bit more than 1 comes of rounding
            if not ((corners >= -0.01) & (corners <= 1.01)).all():
                raise ValueError(f"line {number} has a coordinate that is no fraction of the image's size")
            shapes.append(Polygons(label=int(fields[0]), corners=[corners.tolist()], relative=1.0))
        return Shapes(shapes=tuple(shapes))

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        try:
            return read_lines(self.path)
        except UsageError as error:
            raise InputError(str(error)) from None


def find_yaml(folder: Path) -> Path | None:
    """The file about all images in a folder; None without one."""
    return next((folder / name for name in YAML_NAMES if (folder / name).is_file()), None)


def read_yolo(source: DatasetSource) -> FoundDataset:
    """Read polygons in `labels`, whose paths are those of the images with "labels" in place of "images"."""
    path = source.path if source.path.is_file() else find_yaml(source.path)
    if path is None:
        raise UsageError(f"{str(source.path)!r} has no data.yaml; give the YAML file itself as --dataset")
    with naming_damage(path):
        content = _yaml(path)
        names = _names(content.get("names"))
        stated = content.get("path")
        try:
            # not any other type: the text of a list whose entries refer to one another may be endless
            root = path.parent / safe_path(stated if isinstance(stated, str) else ".")
        except ValueError:
            root = path.parent  # the place where it was made
        sets: dict[str, tuple[str, ...]] = {}
        for name in _SETS:
            if places := content.get(name):
                places = [places] if isinstance(places, str) else places
                if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
                    raise ValueError(f"{name!r} is no folder")
                if tuple(places) not in sets.values():
                    sets[name] = tuple(places)
        places = chosen_set(source, sets or {"images": ("images",)}, "sets")
        images = [image for place in places for image in _images(source, root, place, len(names))]
    # an image without a text file has no polygon, but where not even the folder is there, they are elsewhere
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
        raise ValueError("it is larger than any list of classes")
    try:
        content = yaml.safe_load("\n".join(read_lines(path)))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is no YAML ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise ValueError("it has no names")
    return content


def _names(names: object) -> list[str]:
    if isinstance(names, dict):
        if not all(isinstance(label, int) for label in names) or sorted(names) != list(range(len(names))):
            raise ValueError(f"the labels of its {len(names)} names aren't 0 to {len(names) - 1}")
        names = [names[label] for label in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError("it has no names")
    if wrong := [name for name in names if not isinstance(name, str | int)]:
        raise ValueError(f"a name is a {type(wrong[0]).__name__}")
    return [str(name).strip() for name in names]


def _images(source: DatasetSource, root: Path, place: str, classes: int) -> list[AnnotatedImage]:
    """The images in a folder, or of a list of images."""
    # tools that stand in another folder write "../train/images"
    relative = safe_path(re.sub(r"^(\.\./)+", "", place.replace("\\", "/")))
    if (root / relative).is_file():
        paths = [root / safe_path(line.strip()) for line in read_lines(root / relative) if line.strip()]
        base = root / "images"
    else:
        base = root / relative
        if not base.is_dir():
            raise UsageError(f"{str(base)!r}, which {str(source.path)!r} names, is not a folder; check the path")
        paths = visible_files(base, lambda file: file.suffix.lower() in IMAGE_SUFFIXES)
    images = []
    for path in paths:
        labels = _text_file(path, root)
        stem = (path.relative_to(base) if path.is_relative_to(base) else Path(path.name)).with_suffix("").as_posix()
        annotation = PolygonLines(path=labels, classes=classes)
        images.append(AnnotatedImage(image=path, labels=labels, stem=stem, annotation=annotation))
    return images


def _text_file(image: Path, root: Path) -> Path:
    beside = image.with_suffix(".txt")  # as Darknet has them
    before, found, after = f"/{beside.relative_to(root).as_posix()}".rpartition("/images/")
    usual = root / f"{before}/labels/{after}".lstrip("/") if found else beside
    return beside if beside.is_file() and not usual.is_file() else usual
