"""Pixels of words that were merged follow, image by image: what is read and written meanwhile means the same."""

from collections.abc import Callable
from functools import partial

from segvoc import SegvocError
from segvoc.errors import DiskFullError
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.record_changes import SOMEONE
from segvoc_annotate.projects.work_files import with_merged


def follow_merges(project: Project, stopped: Callable[[], bool] = lambda: False) -> list[str]:
    """Give the pixels of merged words to those that they went into, in images that are done, too.

    Ends early if `stopped`. Returns a line per image that can't be used, whose pixels follow another time; raises
    `DiskFullError`.
    """
    problems = list[str]()
    record, images = project.record, project.images()
    for name in dict.fromkeys(name for word in record.merged for name in project.index.with_word(word)):
        if stopped():
            break
        if name in images:
            try:
                by = project.state(images[name]).by or SOMEONE
                project.rewrite(name, partial(with_merged, record=record), by=by)
            except DiskFullError:
                raise
            except SegvocError as error:
                problems.append(str(error))
    return problems
