"""Label maps of datasets, with their maps of objects, and projects, which are folders of such maps."""

import json
import os
import zipfile
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import (
    AnnotatedImage,
    Annotation,
    DatasetSource,
    Entry,
    ParsedDataset,
    checked_size,
    json_content,
    naming_damage,
)
from segvoc.errors import UsageError, one_line
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT, LabelTable, read_label_map, stored_map
from segvoc.storage.files import read_json
from segvoc.vocabulary import read_classes


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


def read_label_table(path: Path) -> LabelTable:
    """Read a class table (`segvoc.vocabulary.read_classes`), or raise a `UsageError`."""
    return LabelTable.of_rows(read_classes(path))


# ---- projects of segvoc-annotate

PROJECT_FILE = "project.json"
"""The file that identifies a project folder."""

PROJECT_FORMAT = "segvoc project"
PROJECT_VERSION = 1


def is_project(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has a `project.json` of a project; a damaged one counts."""
    path = Path(folder) / PROJECT_FILE
    try:
        content = read_json(path) if path.is_file() else None
    except (OSError, ValueError):
        return True
    return isinstance(content, dict) and content.get("format") == PROJECT_FORMAT


def _json_in_zip(path: Path, name: str) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(name))
    except OSError:
        raise
    except Exception as error:  # zipfile raises a dozen exception types on damaged data
        raise ValueError(one_line(error)) from None


def _last(merged: Mapping[int, object], word: int) -> int:
    """The id that a word's pixels have in the end."""
    for _ in merged:
        word = into if isinstance(into := merged.get(word), int) else word
    return word


def read_project(source: DatasetSource) -> ParsedDataset:
    """Read the finished images of a project, with its words.

    It reads `project.json`, the states in `work/a.zip`, `labels/a.png` and `objects/a.png` (docs/reference/files.md).
    """
    folder, file = source.folder, source.folder / PROJECT_FILE
    if not file.is_file():
        raise UsageError(f"{str(folder)!r} has no {PROJECT_FILE}; give the folder of a project")
    with naming_damage(file):
        project = Entry(json_content(file), "the file")
        if project.content.get("format") != PROJECT_FORMAT:
            raise UsageError(f"{str(file)!r} is not a segvoc project; give the folder of a project")
        if (version := project.whole("version")) > PROJECT_VERSION:
            raise UsageError(f"{str(file)!r} is of version {version}, made by a newer segvoc; update segvoc")
        words = project.entries("words", "word")
        names = {word.whole("id"): word.text("name") for word in words if not word.flag("removed")}
        background = project.entry("options").content.get("background") if "options" in project else None
        images_folder = folder / (project.text("images") if "images" in project else "images")
    if not names:
        raise UsageError(f"the project {str(folder)!r} has no words; add some: segvoc project words")
    table = LabelTable.of(names, unlabeled=[word.whole("id") for word in words])
    # pixels of a word that was merged into another one may still have its id
    merged = {word.whole("id"): word.content.get("merged_into") for word in words if word.content.get("removed")}
    table = replace(table, indices={one: table.indices.get(_last(merged, one), UNLABELED) for one in table.indices})
    images = []
    for path in sorted((folder / "work").rglob("*.zip")):
        with naming_damage(path):
            state = Entry(_json_in_zip(path, "state.json"), "the file").content
        if not state.get("done") or not isinstance(name := state.get("image"), str):
            continue
        stem = path.relative_to(folder / "work").as_posix().removesuffix(".zip")
        label_map, objects = folder / "labels" / f"{stem}.png", folder / "objects" / f"{stem}.png"
        annotation = MapFile(path=label_map, table=table, objects_path=objects if objects.exists() else None)
        image = (source.images or images_folder) / name
        images.append(AnnotatedImage(image=image, labels=label_map, stem=stem, annotation=annotation))
    if not images:
        raise UsageError(f"no image of the project {str(folder)!r} is done; mark images as done on its page (N)")
    background = background if isinstance(background, str) else None
    return ParsedDataset(names=table.names, images=images, background=background, are_shapes=False)
