"""YOLO segmentation: `data.yaml`, and a text file of polygons per image."""

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.errors import UsageError
from segvoc.imaging.connected_regions import polygon_of
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.base import DatasetEntry, DatasetFormat, Facts, FormatWriter, write_lines
from segvoc.labeling.formats.parsed import AnnotatedImage, DatasetSource, ParsedDataset, annotated, broken
from segvoc.labeling.formats.shapes import NoArea, Polygons, Shape, Shapes
from segvoc.labeling.formats.untrusted_files import inner_path, naming_damage, path_ends, read_lines, visible_files
from segvoc.storage.files import named_alike, safe_path
from segvoc.vocabulary.files import ClassRow, class_rows, parsed_yaml, read_classes

YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""The dataset's YAML file."""

_SETS = ("train", "val", "valid", "test")

_SHORT = {1: "label without a shape", 3: "point", 5: "box"}
"""Kind of a line by its number of fields."""


def find_yaml(folder: Path) -> Path | None:
    """Find the YAML file of a folder, or Label Studio's class list; None without one."""
    if (usual := next((folder / name for name in YAML_NAMES if (folder / name).is_file()), None)) is not None:
        return usual
    classes = folder / "classes.txt"
    return classes if classes.is_file() and next((folder / "labels").rglob("*.txt"), None) is not None else None


def read_yolo(source: DatasetSource) -> ParsedDataset:
    """Read polygons in `labels`, at the images' paths with "labels" in place of "images"."""
    path = source.path if source.path.is_file() else find_yaml(source.path)
    if path is None:
        raise UsageError(f"{str(source.path)!r} has no data.yaml; give the YAML file itself as --dataset")
    with naming_damage(path):
        content = _yaml(path) if path.suffix != ".txt" else {}
        if "kpt_shape" in content:
            raise ValueError("its labels are poses, boxes with keypoints (kpt_shape); polygons are required")
        names = _names(class_rows(content.get("names")) if content else read_classes(path))
        if content.get("nc", str(len(names))) != str(len(names)):
            raise ValueError(f"nc is {content['nc']!r}, but it has {len(names)} names")
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
                    raise ValueError(f"{name!r} is not a folder")
                if tuple(places) not in sets.values():
                    sets[name] = tuple(places)
        places = source.chosen(sets or {"images": ("images",)}, "sets")
        images = [image for place in places for image in _images(source, root, place, len(names))]
        found = [image.annotation for image in images if isinstance(image.annotation, Shapes)]
        if any(shapes.skipped for shapes in found) and not any(shapes.shapes for shapes in found):
            raise ValueError("its labels are boxes or points; polygons are required")
    # an image without a text file has no polygons, but a missing folder is an error
    folders = {image.labels.parent for image in images if image.labels.parent != image.image.parent}
    if images and not any(path.exists() for path in (*folders, *(image.labels for image in images))):
        raise UsageError(
            f"{str(path)!r}: the folder {str(images[0].labels.parent)!r} of its text files is missing; their paths are "
            'those of the images with "labels" in place of "images"'
        )
    return ParsedDataset(names=names, images=images)


def _yaml(path: Path) -> Mapping[str, Any]:
    content = parsed_yaml("\n".join(read_lines(path)))
    if not isinstance(content, dict):
        raise ValueError("it has no names")
    return content


def _names(rows: Sequence[ClassRow]) -> list[str]:
    if any(row.value not in (None, place) for place, row in enumerate(rows)):
        raise ValueError(f"the labels of its {len(rows)} names aren't 0 to {len(rows) - 1}")
    return [row.name for row in rows]


