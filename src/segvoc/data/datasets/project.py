"""Projects of segvoc-annotate: the finished images, with the project's words.

Only the files that docs/reference/files.md describes are read: `project.json`, `states/a.json`, `labels/a.png` and
`objects/a.png`.
"""

import os
from pathlib import Path

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset
from segvoc.data.datasets.fields import DatasetSource, Entry, json_content, naming_damage
from segvoc.data.datasets.maps import LabelTable, MapFile
from segvoc.errors import UsageError
from segvoc.imaging.label_maps import UNLABELED, UNLABELED_8_BIT
from segvoc.storage.files import read_json

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


def read_project(source: DatasetSource) -> FoundDataset:
    """Read the finished images of a project."""
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
        names = {word.whole("id"): word.text("name") for word in words if not word.content.get("removed")}
        background = project.entry("options").content.get("background") if "options" in project else None
        images_folder = folder / (project.text("images") if "images" in project else "images")
    if not names:
        raise UsageError(f"the project {str(folder)!r} has no words; add some: segvoc project words")
    labels = dict.fromkeys((*(word.whole("id") for word in words), UNLABELED_8_BIT, UNLABELED), UNLABELED)
    labels |= {number: index for index, number in enumerate(names)}
    table = LabelTable(names=tuple(names.values()), indices=labels)
    images = []
    for path in sorted((folder / "states").rglob("*.json")):
        with naming_damage(path):
            state = Entry(json_content(path), "the file").content
        if not state.get("done") or not isinstance(name := state.get("image"), str):
            continue
        stem = os.path.splitext(name)[0]
        label_map, objects = folder / "labels" / f"{stem}.png", folder / "objects" / f"{stem}.png"
        annotation = MapFile(path=label_map, table=table, objects_path=objects if objects.exists() else None)
        image = (source.images or images_folder) / name
        images.append(AnnotatedImage(image=image, labels=label_map, stem=stem, annotation=annotation))
    if not images:
        raise UsageError(f"no image of the project {str(folder)!r} is done; mark images as done on its page (N)")
    background = background if isinstance(background, str) else None
    return FoundDataset(names=table.names, images=images, background=background, has_outside=False)
