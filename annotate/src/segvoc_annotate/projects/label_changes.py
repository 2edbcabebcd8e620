"""Changes of images' labels: who may replace what, and the order in which files are written."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from segvoc import UsageError
from segvoc.storage.atomic_writes import write_bytes
from segvoc_annotate.projects.changed_rows import received_rows
from segvoc_annotate.projects.images import ImageFiles, move, remove, stem_of
from segvoc_annotate.projects.index import IndexedImage, stamp_of
from segvoc_annotate.projects.record_changes import ANOTHER_PROGRAM, SOMEONE, RecordChanges
from segvoc_annotate.projects.records import (
    ChangeKind,
    ImageDoneError,
    ImageState,
    NotInProjectError,
    Review,
    Verdict,
    changed_meanwhile,
    next_number,
    now,
)
from segvoc_annotate.projects.work_files import (
    DRAFT_PLANES,
    LABELS_ENTRY,
    OBJECTS_ENTRY,
    LabelWork,
    PackedWork,
    packed_work,
    plane_of,
    read_packed,
    read_work,
    received,
)

EDITED = ".segvoc/edited"
"""Where label maps go that another program changed, when an image changes."""


class LabelChanges(RecordChanges):
    """A project whose labels can be changed; see `Project`."""

    def receive(
        self,
        name: str,
        file: BinaryIO | io.BytesIO,
        *,
        expected: int,
        by: str = SOMEONE,
        done: bool | None = None,
        change: str | None = None,
        keep_draft: bool = False,
        rows: tuple[int, int] | None = None,
    ) -> ImageState:
        """Store an untrusted work file, a zip sent by a client; returns the new state of the image.

        `done` is whether the image is done now; None: it isn't, and if it was, that is an `ImageDoneError`. With
        `keep_draft`, what the model found isn't sent and stays; with `rows`, first and end, neither are all other rows
        of labels and corrections. `UsageError` if the work file can't be used.
        """
        image = self.image(name)
        state, path = self.state(image), self.files(image).work
        if not state.revision and (keep_draft or rows is not None):
            raise UsageError(f"{image.name!r} has no labels or draft of which some could stay; send all of them")

        work = None
        if rows is None:
            draft = read_packed(path, planes=DRAFT_PLANES).planes if keep_draft else None
            work = received(file, image.name, (state.height, state.width), self.record, draft)

        def made(current: ImageState) -> PackedWork:
            if rows is not None:
                return received_rows(file, replace(read_packed(path), state=current), rows, self.record)
            assert work is not None
            return work

        return self._write(image.name, made, expected, by, done, change, has_draft=not (keep_draft or rows))

    def write(
        self, name: str, work: LabelWork, *, expected: int, by: str = SOMEONE, has_draft: bool = False
    ) -> ImageState:
        """Write an image's pixel data; `has_draft`: it is what a model found. See `receive`."""
        state, record = self.state(self.image(name)), self.record
        if work.labels.shape != (state.height, state.width):
            height, width = work.labels.shape
            raise UsageError(
                f"the labels of {name!r} have {width} x {height} pixels, the image has {state.width} x {state.height}"
            )
        packed = packed_work(work, name, record.colors)
        return self._write(name, lambda _: packed, expected, by, has_draft=has_draft)

    def rewrite(self, name: str, change: Callable[[LabelWork], LabelWork], *, by: str) -> ImageState:
        """Change an image's pixel data, also if it is done."""
        path = ImageFiles.below(self.folder, name).work
        while True:
            before, work = read_work(path)
            made = packed_work(change(work), name, self.record.colors)  # others may write meanwhile
            with self.threads:
                current = self._refresh(self.image(name).name)
                if current.revision == before.revision:
                    return self._store(made, current, _after(current, made.state, by, done=current.done))

    def _write(
        self,
        name: str,
        make: Callable[[ImageState], PackedWork],
        expected: int,
        by: str,
        done: bool | None = None,
        change: str | None = None,
        *,
        has_draft: bool = False,
    ) -> ImageState:
        with self.threads:
            current, is_made = self._begun(name, expected, change)
            if is_made:
                return current
            if current.done and done is None:
                raise ImageDoneError(f"{current.image!r} is done; reopen it before changing it", current)
            work = make(current)
            state = replace(_after(current, work.state, by, done=bool(done)), change=change)
            if done and current.review is not None and current.done and self._has_labels(work):
                state = replace(state, review=current.review)
            return self._store(work, current, state, has_draft=has_draft)

    def _begun(self, name: str, expected: int, change: str | None) -> tuple[ImageState, bool]:
        """The state of an image, and whether the change was made already; else the caller's revision is current."""
        current = self._refresh(self.image(name).name)
        is_made = self.index.has(change, current.id)
        if not is_made and current.revision != expected:
            raise changed_meanwhile(repr(current.image), current)
        return current, is_made

    def _has_labels(self, work: PackedWork) -> bool:
        """Whether an image has these labels and objects already."""
        path, entries = ImageFiles.below(self.folder, work.state.image).work, (LABELS_ENTRY, OBJECTS_ENTRY)
        stored, size = read_packed(path, planes=entries).planes, (work.state.height, work.state.width)

        return all(
            (entry in stored) == (entry in work.planes)
            and (
                entry not in stored
                or np.array_equal(plane_of(entry, stored[entry], size), plane_of(entry, work.planes[entry], size))
            )
            for entry in entries
        )

    def set_done(
        self,
        name: str,
        done: bool,
        *,
        expected: int,
        by: str = SOMEONE,
        review: Review | None = None,
        change: str | None = None,
    ) -> ImageState:
        """Mark an image as done, which locks its labels, or reopen it; `review` is what a reviewer said of it.

        `NotInProjectError` also if the image has no labels.
        """
        with self.threads:
            current, is_made = self._begun(name, expected, change)
            if not is_made and not current.revision:
                raise NotInProjectError(f"{current.image!r} has no labels to mark as done; label it first")
            if is_made or (current.done == done and review is None):
                return current
            number = next_number(current.revision)
            state = replace(current, done=done, review=review, revision=number, by=by, at=now(), change=change)
            work = read_packed(ImageFiles.below(self.folder, current.image).work)
            return self._store(work, current, state, has_new_labels=False)

    def review(
        self, name: str, verdict: Verdict, comment: str, *, expected: int, by: str = SOMEONE, change: str | None = None
    ) -> ImageState:
        """Accept an image that is done, or send it back, which reopens it; see `set_done`.

        `UsageError` if the image isn't done, or `by` is none of the project's reviewers.
        """
        with self.threads:
            if (reviewers := self.record.options.reviewers) and by not in reviewers:
                raise UsageError(f"{by!r} doesn't review this project; {', '.join(reviewers)} may")
            current, is_made = self._begun(name, expected, change)
            if not is_made and not current.done:
                raise UsageError(f"{current.image!r} isn't done; only images that are done are reviewed")
            review = Review(verdict=verdict, comment=comment.strip(), by=by, at=now())
            is_done = verdict == "accepted"
            return self.set_done(name, is_done, expected=expected, by=by, review=review, change=change)

    def _store(
        self,
        work: PackedWork,
        before: ImageState,
        state: ImageState,
        *,
        has_new_labels: bool = True,
        has_draft: bool = False,
    ) -> ImageState:
        """Write the files of an image, then its row; `has_draft` is whether what the model found was sent."""
        files, name = ImageFiles.below(self.folder, state.image), state.image
        write_bytes(files.work, work.content(state))
        if has_new_labels:
            row = self.index.image(name)
            if row is not None and files.labels.is_file() and stamp_of(files.labels) != row.stamps.labels:
                move(files.labels, self.folder / EDITED / f"{stem_of(name)}.png")
            self._derive(files, work)
        with self.index.transaction():
            self.index.put(name, self._stamps(name), state)
            self._log(before, state, has_draft=has_draft)
        return state

    def _derive(self, files: ImageFiles, work: PackedWork) -> None:
        """Write the files that follow from a work file."""
        write_bytes(files.labels, work.planes[LABELS_ENTRY])
        if OBJECTS_ENTRY in work.planes:
            write_bytes(files.objects, work.planes[OBJECTS_ENTRY])
        else:
            remove(files.objects)

    def _log(self, before: ImageState, state: ImageState, *, has_draft: bool = False) -> None:
        what: ChangeKind = "labels"
        if state.review is not None and state.review != before.review:
            what = state.review.verdict
        elif state.done != before.done:
            what = "done" if state.done else "reopened"
        elif before.review is not None and before.review.verdict == "accepted" and state.review is None:
            what = "no longer accepted"
        elif has_draft and not state.done and state.corrected == before.corrected:
            what = "draft"
        change = None if self.index.has(state.change, state.id) else state.change
        self.index.log(what, by=state.by or SOMEONE, image=state.image, revision=state.revision, change=change)

    def _current(self, name: str, files: ImageFiles, size: tuple[int, int], row: IndexedImage | None) -> ImageState:
        """Also finishes an interrupted change."""
        state, has_map = super()._current(name, files, size, row), files.labels.is_file()
        before = None if row is None else row.state
        if before is not None and 0 < state.revision < before.revision:
            # an older file was put back
            state = replace(state, revision=next_number(before.revision), by=ANOTHER_PROGRAM, at=now(), change=None)
            write_bytes(files.work, read_packed(files.work).content(state))
        if not state.revision:
            return state
        # in a project without its index, our label maps are written after the work files
        is_older = before is None and has_map and files.labels.stat().st_mtime_ns < files.work.stat().st_mtime_ns
        is_interrupted = before not in (None, state)
        if is_interrupted or is_older or not has_map:
            self._derive(files, read_packed(files.work, planes=(LABELS_ENTRY, OBJECTS_ENTRY)))
            if before is not None and is_interrupted:
                self._log(before, state)
        return state


def _after(current: ImageState, made: ImageState, by: str, *, done: bool) -> ImageState:
    """The state of new labels, after the current one; what was said of former labels only stays while it is open."""
    review = None if done or current.done else current.review
    kept = {name: getattr(current, name) for name in ("image", "id", "copy_of", "person", "frame")}
    return replace(made, **kept, done=done, review=review, revision=next_number(current.revision), by=by, at=now())
