"""Projects of segvoc-annotate: folders with `project.json` and a label map an image."""

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segvoc.errors import UsageError, one_line
from segvoc.imaging.label_maps import UNLABELED, LabelTable
from segvoc.labeling.formats.base import DatasetFormat
from segvoc.labeling.formats.map_folders import MapFile
from segvoc.labeling.formats.parsed import AnnotatedImage, DatasetSource, ParsedDataset
from segvoc.labeling.formats.untrusted_files import Entry, json_content, naming_damage
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
    return _is_project_file(content)


def _is_project_file(content: object) -> bool:
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
        label_map = folder / "labels" / f"{stem}.png"
        annotation = MapFile(path=label_map, table=table, objects_path=folder / "objects" / f"{stem}.png")
        image = (source.images or images_folder) / name
        images.append(AnnotatedImage(image=image, labels=label_map, stem=stem, annotation=annotation))
    if not images:
        raise UsageError(f"no image of the project {str(folder)!r} is done; mark images as done on its page (N)")
    background = background if isinstance(background, str) else None
    return ParsedDataset(names=table.names, images=images, background=background, are_shapes=False)


PROJECT = DatasetFormat(name="project", read=read_project, marks=is_project, rank=1, is_json=_is_project_file)