def _images(source: DatasetSource, root: Path, place: str, classes: int) -> list[AnnotatedImage]:
    # some tools write "../train/images", others paths on the machine that made the dataset
    ends = path_ends(place)
    there = next((root / end for end in ends if (root / end).exists()), None)
    if there is None:
        there = root / (ends[0] if ends and place.startswith("..") else safe_path(place))
    files: dict[Path, ValueError | None] = {}
    if there.is_file():
        base = source.images or root / "images"
        # CVAT and others write "data/images/a.jpg"
        lists = DatasetSource(path=root, images=source.images or root)
        for line in filter(None, map(str.strip, read_lines(there))):
            try:
                files[lists.image(line, [])] = None
            except ValueError as error:
                files[root / inner_path(line).name] = error
    else:
        base = source.images or there
        if not base.is_dir():
            raise UsageError(f"{str(base)!r}, which {str(source.path)!r} names, is not a folder; check the path")
        files = dict.fromkeys(visible_files(base, IMAGE_SUFFIXES))
    usual, images = there.relative_to(root) if there.is_dir() else Path("images"), []
    for path, problem in files.items():
        below = path.relative_to(base) if path.is_relative_to(base) else Path(path.name)
        labels = _text_file(path, root, path.relative_to(root) if path.is_relative_to(root) else usual / below)
        stem = below.with_suffix("").as_posix()
        if problem is not None:
            images.append(broken(there, stem, problem))
        else:
            images.append(annotated(labels, stem, partial(Path, path), partial(_shapes, labels, classes)))
    return images


def _text_file(image: Path, root: Path, inside: Path) -> Path:
    """The text file of an image at `inside` below the dataset's folder."""
    beside = image.with_suffix(".txt")  # as in Darknet
    before, is_usual, after = f"/{inside.with_suffix('.txt').as_posix()}".rpartition("/images/")
    usual = root / f"{before}/labels/{after}".lstrip("/") if is_usual else beside
    return named_alike(usual) or named_alike(beside) or usual


def _shapes(path: Path, classes: int) -> Shapes:
    """The polygons of a text file: a line is a label, then x and y of each corner as fractions of the image's size."""
    lines = enumerate(read_lines(path) if path.exists() else [], 1)
    fields = [(number, words) for number, line in lines if (words := line.split())]
    # larger first, as in YOLO: the lines have no order
    return Shapes.of(fields, lambda line: _shape(*line, classes), larger_first=True)


def _shape(number: int, fields: Sequence[str], classes: int) -> Shape:
    if "," in fields[0]:
        raise ValueError(f"line {number} has commas; separate numbers by spaces")
    if len(fields) in _SHORT:
        raise NoArea(_SHORT[len(fields)])
    try:
        label, *corners = map(float, fields)  # some tools write the label as 1.0
    except ValueError:
        raise ValueError(f"line {number} has {' '.join(fields)[:40]!r} instead of numbers") from None
    if not label.is_integer() or not 0 <= label < classes:
        raise ValueError(f"line {number} begins with {fields[0][:20]!r}, not a label below {classes}")
    # rounding may give slightly more than 1
    if not all(-0.01 <= corner <= 1.01 for corner in corners):
        raise ValueError(f"line {number} has a coordinate that isn't a fraction of the image's size")
    # all images' corners stay in memory: an array takes a quarter of a list
    return Shape(label=int(label), patch=Polygons([array("d", corners)], relative=1.0))


class _YoloWriter(FormatWriter):
    """`images/photo.jpg`, `labels/photo.txt`, `images.txt` and `data.yaml`; a line of labels is a polygon."""

    @classmethod
    def files(cls, stem: str) -> tuple[str, ...]:
        """See `FormatWriter.files`; YOLO looks for "labels" in place of the last "images" in an image's path."""
        before, _, after = f"/images/{stem}".rpartition("/images/")
        return (f"{before}/labels/{after}.txt".lstrip("/"),)

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        lines = []
        for region in self.regions(result):
            corners = np.clip(polygon_of(region) / [result.width, result.height], 0, 1).ravel().tolist()
            lines.append(" ".join([str(region.label), *(f"{corner:.7g}" for corner in corners)]))
        write_lines(folder / self.files(stem)[0], lines)
        return {}

    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        names = [f"  {label}: {_yaml_text(word)}" for label, word in enumerate(self.words)]
        # not the folder, which may have images of an earlier call, whose labels are of other words
        write_lines(folder / "images.txt", (f"./{entry.image}" for entry in entries))
        write_lines(folder / "data.yaml", ["train: images.txt", "val: images.txt", "names:", *names])


def _yaml_text(text: str) -> str:
    """Quote text for YAML: as in JSON, but with eight-digit escapes for non-ASCII, since YAML has no surrogates."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if " " <= char <= "~" else f"\\U{ord(char):08x}" for char in quoted)


YOLO_SEG = DatasetFormat(
    name="yolo-seg",
    read=read_yolo,
    writer=_YoloWriter,
    marks=find_yaml,
    is_file=lambda path: path.suffix.lower() in (".yaml", ".yml"),
)
