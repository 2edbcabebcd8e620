"""Projects of segvoc-annotate: the images that are done, with the project's words.

Only the files that docs/reference/files.md describes are read: `project.json`, `states/a.json`, `labels/a.png` and
`objects/a.png`.
"""

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, checked_size
from segvoc.data.datasets.fields import DatasetSource, Entry, json_content, naming_damage
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import label_table, read_label_map
from segvoc.storage.json_files import read_json

PROJECT_FILE = "project.json"
"""The file by which a folder is known as a project."""

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


@dataclass(frozen=True, kw_only=True)
class ProjectLabels:
    """The labels of an image in a project, as ids of words."""

    map: Path
    object_map: Path
    """Missing where no objects were made."""
    labels: Mapping[int, int]
    """The label of each id; ids without one are unlabeled."""

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        ids = read_label_map(self.map)
        checked_size(size, ids.shape)
        return label_table(self.labels)[ids]

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        if not self.object_map.exists():
            return None
        objects = read_label_map(self.object_map)
        checked_size(size, objects.shape)
        return objects


def read_project(source: DatasetSource) -> FoundDataset:
    """Read the images of a project that are done."""
    folder, file = source.folder, source.folder / PROJECT_FILE
    if not file.is_file():
        raise UsageError(f"{str(folder)!r} has no {PROJECT_FILE}; give the folder of a project")
    with naming_damage(file):
        project = Entry(json_content(file), "the file")
        if project.content.get("format") != PROJECT_FORMAT:
            raise UsageError(f"{str(file)!r} is no project of segvoc; give the folder of one")
        if (version := project.whole("version")) > PROJECT_VERSION:
            raise UsageError(f"{str(file)!r} is of version {version}, made by a newer segvoc; update segvoc")
        words = [Entry(word, "a word") for word in project.items("words")]
        names = {word.whole("id"): word.text("name") for word in words if not word.content.get("removed")}
        background = project.entry("options").content.get("background") if "options" in project else None
        images_folder = folder / (project.text("images") if "images" in project else "images")
    if not names:
        raise UsageError(f"the project {str(folder)!r} has no words; add some: segvoc project words")
    labels = {number: index for index, number in enumerate(names)}
    images = []
    for path in sorted((folder / "states").rglob("*.json")):
        with naming_damage(path):
            state = Entry(json_content(path), "the file").content
        if not state.get("done") or not isinstance(name := state.get("image"), str):
            continue
        stem = os.path.splitext(name)[0]
        annotation = ProjectLabels(
            map=folder / "labels" / f"{stem}.png", object_map=folder / "objects" / f"{stem}.png", labels=labels
        )
        image = (source.images or images_folder) / name
        images.append(AnnotatedImage(image=image, labels=annotation.map, stem=stem, annotation=annotation))
    if not images:
        raise UsageError(f"no image of the project {str(folder)!r} is done; mark images as done on its page (N)")
    return FoundDataset(
        names=list(names.values()),
        images=images,
        background=background if background in names.values() else None,
        has_outside=False,
    )
