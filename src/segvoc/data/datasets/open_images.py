"""Open Images: a CSV file of masks for each subset, which are PNGs of their own, mostly smaller than their image."""

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, broken
from segvoc.data.datasets.fields import damaged, finite
from segvoc.data.datasets.places import DatasetSource, chosen_set
from segvoc.data.datasets.shapes import Patch, Shape, Shapes
from segvoc.errors import InputError, UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import nearest
from segvoc.imaging.reading import opened_image
from segvoc.storage.safe_paths import safe_path

_SEGMENTATION = re.compile(r"(?:oidv\d+-)?(?P<set>.+?)-annotations-object-segmentation\.csv", re.ASCII)
_COLUMNS = ("MaskPath", "ImageID", "LabelName")
_BOX = ("BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax")

MOST_CLASS_NAMES = 1000
"""Of longer lists of names only those of masks are classes: Open Images has 20,000, of which 350 have masks."""


@dataclass(frozen=True, kw_only=True)
class MaskFile(Shape):
    """A mask as a black and white PNG of the whole image, of any size."""

    path: Path
    """The file."""

    def patch(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        try:
            with opened_image(self.path) as image:
                inside = np.array(image.convert("L")) > 0
        except InputError as error:
            raise ValueError(f"mask {str(error).replace(str(self.path), self.path.name)}") from None
        return Patch(0, 0, inside if inside.shape == (height, width) else nearest(inside, (height, width)))


def segmentation_files(folder: Path) -> dict[str, Path]:
    """The CSV files of masks of a folder, or of its folder `annotations`, by the names of their sets."""
    found: dict[str, Path] = {}
    for place in (folder / "annotations", folder):
        for file in sorted(place.glob("*-annotations-object-segmentation.csv")):
            if (name := _SEGMENTATION.fullmatch(file.name)) is not None:
                found.setdefault(name["set"], file)
    return found


def read_open_images(source: DatasetSource) -> FoundDataset:
    """Read the masks of Open Images; where they overlap, smaller ones are in front.

    Args:
        source: the folder with the CSV files of masks and `*class-descriptions*.csv`, or with these in `annotations/`,
            with the masks in `masks/` and the images in `images/`, below these mostly in a folder for each set; or the
            CSV file of a set.

    Raises:
        UsageError: there is no such file, or several, or it is damaged.
    """
    if source.path.is_file():
        path, name = source.path, _SEGMENTATION.fullmatch(source.path.name)
        chosen = "" if name is None else name["set"]
    else:
        files = segmentation_files(source.path)
        if not files:
            raise UsageError(f"{str(source.path)!r} has no ...-annotations-object-segmentation.csv; download it there")
        path = chosen_set(source, files, "sets")
        chosen = next(name for name, file in files.items() if file == path)
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    names = _class_names(path)
    rows: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    used: set[str] = set()
    for row in _rows(path, _COLUMNS):
        rows[row["ImageID"]].append(row)
        used.add(row["LabelName"])
    known = [*names, *sorted(used - names.keys())]
    chosen_labels = known if len(known) <= MOST_CLASS_NAMES else [label for label in known if label in used]
    words = [names.get(label, label) for label in chosen_labels]
    labels = {label: number for number, label in enumerate(chosen_labels)}
    masks = [root / "masks" / chosen, root / "masks", root / f"{chosen}-masks", root / chosen / "masks"]
    places = [root / "images" / chosen, root / "images", root / chosen, root]
    images = []
    for image_id, of_image in rows.items():
        try:
            shapes = tuple(
                MaskFile(label=labels[row["LabelName"]], path=_first(masks, safe_path(row["MaskPath"])))
                for row in sorted(of_image, key=_area, reverse=True)
            )
            place = _image(source, image_id, places)
            images.append(AnnotatedImage(image=place, labels=path, stem=image_id, annotation=Shapes(shapes=shapes)))
        except ValueError as error:
            images.append(broken(path, image_id[:100], f"image {image_id[:60]!r}: {error}"))
    return FoundDataset(names=words, images=images)


def _area(row: Mapping[str, str]) -> float:
    """The share of the image in a mask's box; 1 where the file has no boxes."""
    left, right, top, bottom = (finite(row.get(name) or value, name) for name, value in zip(_BOX, "0101", strict=True))
    return (right - left) * (bottom - top)


def _class_names(path: Path) -> dict[str, str]:
    """The names of the labels ("/m/01yrx": "Cat")."""
    for place in (path.parent, path.parent.parent):
        files = sorted(place.glob("*class-descriptions*.csv"), key=lambda file: "segmentation" not in file.name)
        names: dict[str, str] = {}
        for file in files:
            for row in _csv(file):
                if len(row) >= 2 and row[0] != "LabelName":
                    names.setdefault(row[0], row[1].strip())
        if names:
            return names
    raise UsageError(f"{str(path.parent)!r} has no ...class-descriptions....csv, which names the labels; put it there")


def _rows(path: Path, columns: Sequence[str]) -> list[Mapping[str, str]]:
    """The rows of a CSV file by its first line."""
    head, *rows = _csv(path) or [[]]
    if missing := [column for column in columns if column not in head]:
        raise damaged(path, f"it has no column {missing[0]!r}")
    for number, row in enumerate(rows, 2):
        if row and len(row) < len(head):
            raise damaged(path, f"line {number} has {len(row)} values in place of {len(head)}")
    return [dict(zip(head, row, strict=False)) for row in rows if row]


def _csv(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.reader(file))
    except (ValueError, csv.Error) as error:
        raise damaged(path, f"it is no CSV ({error})") from None


def _first(folders: Sequence[Path], name: Path) -> Path:
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)


def _image(source: DatasetSource, image_id: str, folders: Sequence[Path]) -> Path:
    """The file of an image, which the dataset names without its suffix."""
    name = safe_path(image_id)
    for folder in folders if source.images is None else [source.images]:
        for suffix in (".jpg", *sorted(IMAGE_SUFFIXES - {".jpg"})):
            if (place := folder / f"{name}{suffix}").is_file():
                return place
    return source.image(f"{image_id}.jpg", folders)
