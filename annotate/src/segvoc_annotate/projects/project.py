"""Writable projects, with durable and atomic changes."""

import io
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from segvoc import InputError, UsageError
from segvoc.data.datasets.maps import PROJECT_FILE, is_project
from segvoc.imaging.reading import decode_image, image_size
from segvoc.storage.atomic_writes import write_bytes, writing
from segvoc.storage.files import write_json
from segvoc.storage.records import to_json
from segvoc_annotate.projects.changed_rows import received_rows
from segvoc_annotate.projects.folder import ProjectFolder, has_images, no_project
from segvoc_annotate.projects.images import CACHES, TRASH, ImageFiles, checked_name, clash, move, remove, stem_of
from segvoc_annotate.projects.index import IndexedImage, RemovedImage, stamp_of
from segvoc_annotate.projects.records import (
    ChangeKind,
    ImageDoneError,
    ImageState,
    NotInProjectError,
    ProjectOptions,
    ProjectRecord,
    ProjectWord,
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
    read_state_of,
    read_work,
    received,
)
from segvoc_annotate.projects.writer import leave_writer, lock_project, use_writer
from segvoc_annotate.settings import MAX_EDITED_PIXELS

EDITED = ".segvoc/edited"
"""Where label maps go that another program changed, when an image changes."""

SOMEONE = "someone"
"""Default author of a change."""

ANOTHER_PROGRAM = "another program"
"""Author of changes made outside segvoc."""


