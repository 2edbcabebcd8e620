"""Projects as zip files: writing, sending and unpacking."""

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from segvoc import UsageError
from segvoc.labeling.formats.project import PROJECT_FILE
from segvoc.storage.atomic_writes import write_atomically, writing
from segvoc.storage.files import strict_json
from segvoc.storage.records import from_json, to_json
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.images import TRASH, remove
from segvoc_annotate.projects.index import INDEX_FILE, Index
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import MOST_REVISIONS, Change, now
from segvoc_annotate.zip_files import ZipStream, unpack_zip, zip_names

HISTORY_FILE = "history.jsonl"
"""The changes of a project in its zip, one per line."""

BACKUP_MARK = ".segvoc/backup"
"""An empty file, whose time is that of the last backup."""

PARTS = ("images", "labels", "objects", "taught", TRASH, "work")
"""Folders in a project's zip, besides `project.json` and `history.jsonl`."""


def archived(project: ProjectFolder, *, has_trash: bool = True) -> Iterator[bytes]:
    """Stream the zip of a project, including images outside its folder but no hidden files; raises `InputError`.

    `has_trash` is whether it has removed images, too.

    Concurrent changes are safe: each file is whole, and opening the zip rebuilds everything from the work files.
    """
    stream = ZipStream()
    record = to_json(project.record) | {"images": "images"}
    yield from stream.add_text(PROJECT_FILE, [strict_json(record, indent=1)])
    history = (f"{strict_json(to_json(change))}\n" for change in project.index.history())
    yield from stream.add_text(HISTORY_FILE, history)
    for name, path in _files(project, has_trash):
        yield from stream.add(name, path)
    yield from stream.end()


def note_backup(folder: Path) -> None:
    """Note that a project's folder was backed up just now; `OutputError` if it can't be written."""
    mark = folder / BACKUP_MARK
    with writing(mark):
        mark.parent.mkdir(exist_ok=True)
        mark.touch()


def write_backup(project: ProjectFolder, path: Path) -> list[str]:
    """Write the zip of a project atomically; returns a line for each image that isn't in it, since it can't be used.

    `UsageError` if the image folder is missing, `OutputError` if the zip can't be written.
    """
    if not project.images_folder.is_dir():
        raise UsageError(project.listing()[1][0])

    def write(file: BinaryIO) -> None:
        for piece in archived(project):
            file.write(piece)

    write_atomically(path, write)
    unusable = (project.index.image(name) for name in project.index.names(unusable=True))
    return [row.problem for row in unusable if row is not None and row.state is None and row.problem is not None]


def backup_path(project: ProjectFolder, folder: Path) -> Path:
    """The path of a backup that is made now, in a folder of several: `NAME.ID.TIME.zip`."""
    return folder / f"{project.folder.name}.{project.id}.{re.sub('[-:]', '', now())}.zip"


def delete_backups(project: ProjectFolder, made: Path, keep: int) -> list[Path]:
    """Delete a project's backups beside the one that was just `made` but the newest, so that `keep` are left.

    Files that aren't named by `backup_path`, or are of another project, stay. Returns what was deleted.
    """
    named = re.compile(rf".+\.{re.escape(project.id)}\.([0-9]{{8}}T[0-9]{{6}}Z)\.zip")
    times = {path: named.fullmatch(path.name) for path in made.parent.iterdir() if path != made and path.is_file()}
    others = sorted((time[1], path) for path, time in times.items() if time is not None)
    deleted = [path for _, path in others[: max(0, len(others) + 1 - keep)]]
    for path in deleted:
        remove(path)
    return deleted


def last_backup(folder: Path) -> float:
    """When the project in a folder was backed up last [s since 1970]; 0: never."""
    try:
        return (folder / BACKUP_MARK).stat().st_mtime
    except OSError:
        return 0.0


def _files(project: ProjectFolder, has_trash: bool) -> Iterator[tuple[str, Path]]:
    """The other files of a project, with their names in the zip."""
    yield from ((f"images/{image.name}", image.path) for image in project.images().values())
    for removed in project.index.removed() if has_trash else ():
        yield f"{TRASH}/{removed.id}/images/{removed.image}", project.removed_path(removed)
    for part in (part for part in PARTS[1:] if has_trash or part != TRASH):
        for parent, folders, files in os.walk(project.folder / part):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(parent).relative_to(project.folder)
            is_image = below.parts[:1] == (TRASH,) and below.parts[2:3] == ("images",)
            for name in sorted(files) if not is_image else ():
                if not name.startswith("."):
                    yield (below / name).as_posix(), Path(parent, name)


def project_in(names: list[str]) -> str | None:
    """Find the folder with `project.json` among a zip's files: "" or a top-level folder; None if missing."""
    found = [name[: -len(PROJECT_FILE)] for name in names if PurePosixPath(name).name == PROJECT_FILE]
    tops = sorted(found, key=len)
    return tops[0] if tops and tops[0].count("/") <= 1 else None


def open_project(path: str | os.PathLike[str]) -> Project:
    """Open a project folder, or a zip, which is unpacked beside it; see `Project` and `unpack_project`."""
    return unpack_project(path) if Path(path).suffix.lower() == ".zip" and Path(path).is_file() else Project(path)


def unpack_project(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Project:
    """Unpack an untrusted zip of a project into a new folder (None: beside the zip, with its name), and open it.

    It has the id of the project that was zipped, unless that is beside the new folder.

    `UsageError` if the folder exists, or the file isn't a project's zip or is unsafe (`unpack_zip`); `OutputError` if
    the folder can't be written.
    """
    name, target = os.fspath(path), Path(path).with_suffix("") if folder is None else Path(folder)
    if os.path.lexists(target):
        raise UsageError(f"{str(target)!r} already exists; open it, or move it away before unpacking {name!r}")
    names = zip_names(path)
    if (top := project_in(names)) is None:
        raise UsageError(f"{name!r} has no {PROJECT_FILE}; give the zip of a project")
    made = target.parent / f".segvoc-{secrets.token_hex(8)}.unpacking"
    try:
        unpack_zip(path, made, _places(top))
        Index.create(made / INDEX_FILE, _history(made / HISTORY_FILE))
        remove(made / HISTORY_FILE)
        with Project(made) as project:
            if project.record.images != "images":
                raise UsageError(f"{name!r} references images outside the zip; correct its {PROJECT_FILE}")
            for other in target.absolute().parent.glob("*/"):
                project.differ_from(other)
        with writing(target):
            made.replace(target)
    except UsageError as error:
        raise UsageError(str(error).replace(f"{made}/", f"{name}: ")) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Project(target)


def _history(path: Path) -> Iterator[Change]:
    """The changes in a history, numbered anew; damaged lines are skipped."""
    number = 0
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            with suppress(UsageError, ValueError, RecursionError):
                change = from_json(Change, json.loads(line))
                strict_json(to_json(change), readable=True).encode()  # `ValueError` if SQLite can't hold a text
                if 0 <= change.revision < MOST_REVISIONS:
                    number += 1
                    yield replace(change, seq=number)


def _places(top: str) -> Callable[[str], str | None]:
    """Maps a zip's file names to their paths in the project; None for others."""

    def place(name: str) -> str | None:
        if not name.startswith(top):
            return None
        own = name[len(top) :].replace("\\", "/")
        first, *rest = own.split("/")
        if any(piece.startswith(".") and piece != ".." for piece in (first, *rest)):
            return None
        is_known = first in (*PARTS, "..", "") if rest else own in (PROJECT_FILE, HISTORY_FILE)
        return own if is_known else None

    return place
