"""Merges a word of a project into another one, in all images, and takes that back.

The images' work files from before the last merge are kept until the next one. A merge that was interrupted goes on with
`resume_merge`.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from segvoc import UsageError
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import read_json, write_json
from segvoc_annotate.projects.images import ImageFiles, stem_of
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import ProjectRecord
from segvoc_annotate.projects.work_files import FIRST_WORD, LabelWork, read_state_of, read_work

FOLDER = ".segvoc/merged"
"""The work files from before the merge."""

ABOUT = ".segvoc/merge.json"
"""Which words were merged or are being merged, or separated again ("undo")."""


def merge_words(project: Project, word: int, into: int, *, by: str) -> ProjectRecord:
    """Give the pixels of a word to another one, in images that are done too, and remove the word; words by id.

    `UsageError` if an id is that of no current word, or both are the same; also the errors of `Project.rewrite`.
    """
    with project.threads:
        resume_merge(project)
        known = {one.id for one in project.record.present}
        if not {word, into} <= known or word == into:
            raise UsageError(f"the words {word} and {into} can't be merged; give the ids of two words of the project")
        shutil.rmtree(project.folder / FOLDER, ignore_errors=True)
        write_json(project.folder / ABOUT, {"word": word, "into": into, "by": by, "undo": False, "finished": False})
        return resume_merge(project)


def take_back_merge(project: Project, words: Sequence[int] = (), *, by: str) -> ProjectRecord:
    """Take the last merge back: pixels that still have the other word get the merged one again.

    `UsageError` if there was none, or it merged other words than the two ids, if given.
    """
    with project.threads:
        resume_merge(project)
        about = _about(project)
        if not about or (words and [about["word"], about["into"]] != list(words)):
            raise UsageError("this merge of words can't be taken back; add the word again instead")
        write_json(project.folder / ABOUT, {**about, "by": by, "undo": True, "finished": False})
        return resume_merge(project)


def resume_merge(project: Project) -> ProjectRecord:
    """Finish what was begun, if anything."""
    with project.threads:
        about, record = _about(project), project.record
        if not about or about["finished"]:
            return record
        word, into, by, undo = (about[name] for name in ("word", "into", "by", "undo"))
        places = [(image.name, project.files(image)) for image in project.images().values()]
        places += [(name, project.trash.files(name)) for name in project.removed()]  # they may be restored
        for name, files in (place for place in places if place[1].work.is_file()):
            kept = ImageFiles.below(project.folder / FOLDER, stem_of(name)).work
            if undo and kept.is_file():
                exchanged = _exchanged(read_work(files.work)[1], into, word, read_work(kept)[1])
                project.rewrite(name, files, exchanged, by=by)
            elif not undo and read_state_of(files.work).pixels.get(str(word)):
                with writing(kept):
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(files.work, kept)
                project.rewrite(name, files, _exchanged(read_work(files.work)[1], word, into), by=by)
        words = tuple(replace(one, removed=not undo) if one.id == word else one for one in record.words)
        record = project.update(expected=record.revision, words=words, by=by)
        if undo:
            (project.folder / ABOUT).unlink()
        else:
            write_json(project.folder / ABOUT, {**about, "finished": True})
        return record


def _about(project: Project) -> dict[str, Any] | None:
    path = project.folder / ABOUT
    return read_json(path) if path.is_file() else None


def _exchanged(work: LabelWork, old: int, new: int, before: LabelWork | None = None) -> LabelWork:
    """Give the pixels of a word to another one; with `before`, only those that had the other one there."""

    def plane(name: str, offset: int) -> np.ndarray | None:
        values, earlier = getattr(work, name), None if before is None else getattr(before, name)
        if values is None or (before is not None and earlier is None):
            return values
        is_changed = values == old + offset
        if earlier is not None:
            is_changed &= earlier == new + offset
        return np.where(is_changed, np.uint16(new + offset), values)

    offsets = {"labels": 0, "draft": 0, "corrections": FIRST_WORD}
    return replace(work, **{name: plane(name, offset) for name, offset in offsets.items()})  # pyright: ignore[reportArgumentType]