class Project(ProjectFolder, AbstractContextManager["Project"]):
    """A project opened for writing, exclusively by this process until it is closed or a `with` block ends.

    A change writes an image's work file, which has its state, then the label map, then the row in the index: after a
    crash in between, the next process finds a work file that is newer than its row, and does the rest.

    `by` is who makes a change, `expected` the revision that the caller has seen (another one is a `ConflictError`; 0:
    none), and `change` a unique id: a change that was made before isn't made again. Changes raise `OutputError` if a
    file can't be written, and those of an image `NotInProjectError` if there is no such image. Opening a project raises
    the errors of `ProjectFolder`, and `UsageError` if another process writes it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder)
        self._writer = use_writer(self.folder, self)
        self.index, self.threads = self._writer.index, self._writer.threads
        with self.threads:
            self._find_trash()
            self._note_record()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the project, so that other processes can write it unless this process has it open elsewhere."""
        leave_writer(self.folder, self)

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        words: Iterable[str] = (),
        images: str | os.PathLike[str] | None = None,
        options: ProjectOptions | None = None,
    ) -> "Project":
        """Create a project in a folder, which may only contain `images/`; its name is the folder's by default.

        The images of an external folder `images` stay in place; None: images are copied into the project.
        `UsageError` if the folder isn't empty, or a value is invalid.
        """
        path = Path(os.path.abspath(folder))
        if path.is_dir() and (other := next((one for one in _visible(path) if one != "images"), None)):
            if has_images(path):
                raise UsageError(no_project(Path(folder)))
            raise UsageError(f"{str(folder)!r} isn't empty (it has {other!r}); give a new folder for the project")
        if images is not None and not Path(images).is_dir():
            raise UsageError(f"the folder {os.fspath(images)!r} does not exist; check the path")
        record = ProjectRecord(
            id=secrets.token_hex(8),
            name=path.name if name is None else name,
            images="images" if images is None else os.path.abspath(images),
            options=options or ProjectOptions(),
        ).with_words(words)
        with lock_project(path):
            if is_project(path):
                raise UsageError(f"{str(folder)!r} is a project already; open it")
            if images is None:
                with writing(path / "images"):
                    (path / "images").mkdir(exist_ok=True)
            write_json(path / PROJECT_FILE, to_json(record))
            return cls(path)

    def recover(self) -> list[str]:
        """Finish interrupted changes.

        Returns a line per image with damaged files or with a label map that another program changed, and about what
        couldn't be rebuilt.
        """
        with self.threads:
            for removed in self.index.removed():
                if removed.moving == "out":
                    self._to_trash(removed)
                elif removed.moving == "back":
                    with suppress(InputError, UsageError):
                        self._from_trash(removed, SOMEONE)
            adding = self.index.fact("adding")
            if adding is not None and (self.images_folder / adding["name"]).is_file():
                with suppress(InputError, UsageError):
                    self._added(**adding)
            self._seen = {}
            self._look()
            notices, self._writer.notices = self._writer.notices, []
            return [*notices, *self.listing()[1]]

    def _note_record(self) -> None:
        """Log a change of `project.json` that the history doesn't have."""
        known, record = self.index.fact("record"), self.record
        with self.index.transaction():
            self.index.put_fact("record", record.revision)
            if known not in (None, record.revision):
                self.index.log("words", by=ANOTHER_PROGRAM, revision=record.revision)

    # ---- labels

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
        name, state, draft = image.name, self.state(image), None
        if not state.revision and (keep_draft or rows is not None):
            raise UsageError(f"{name!r} has no labels or draft of which some could stay; send all of them")
        if rows is not None:
            return self._receive_rows(name, file, rows, expected, by, done, change)
        if keep_draft:
            with self.threads:
                draft = read_packed(self.files(image).work, planes=DRAFT_PLANES).planes
        work = received(file, name, (state.height, state.width), self.record, draft)
        return self._write(name, work, expected, by, done, change)

    def _receive_rows(
        self,
        name: str,
        file: BinaryIO | io.BytesIO,
        rows: tuple[int, int],
        expected: int,
        by: str,
        done: bool | None,
        change: str | None,
    ) -> ImageState:
        with self.threads:
            current = self._refresh(name)
            if self.index.has(change, name):
                return current
            current = self._at_revision(name, expected)
            stored = read_packed(ImageFiles.below(self.folder, name).work)
            work = received_rows(file, replace(stored, state=current), rows, self.record)
            return self._write(name, work, expected, by, done, change)

    def write(self, name: str, work: LabelWork, *, expected: int, by: str = SOMEONE) -> ImageState:
        """Write an image's pixel data; see `receive`."""
        state, record = self.state(self.image(name)), self.record
        if work.labels.shape != (state.height, state.width):
            height, width = work.labels.shape
            raise UsageError(
                f"the labels of {name!r} have {width} x {height} pixels, the image has {state.width} x {state.height}"
            )
        return self._write(name, packed_work(work, name, record.colors), expected, by)

    def rewrite(self, name: str, change: Callable[[LabelWork], LabelWork], *, by: str) -> ImageState:
        """Change an image's pixel data, also if it is done."""
        path = ImageFiles.below(self.folder, name).work
        while True:
            before, work = read_work(path)
            made = packed_work(change(work), name, self.record.colors)  # others may write meanwhile
            with self.threads:
                current = self._refresh(self.image(name).name)
                if current.revision == before.revision:
                    return self._store(name, made, current, _after(current, made.state, by, done=current.done))

    def _write(
        self, name: str, work: PackedWork, expected: int, by: str, done: bool | None = None, change: str | None = None
    ) -> ImageState:
        with self.threads:
            current = self._refresh(self.image(name).name)
            if self.index.has(change, name):
                return current
            current = self._at_revision(name, expected)
            if current.done and done is None:
                raise ImageDoneError(f"{name!r} is done; reopen it before changing it", current)
            state = replace(_after(current, work.state, by, done=bool(done)), change=change)
            if done and current.review is not None and current.done and self._has_labels(name, work):
                state = replace(state, review=current.review)
            return self._store(name, work, current, state)

    def _at_revision(self, name: str, expected: int) -> ImageState:
        """The state of an image, if the caller's revision is current."""
        current = self._refresh(self.image(name).name)
        if current.revision != expected:
            raise changed_meanwhile(repr(name), current)
        return current

    def _has_labels(self, name: str, work: PackedWork) -> bool:
        """Whether an image has these labels and objects already."""
        path, entries = ImageFiles.below(self.folder, name).work, (LABELS_ENTRY, OBJECTS_ENTRY)
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
            name = self.image(name).name
            if self.index.has(change, name):
                return self._refresh(name)
            current = self._at_revision(name, expected)
            if not current.revision:
                raise NotInProjectError(f"{name!r} has no labels to mark as done; label it first")
            if current.done == done and review is None:
                return current
            number = next_number(current.revision)
            state = replace(current, done=done, review=review, revision=number, by=by, at=now(), change=change)
            work = read_packed(ImageFiles.below(self.folder, name).work)
            return self._store(name, work, current, state, has_new_labels=False)

    def review(
        self, name: str, verdict: Verdict, comment: str, *, expected: int, by: str = SOMEONE, change: str | None = None
    ) -> ImageState:
        """Accept an image that is done, or send it back, which reopens it; see `set_done`.

        `UsageError` if the image isn't done, or `by` is none of the project's reviewers.
        """
        with self.threads:
            name = self.image(name).name
            if self.index.has(change, name):
                return self._refresh(name)
            if (reviewers := self.record.options.reviewers) and by not in reviewers:
                raise UsageError(f"{by!r} doesn't review this project; {', '.join(reviewers)} may")
            current = self._at_revision(name, expected)
            if not current.done:
                raise UsageError(f"{name!r} isn't done; only images that are done are reviewed")
            review = Review(verdict=verdict, comment=comment.strip(), by=by, at=now())
            is_done = verdict == "accepted"
            return self.set_done(name, is_done, expected=expected, by=by, review=review, change=change)

    def _store(
        self, name: str, work: PackedWork, before: ImageState, state: ImageState, *, has_new_labels: bool = True
    ) -> ImageState:
        """Write the files of an image, then its row."""
        files = ImageFiles.below(self.folder, name)
        write_bytes(files.work, work.content(state))
        if has_new_labels:
            row = self.index.image(name)
            if row is not None and files.labels.is_file() and stamp_of(files.labels) != row.stamps.labels:
                move(files.labels, self.folder / EDITED / f"{stem_of(name)}.png")
            self._derive(files, work)
        with self.index.transaction():
            self.index.put(name, self._stamps(name), state)
            self._log(name, before, state)
        return state

    def _derive(self, files: ImageFiles, work: PackedWork) -> None:
        """Write the files that follow from a work file."""
        write_bytes(files.labels, work.planes[LABELS_ENTRY])
        if OBJECTS_ENTRY in work.planes:
            write_bytes(files.objects, work.planes[OBJECTS_ENTRY])
        else:
            remove(files.objects)

    def _log(self, name: str, before: ImageState, state: ImageState) -> None:
        what: ChangeKind = "labels"
        if state.review is not None and state.review != before.review:
            what = state.review.verdict
        elif state.done != before.done:
            what = "done" if state.done else "reopened"
        elif before.review is not None and before.review.verdict == "accepted" and state.review is None:
            what = "no longer accepted"
        change = None if self.index.has(state.change, name) else state.change
        self.index.log(what, by=state.by or SOMEONE, image=name, revision=state.revision, change=change)

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
                self._log(name, before, state)
        return state

    # ---- the record

    def update(
        self,
        *,
        expected: int,
        name: str | None = None,
        words: tuple[ProjectWord, ...] | None = None,
        options: ProjectOptions | None = None,
        by: str = SOMEONE,
        change: str | None = None,
    ) -> ProjectRecord:
        """Change the project's name, words (all of them, including removed ones) or options; None: unchanged.

        `UsageError` if a value is invalid, or a word is missing, or one that was merged isn't as it was.
        """
        with self.threads:
            record = self.record
            self._note_record()  # an earlier change may have failed after it was written
            if self.index.has(change):
                return record
            if record.revision != expected:
                raise changed_meanwhile("the project", record)
            merged = {word.id: word.merged_into for word in record.words}
            if wrong := [word.name for word in words or () if word.merged_into != merged.get(word.id)]:
                raise UsageError(f"{wrong[0][:60]!r} was merged, or wasn't; leave its merged_into, or merge it")
            given = {"name": name, "words": words, "options": options}
            changes = {key: value for key, value in given.items() if value is not None}
            return self._update(record, by, changes, change=change)

    def merge_words(self, word: int, into: int, *, by: str = SOMEONE, change: str | None = None) -> ProjectRecord:
        """Record that the id of a word means another one from now on; pixels follow with `follow_merges`.

        `UsageError` if an id is that of no current word, or both are the same.
        """
        with self.threads:
            record = self.record
            if self.index.has(change):
                return record
            if not {word, into} <= {one.id for one in record.present} or word == into:
                raise UsageError(
                    f"the words {word} and {into} can't be merged; give the ids of two words of the project"
                )
            words = (replace(one, removed=True, merged_into=into) if one.id == word else one for one in record.words)
            return self._update(record, by, {"words": tuple(words)}, change=change)

    def add_words(self, names: Iterable[str], *, by: str = SOMEONE) -> ProjectRecord:
        """Add new words, whatever the project's revision; `UsageError` if a word can't be used."""
        with self.threads:
            record = self.record
            words = record.with_words(names).words
            return record if words == record.words else self._update(record, by, {"words": words})

    def improved(self, file: str, *, by: str) -> ProjectRecord:
        """Record a new or changed file of taught words, whatever the project's revision."""
        with self.threads:
            record = self.record
            taught = (*(other for other in record.options.taught if other != file), file)
            return self._update(record, by, {"options": replace(record.options, taught=taught)}, "improved")

    def _update(
        self,
        record: ProjectRecord,
        by: str,
        changes: dict[str, Any],
        what: ChangeKind = "words",
        change: str | None = None,
    ) -> ProjectRecord:
        changed = replace(record, **changes, revision=next_number(record.revision))
        if missing := record.ids - changed.ids:
            name = next(word.name for word in record.words if word.id in missing)
            raise UsageError(f"the word {name[:60]!r} is missing; mark removed words as removed instead")
        path = self.folder / PROJECT_FILE
        write_json(path, to_json(changed))
        self._record = stamp_of(path), changed  # two changes may have one time
        with self.index.transaction():
            self.index.put_fact("record", changed.revision)
            self.index.log(what, by=by, revision=changed.revision, change=change)
        return changed

    # ---- images

    def add(
        self,
        name: str,
        content: bytes,
        *,
        by: str = SOMEONE,
        max_pixels: int = MAX_EDITED_PIXELS,
        copy_of: str | None = None,
        person: str | None = None,
        change: str | None = None,
    ) -> ImageState:
        """Add an image file, by its path below the image folder, which may be outside the project.

        `copy_of` and `person` are those of its state. The same image in the trash is restored. `UsageError` if its name
        is invalid or taken; `InputError` if it can't be read.
        """
        name = checked_name(name)
        if not (self.is_owned or self.images_folder.is_dir()):
            raise UsageError(f"the image folder {str(self.images_folder)!r} does not exist; restore it")
        height, width = image_size(content, repr(name))
        if height * width > max_pixels:
            raise InputError(
                f"{name!r} has {height * width / 1e6:.0f} megapixels; the page edits at most {max_pixels / 1e6:.0f}. "
                "Scale it down, or label it with `segvoc segment --tile`"
            )
        size = decode_image(content, repr(name)).shape[:2]
        target = self.images_folder / name
        with self.threads:
            if self.index.has(change, name):
                return self.state(self.image(name))
            for removed in self.index.removed(name):
                if removed.image == name and _has(self.removed_path(removed), content) and self._fits(removed, size):
                    return self._restore(removed, by, change)
            if (above := next((one for one in target.parents if one.is_file()), None)) is not None:
                raise UsageError(f"{name!r} would be in a folder named like the file {above.name!r}; rename it")
            if target.exists():
                raise UsageError(f"{name!r} is in the project already" if _has(target, content) else clash(name, name))
            if (other := self.index.owner(name)) is not None:
                raise UsageError(clash(name, other))
            adding = {"name": name, "by": by, "change": change, "copy_of": copy_of, "person": person}
            with self.index.transaction():
                self.index.put_fact("adding", adding)
            write_bytes(target, content)
            return self._added(**adding)

    def _added(
        self, name: str, by: str, change: str | None, copy_of: str | None = None, person: str | None = None
    ) -> ImageState:
        """Write whose copy an image is, and log that it was added."""
        with self.index.transaction():
            if copy_of is not None or person is not None:
                state = replace(self._refresh(name), copy_of=copy_of, person=person)
                write_bytes(ImageFiles.below(self.folder, name).work, PackedWork(state=state, planes={}).content(state))
            state = self._refresh(name)
            self.index.log("added", by=by, image=name, revision=state.revision, change=change)
            self.index.put_fact("adding", None)
        return state

    def _fits(self, removed: RemovedImage, size: tuple[int, ...]) -> bool:
        """Whether the labels of a removed image, if any, have a size; it may have been replaced before."""
        with suppress(FileNotFoundError):
            state = read_state_of(ImageFiles.below(self._trash(removed), removed.image).work)
            return (state.height, state.width) == size
        return True

    def assign(self, name: str, person: str | None, *, by: str = SOMEONE) -> ImageState:
        """Set who labels an image (None: nobody)."""
        with self.threads:
            current = self._refresh(self.image(name).name)
            if current.person == person:
                return current
            name, state = current.image, replace(current, person=person)
            path = ImageFiles.below(self.folder, name).work
            work = read_packed(path) if path.exists() else PackedWork(state=state, planes={})
            write_bytes(path, work.content(state))
            with self.index.transaction():
                self.index.put(name, self._stamps(name), state)
                self.index.log("assigned", by=by, image=name, revision=state.revision)
            return state

    def has(self, name: str, content: bytes) -> bool:
        """Whether the project has an image of this name and content."""
        return name.isprintable() and self.index.image(name) is not None and _has(self.images_folder / name, content)

    def remove(self, name: str, *, by: str = SOMEONE, change: str | None = None) -> None:
        """Move an image with all of its files to the trash, where images outside the project are only listed."""
        with self.threads:
            name = (self.index.name_of(name) if name.isprintable() else None) or name
            if self.index.has(change, name):
                return
            if not name.isprintable() or self.index.image(name) is None or not (self.images_folder / name).is_file():
                self.image(name)  # which looks for it
            with suppress(InputError, UsageError):
                self._refresh(name)
            row = self.index.image(name)
            state = None if row is None else row.state
            revision, known = (0, None) if state is None else (state.revision, state.id)
            with self.index.transaction():
                removed = self.index.put_removed(name, known, "out")
                self.index.log("removed", by=by, image=name, revision=revision, change=change)
                self.index.drop(name)
            self._seen = dict.fromkeys(self._seen, math.nan)  # another image may have had its label map
            self._to_trash(removed)

    def restore(self, name: str, *, by: str = SOMEONE, change: str | None = None) -> ImageState:
        """Restore a removed image, by its id or name, with all its data; of several the one that was removed last.

        `NotInProjectError` if the trash has no such image; `UsageError` if the project has another image of this name.
        """
        with self.threads:
            removed = self.index.removed(name) if name.isprintable() else ()
            if self.index.has(change, self.index.name_of(name) or (removed[0].image if removed else name)):
                return self.state(self.image(name))
            if not removed:
                raise NotInProjectError(f"the trash has no image {name[:80]!r}")
            return self._restore(removed[0], by, change)

    def _restore(self, removed: RemovedImage, by: str, change: str | None) -> ImageState:
        self._look()
        name, place = removed.image, self.images_folder / removed.image
        other = self.index.owner(name) or (name if self.is_owned and not removed.moving and place.exists() else None)
        if other is not None:
            raise UsageError(f"{clash(name, other)} first")
        if not (place.is_file() or self.removed_path(removed).is_file()):
            raise NotInProjectError(f"the trash has no image {name[:80]!r}; its file is missing")
        with self.index.transaction():
            self.index.put_removed(name, removed.image_id, "back", removed.id)
        return self._from_trash(removed, by, change)

    def _to_trash(self, removed: RemovedImage) -> None:
        for here, there in self._moved_files(removed):
            move(here, there)
        with self.index.transaction():
            self.index.put_removed(removed.image, removed.image_id, None, removed.id)

    def _from_trash(self, removed: RemovedImage, by: str, change: str | None = None) -> ImageState:
        for here, there in self._moved_files(removed):
            move(there, here)
        for parent, _, _ in os.walk(self._trash(removed), topdown=False):
            with suppress(OSError):  # it isn't empty
                os.rmdir(parent)
        name = removed.image
        with self.index.transaction():
            self.index.drop_removed(removed.id)
            self._refresh_all([name])
            row = self.index.image(name)
            revision = 0 if row is None or row.state is None else row.state.revision
            self.index.log("restored", by=by, image=name, revision=revision, change=change)
        return self._refresh(name)

    def empty_trash(self, *, by: str = SOMEONE) -> int:
        """Delete the files of all removed images for good; returns how many. Images outside the project stay there."""
        with self.threads:
            found = [removed for removed in self.index.removed() if removed.moving is None]
            for removed in found:
                with writing(self._trash(removed)):
                    if self._trash(removed).exists():
                        shutil.rmtree(self._trash(removed))
            with self.index.transaction():
                for removed in found if self.is_owned else ():
                    self.index.drop_removed(removed.id)
                for made in CACHES:
                    shutil.rmtree(self.folder / made, ignore_errors=True)
                self.index.log("emptied", by=by, revision=self.record.revision)
            return len(found)

    def _trash(self, removed: RemovedImage) -> Path:
        return self.folder / TRASH / str(removed.id)

    def _moved_files(self, removed: RemovedImage) -> list[tuple[Path, Path]]:
        """The files of an image in the project and in the trash."""
        name, trash = removed.image, self._trash(removed)
        files = zip(ImageFiles.below(self.folder, name), ImageFiles.below(trash, name), strict=True)
        image = [(self.images_folder / name, trash / "images" / name)] if self.is_owned else []
        return [*image, *files]

    def _find_trash(self) -> None:
        """Compare the index with the trash: it may be new, and somebody may have emptied the trash."""
        known = {removed.id: removed for removed in self.index.removed()}
        found = {int(path.name) for path in (self.folder / TRASH).glob("*") if _NUMBER.fullmatch(path.name)}
        with self.index.transaction() if found ^ known.keys() else nullcontext():
            for number in known.keys() - found if self.is_owned else ():
                if known[number].moving is None:
                    self.index.drop_removed(number)
            for number in found - known.keys():
                if (name := _name_in(self.folder / TRASH / str(number))) is not None:
                    self.index.put_removed(name, None, None, number)


_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def _name_in(trash: Path) -> str | None:
    """The name of the image that a folder in the trash has, which may be outside the project."""
    found = [path for path in sorted((trash / "images").rglob("*")) if path.is_file()]
    with suppress(UsageError, OSError, IndexError):
        if found:
            return checked_name(found[0].relative_to(trash / "images").as_posix())
        return checked_name(read_state_of(sorted((trash / "work").rglob("*.zip"))[0]).image)
    return None


def _after(current: ImageState, made: ImageState, by: str, *, done: bool) -> ImageState:
    """The state of new labels, after the current one; what was said of former labels only stays while it is open."""
    review, kept = None if done or current.done else current.review, {"id": current.id, "copy_of": current.copy_of}
    number = next_number(current.revision)
    return replace(made, **kept, person=current.person, done=done, review=review, revision=number, by=by, at=now())


def _visible(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise UsageError(f"{str(folder)!r} can't be read: {error.strerror}; check it") from None


def _has(path: Path, content: bytes) -> bool:
    """Whether a file has this content."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False
