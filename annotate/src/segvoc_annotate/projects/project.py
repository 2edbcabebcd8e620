"""Writable projects, with durable and atomic changes."""

import io
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from segvoc import InputError, SegvocError, UsageError, read_label_map
from segvoc.data.datasets.maps import PROJECT_FILE, is_project
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import decode_image
from segvoc.imaging.result_paths import folded
from segvoc.storage.atomic_writes import write_bytes, writing
from segvoc.storage.files import write_json
from segvoc.storage.records import to_json
from segvoc_annotate.projects.folder import ProjectFolder, has_images, no_project
from segvoc_annotate.projects.history import lock_project, writer_of
from segvoc_annotate.projects.images import (
    ImageFiles,
    ProjectImage,
    checked_name,
    clash,
    mark_as_ours,
    remove,
    seconds_of,
    stem_of,
)
from segvoc_annotate.projects.records import (
    DamagedProjectError,
    ImageDoneError,
    ImageState,
    NotInProjectError,
    ProjectOptions,
    ProjectRecord,
    ProjectWord,
    Review,
    Verdict,
    What,
    changed_meanwhile,
    damaged_file,
    now,
    read_state,
)
from segvoc_annotate.projects.work_files import (
    HEAD_BYTES,
    LABELS_ENTRY,
    OBJECTS_ENTRY,
    LabelWork,
    PackedWork,
    in_colors,
    packed_work,
    read_packed,
    read_state_of,
    read_work,
    received,
    relabeled,
)
from segvoc_annotate.settings import MAX_EDITED_PIXELS

SOMEONE = "someone"
"""Default author of a change."""

ANOTHER_PROGRAM = "another program"
"""Author of label maps changed outside segvoc."""


