"""Merges a word of a project into another one, in all images; what was interrupted goes on with `resume_merge`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from segvoc import SegvocError, UsageError
from segvoc.errors import DiskFullError
from segvoc_annotate.projects.images import TRASH, ImageFiles
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import ProjectRecord
from segvoc_annotate.projects.work_files import read_state_of, with_ids


def merge_words(project: Project, word: int, into: int, *, by: str, change: str | None = None) -> ProjectRecord:
    """Give the pixels of a word to another one, in images that are done too, and remove the word; words by id.

    `UsageError` if an id is that of no current word, or both are the same; also the errors of `Project.rewrite`.
    """
    with project.threads:
        unfinished = project.index.fact("merge") or {}
        record = resume_merge(project)
        if project.index.has(change) or (unfinished.get("word"), unfinished.get("into")) == (word, into):
            return record
        known = {one.id for one in project.record.present}
        if not {word, into} <= known or word == into:
            raise UsageError(f"the words {word} and {into} can't be merged; give the ids of two words of the project")
        with project.index.transaction():
            project.index.put_fact("merge", {"word": word, "into": into, "by": by, "change": change})
        return resume_merge(project)


def resume_merge(project: Project) -> ProjectRecord:
    """Finish the merge that was begun, if any.

    If images can't be used, the others are merged, the word stays, and the error of the first is raised.
    """
    with project.threads:
        index, record = project.index, project.record
        if (merge := index.fact("merge")) is None:
            return record
        word, into, by = (merge[name] for name in ("word", "into", "by"))
        if {word, into} <= record.ids:
            merged = partial(with_ids, ids={one: one for one in record.ids} | {word: into})
            problems = list[SegvocError]()
            images = project.images()
            for name in index.with_word(word):
                if name in images:
                    with _noting(problems):
                        project.rewrite(name, merged, by=by)
            for removed in index.removed():  # they may be restored
                work = ImageFiles.below(project.folder / TRASH / str(removed.id), removed.image).work
                with _noting(problems):
                    if work.is_file() and read_state_of(work).pixels.get(str(word)):
                        project.rewrite_removed(removed, merged, by=by)
            if problems:
                raise problems[0]
            words = tuple(replace(one, removed=True) if one.id == word else one for one in record.words)
            record = project.update(expected=record.revision, words=words, by=by, change=merge.get("change"))
        with index.transaction():
            index.put_fact("merge", None)
        return record


@contextmanager
def _noting(problems: list[SegvocError]) -> Iterator[None]:
    try:
        yield
    except DiskFullError:
        raise
    except SegvocError as error:
        problems.append(error)
