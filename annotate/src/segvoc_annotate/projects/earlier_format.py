"""Adopts projects of the earlier format once: without an index, with states/, history.jsonl, and a trash by stems.

The earlier files are kept in `.segvoc/before_index/`. Histories in the zips of projects come in the same way.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from segvoc import UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import read_json, strict_json
from segvoc.storage.records import from_json, to_json
from segvoc_annotate.projects.images import TRASH, ImageFiles, checked_name, move
from segvoc_annotate.projects.index import INDEX_FILE, Index
from segvoc_annotate.projects.records import MOST_REVISIONS, Change

HISTORY_FILE = "history.jsonl"
"""A change per line."""

_ADOPTING, _ADOPTED = ".segvoc/adopting", ".segvoc/before_index"
_TRASH_PARTS = ("images", "labels", "objects", "states", "work")
_MERGE_FILE = ".segvoc/merge.json"


def set_aside_earlier(folder: Path) -> bool:
    """Set the earlier format's files aside in a project without an index; whether there were any."""
    if (folder / INDEX_FILE).exists():
        return False
    earlier = [HISTORY_FILE, "states", _MERGE_FILE, ".segvoc/merged"]
    if any((folder / TRASH / part).exists() for part in (*_TRASH_PARTS, "removed.json")):
        earlier.append(TRASH)
    for name in earlier:
        move(folder / name, folder / _ADOPTING / Path(name).name)
    return (folder / _ADOPTING).is_dir()


def read_history(folder: Path) -> Iterator[Change]:
    """The changes in a history that was set aside; damaged lines are skipped."""
    with suppress(FileNotFoundError), (folder / _ADOPTING / HISTORY_FILE).open("rb") as file:
        for line in file:
            with suppress(UsageError, ValueError, RecursionError):
                change = from_json(Change, json.loads(line))
                strict_json(to_json(change), readable=True).encode()  # `ValueError` if SQLite can't hold a text
                if 0 < change.seq < MOST_REVISIONS and 0 <= change.revision < MOST_REVISIONS:
                    yield change


def adopt_earlier(folder: Path, index: Index) -> None:
    """Finish the adoption: the trash, and a merge of words that was interrupted."""
    source = folder / _ADOPTING
    if not source.is_dir():
        return
    for number, name in enumerate(_removed(source / TRASH), 1):
        target = folder / TRASH / str(number)
        files = zip(ImageFiles.below(source / TRASH, name), ImageFiles.below(target, name), strict=True)
        for old, new in (*files, (source / TRASH / "images" / name, target / "images" / name)):
            if old.is_file() and not new.exists():
                with writing(new):
                    new.parent.mkdir(parents=True, exist_ok=True)
                    _link(old, new)
        index.put_removed(name, None, number)
    merge = _json(source / Path(_MERGE_FILE).name)
    if merge.get("finished") is False and all(type(merge.get(name)) is int for name in ("word", "into")):
        index.put_fact("merge", {"word": merge["word"], "into": merge["into"], "by": str(merge.get("by"))})
    place, number = folder / _ADOPTED, 1
    while place.exists():
        number += 1
        place = folder / f"{_ADOPTED}_{number}"
    move(source, place)


def _removed(trash: Path) -> list[str]:
    """The images in an earlier trash, or outside the project, whose names are safe."""
    inside = [path.relative_to(trash / "images").as_posix() for path in (trash / "images").rglob("*") if path.is_file()]
    listed = _json(trash / "removed.json").get("images")
    names = []
    for name in [*inside, *(listed if isinstance(listed, list) else [])]:
        with suppress(UsageError):
            names.append(checked_name(str(name)))
    return sorted(set(names))


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = read_json(path)
        return content if isinstance(content, dict) else {}
    return {}


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # a disk without links
        shutil.copy2(old, new)