class Project(ProjectFolder, AbstractContextManager["Project"]):
    """A project opened for writing, exclusively by this process until it is closed or a `with` block ends.

    The work file of an image is the source of truth and is written first; the other files are derived from it,
    `states/a.json` last. After a crash in between, the next process rebuilds the rest.

    `by` is who makes a change, `expected` the revision that the caller has seen (another one is a `ConflictError`; 0:
    none), and `change` a unique id: a change that was made before isn't made again. Changes raise `OutputError` if a
    file can't be written, and those of an image `NotInProjectError` if there is no such image. Opening a project raises
    the errors of `ProjectFolder`, and `UsageError` if another process writes it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder)
        self._lock = ExitStack()
        self._lock.enter_context(lock_project(self.folder))
        self._writer = writer_of(self.folder)
        self.history = self._writer.history
        self.threads = self._writer.threads
        """Lock of this process's threads, for changes that belong together."""

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the project, so that other processes can write it unless this process has it open elsewhere."""
        self._lock.close()

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
            name=path.name if name is None else name,
            images="images" if images is None else os.path.abspath(images),
            options=options or ProjectOptions(),
        ).with_words(words)
        with lock_project(path), writer_of(path).threads:
            if is_project(path):
                raise UsageError(f"{str(folder)!r} is a project already; open it")
            if images is None:
                with writing(path / "images"):
                    (path / "images").mkdir(exist_ok=True)
            write_json(path / PROJECT_FILE, to_json(record))
            return cls(path)

    def recolor(self, name: str) -> None:
        """Update the colors of an image's label map; `update` leaves that to the caller."""
        with self.threads:
            self._refresh(self.image(name))

    def recover(self) -> list[str]:
        """Finish interrupted changes, and adopt label maps of other programs; a line per image with damaged files."""
        problems = []
        with self.threads:
            for name in self.trash.names() if self.trash.is_owned else ():
                if not (self.images_folder / name).exists() and self._follow(name):
                    self.history.append("removed", by=SOMEONE, image=name, revision=0)
            for image in self.images().values():
                try:
                    self._refresh(image)
                except (DamagedProjectError, InputError) as error:
                    problems.append(str(error))
        return problems

    def receive(
        self,
        name: str,
        file: BinaryIO | io.BytesIO,
        *,
        expected: int,
        by: str = SOMEONE,
        done: bool | None = None,
        change: str | None = None,
    ) -> ImageState:
        """Store an untrusted work file, a zip sent by a client; returns the new state of the image.

        `done` is whether the image is done now; None: it isn't, and if it was, that is an `ImageDoneError`.
        `UsageError` if the work file can't be used. After any error, everything is as before.
        """
        state = self.state(self.image(name))
        work = received(file, name, (state.height, state.width), self.record.colors)
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

    def rewrite(self, name: str, files: ImageFiles, work: LabelWork, *, by: str) -> None:
        """Write the pixel data of an image or, if these files are in the trash, a removed one; its parts stay."""
        before = read_packed(files.work)
        made = packed_work(work, name, self.record.colors)
        made, state = replace(made, planes={**before.planes, **made.planes}), before.state
        state = replace(made.state, done=state.done, review=state.review, revision=state.revision + 1, by=by, at=now())
        if files == self.trash.files(name):
            write_bytes(files.work, made.content(state))  # the others are derived when it is restored
        else:
            self._store(self.image(name), made, state)

    def _write(
        self, name: str, work: PackedWork, expected: int, by: str, done: bool | None = None, change: str | None = None
    ) -> ImageState:
        with self.threads:
            if self.history.has(change):
                return self._refresh(self.image(name))
            image, current = self._at_revision(name, expected)
            if current.done and done is None:
                raise ImageDoneError(f"{name!r} is done; reopen it before changing it", current)
            review = current.review if bool(done) == current.done else None  # what is done is reviewed anew
            state = replace(
                work.state, review=review, revision=expected + 1, done=bool(done), by=by, at=now(), change=change
            )
            self._store(image, work, state)
            return state

    def _at_revision(self, name: str, expected: int) -> tuple[ProjectImage, ImageState]:
        """An image and its state, if the caller's revision is current."""
        image = self.image(name)
        current = self._refresh(image)
        if current.revision != expected:
            raise changed_meanwhile(repr(name), current)
        return image, current

    def set_done(
        self, name: str, done: bool, *, expected: int, by: str = SOMEONE, review: Review | None = None
    ) -> ImageState:
        """Mark an image as done, which locks its labels, or reopen it; `review` is what a reviewer said of it.

        `NotInProjectError` also if the image has no labels.
        """
        with self.threads:
            image, current = self._at_revision(name, expected)
            if not current.revision:
                raise NotInProjectError(f"{name!r} has no labels to mark as done; label it first")
            if (current.done, current.review) == (done, review):
                return current
            state = replace(current, done=done, review=review, revision=expected + 1, by=by, at=now(), change=None)
            self._store(image, read_packed(self.files(image).work), state)
            return state

    def review(self, name: str, verdict: Verdict, comment: str, *, expected: int, by: str = SOMEONE) -> ImageState:
        """Accept an image that is done, or send it back, which reopens it; see `set_done`.

        `UsageError` if the image isn't done, or `by` is none of the project's reviewers.
        """
        with self.threads:
            if (reviewers := self.record.options.reviewers) and by not in reviewers:
                raise UsageError(f"{by!r} doesn't review this project; {', '.join(reviewers)} may")
            current = self._at_revision(name, expected)[1]
            if not current.done:
                raise UsageError(f"{name!r} isn't done; only images that are done are reviewed")
            review = Review(verdict=verdict, comment=comment.strip(), by=by, at=now())
            return self.set_done(name, verdict == "accepted", expected=expected, by=by, review=review)

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

        `UsageError` if a value is invalid, or a word is missing.
        """
        with self.threads:
            record = self.record
            if self.history.has(change):
                return record
            if record.revision != expected:
                raise changed_meanwhile("the project", record)
            given = {"name": name, "words": words, "options": options}
            changes = {key: value for key, value in given.items() if value is not None}
            return self._update(record, by, changes, change=change)

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
        self, record: ProjectRecord, by: str, changes: dict[str, Any], what: What = "words", change: str | None = None
    ) -> ProjectRecord:
        changed = replace(record, **changes, revision=record.revision + 1)
        if missing := record.ids - changed.ids:
            name = next(word.name for word in record.words if word.id in missing)
            raise UsageError(f"the word {name[:60]!r} is missing; mark removed words as removed instead")
        write_json(self.folder / PROJECT_FILE, to_json(changed))
        self.history.append(what, by=by, revision=changed.revision, change=change)
        return changed

    def add(
        self,
        name: str,
        content: bytes,
        *,
        by: str = SOMEONE,
        max_pixels: int = MAX_EDITED_PIXELS,
        change: str | None = None,
    ) -> ImageState:
        """Add an image file, by its path below the image folder, which may be outside the project.

        `UsageError` if its name is invalid or taken; `InputError` if it can't be read.
        """
        name = checked_name(name)
        if not (self.trash.is_owned or self.images_folder.is_dir()):
            raise UsageError(f"the image folder {str(self.images_folder)!r} does not exist; restore it")
        decode_image(content, repr(name), max_pixels=max_pixels)
        target = self.images_folder / name
        with self.threads:
            if self.history.has(change):
                return self.state(self.image(name))
            if name in self.trash.outside() and _has(target, content):
                return self._restore(name, by, change)
            if (other := self._of_stem(name)) is not None:
                same = other == name and _has(target, content)
                raise UsageError(f"{name!r} is in the project already" if same else clash(name, other))
            if (other := self.trash.holds(name)) is not None:
                if other == name and _has(self.trash.path(name), content):
                    return self._restore(name, by)
                raise UsageError(f"{name!r} would share its label map with {other!r} in the trash; rename it")
            write_bytes(target, content)
            image = ProjectImage(name=name, path=target)
            listed = self._added(image)
            state = self._refresh(image)
            self.history.append("added", by=by, image=name, revision=state.revision, change=change)
            self._found = None if listed is None else (self.history.last(), *listed[1:])
            return state

    def has(self, name: str, content: bytes) -> bool:
        """Whether the project has an image of this name and content."""
        return name in self._listing(fresh=False)[1] and _has(self.images_folder / name, content)

    def _of_stem(self, name: str) -> str | None:
        """The image whose files would clash with this one's."""
        if (self.images_folder / name).exists():
            return name
        own = folded(stem_of(name))
        stems = self._stems
        if stems is None or self._found is None or stems[0] is not self._found[1]:
            images = self._listing(fresh=False)[1]
            stems = self._stems = images, {folded(image.stem): other for other, image in images.items()}
        return stems[1].get(own)

    _stems: tuple[dict[str, ProjectImage], dict[str, str]] | None = None

    def _added(self, image: ProjectImage) -> tuple[int, dict[str, ProjectImage], list[str]] | None:
        """Add an image to the listing without a rescan; return that listing.

        Reader threads may replace `_found` by a listing without the image at any time.
        """
        listed = self._found
        if listed is not None:
            listed[1][image.name] = image
        if self._stems is not None:
            self._stems[1][folded(image.stem)] = image.name
        return listed

    def remove(self, name: str, *, by: str = SOMEONE, change: str | None = None) -> None:
        """Move an image with all of its files to the trash; `UsageError` if that has another image of this name."""
        with self.threads:
            if self.history.has(change):
                return
            image = self.image(name)
            revision = 0
            with suppress(SegvocError):
                revision = self._refresh(image).revision
            self.trash.put(name)
            self.history.append("removed", by=by, image=name, revision=revision, change=change)
            self._follow(name)
            self._found = self._stems = None

    def restore(self, name: str, *, by: str = SOMEONE, change: str | None = None) -> ImageState:
        """Restore a removed image with all its data.

        `NotInProjectError` if the trash has no such image; `UsageError` if the project has another image of this name.
        """
        with self.threads:
            return self.state(self.image(name)) if self.history.has(change) else self._restore(name, by, change)

    def _restore(self, name: str, by: str, change: str | None = None) -> ImageState:
        if name not in self.trash.names():
            raise NotInProjectError(f"the trash has no image {name[:80]!r}")
        if (other := self._of_stem(name)) is not None and self.trash.is_owned:
            raise UsageError(f"{clash(name, other)} first")
        self._follow(name)
        self.trash.files(name).move(ImageFiles.below(self.folder, stem_of(name)))
        self.trash.take(name)
        self._found = self._stems = None
        state = self._refresh(self.image(name))
        self.history.append("restored", by=by, image=name, revision=state.revision, change=change)
        return state

    def _follow(self, name: str) -> bool:
        """Move the files of a trashed image to the trash; return whether there were any."""
        return ImageFiles.below(self.folder, stem_of(name)).move(self.trash.files(name))

    def _refresh(self, image: ProjectImage) -> ImageState:
        """Bring an image's files up to date after interrupted or external changes; return its state."""
        files = self.files(image)
        try:
            state = read_state_of(files.work)
        except FileNotFoundError:
            if files.labels.is_file():
                return self._take_over(image, None)
            return self.fresh_state(image)
        written = None
        with suppress(OSError, DamagedProjectError):
            written = read_state(files.state)
        if written != state or not files.labels.is_file():
            self._derive(
                image, read_packed(files.work, planes=(LABELS_ENTRY, OBJECTS_ENTRY)), state, is_new=written != state
            )
        elif files.labels.stat().st_mtime != seconds_of(state.at):
            return self._take_over(image, state)
        else:
            self._recolor(files, state)
        return state

    def _recolor(self, files: ImageFiles, state: ImageState) -> None:
        """Update a label map's colors if they differ."""
        with writing(files.labels):
            with files.labels.open("rb") as file:
                head = file.read(HEAD_BYTES)
            colors = self.record.colors
            if in_colors(head, colors) != head:
                write_bytes(files.labels, in_colors(files.labels.read_bytes(), colors))
                mark_as_ours(files, state)

    def _take_over(self, image: ProjectImage, state: ImageState | None) -> ImageState:
        """Adopt a label map changed outside segvoc: differing pixels count as corrections."""
        files = self.files(image)
        if state is not None:
            ours = read_packed(files.work, planes=(LABELS_ENTRY,)).planes[LABELS_ENTRY]
            if _has(files.labels, in_colors(ours, self.record.colors)):
                mark_as_ours(files, state)  # it was copied
                return state
        fresh = self.fresh_state(image) if state is None else state
        try:
            labels = read_label_map(files.labels)
        except InputError as error:
            raise DamagedProjectError(str(error)) from None
        if labels.shape != (fresh.height, fresh.width):
            height, width = labels.shape
            raise damaged_file(files.labels, f"it has {width} x {height} pixels, not {fresh.width} x {fresh.height}")
        if unknown := set(np.unique(labels).tolist()) - self.record.ids - {UNLABELED}:
            raise damaged_file(files.labels, f"it has the value {min(unknown)}, the id of no word in the project")
        work = LabelWork.of_labels(labels)
        if state is not None:
            work = relabeled(read_work(files.work)[1], labels)
            if work is None:
                mark_as_ours(files, state)
                return state
        made = packed_work(work, image.name, self.record.colors)
        after = replace(made.state, revision=fresh.revision + 1, done=fresh.done, by=ANOTHER_PROGRAM, at=now())
        self._store(image, made, after)
        return after

    def _store(self, image: ProjectImage, work: PackedWork, state: ImageState) -> None:
        write_bytes(self.files(image).work, work.content(state))
        self._derive(image, work, state)

    def _derive(self, image: ProjectImage, work: PackedWork, state: ImageState, *, is_new: bool = True) -> None:
        """Write the derived files of an image."""
        files = self.files(image)
        write_bytes(files.labels, in_colors(work.planes[LABELS_ENTRY], self.record.colors))
        mark_as_ours(files, state)
        if OBJECTS_ENTRY in work.planes:
            write_bytes(files.objects, work.planes[OBJECTS_ENTRY])
        else:
            remove(files.objects)
        if is_new:
            was_done, review = False, None
            with suppress(OSError, DamagedProjectError):
                before = read_state(files.state)
                was_done, review = before.done, before.review
            what = "labels" if state.done == was_done else "done" if state.done else "reopened"
            what = state.review.verdict if state.review and state.review != review else what
            by = state.by or SOMEONE
            self.history.append(what, by=by, image=image.name, revision=state.revision, change=state.change)
        write_json(files.state, to_json(state))


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
