"""Writable projects, with durable and atomic changes: creating and recovering them, and adding images."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from segvoc import InputError, UsageError
from segvoc.imaging.reading import decode_image, image_size
from segvoc.labeling.formats.project import PROJECT_FILE, is_project
from segvoc.storage.atomic_writes import write_bytes, writing
from segvoc.storage.files import write_json
from segvoc.storage.records import from_json, to_json
from segvoc_annotate.projects.folder import has_images, no_project
from segvoc_annotate.projects.images import ImageFiles, checked_name, clash
from segvoc_annotate.projects.record_changes import SOMEONE
from segvoc_annotate.projects.records import ImageState, ProjectOptions, ProjectRecord, VideoFrame, new_project_id
from segvoc_annotate.projects.trash import TrashChanges
from segvoc_annotate.projects.work_files import PackedWork, read_packed
from segvoc_annotate.projects.writer import lock_project
from segvoc_annotate.settings import MAX_EDITED_PIXELS


class Project(TrashChanges):
    """A project opened for writing, exclusively by this process until it is closed or a `with` block ends.

    A change writes an image's work file, which has its state, then the label map, then the row in the index: after a
    crash in between, the next process finds a work file that is newer than its row, and does the rest.

    `by` is who makes a change, `expected` the revision that the caller has seen (another one is a `ConflictError`; 0:
    none), and `change` a unique id: a change that was made before isn't made again. Changes raise `OutputError` if a
    file can't be written, and those of an image `NotInProjectError` if there is no such image. Opening a project raises
    the errors of `ProjectFolder`, and `UsageError` if another process writes it.
    """

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
            id=new_project_id(),
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

    def add(
        self,
        name: str,
        content: bytes,
        *,
        by: str = SOMEONE,
        max_pixels: int = MAX_EDITED_PIXELS,
        copy_of: str | None = None,
        person: str | None = None,
        frame: VideoFrame | None = None,
        change: str | None = None,
    ) -> ImageState:
        """Add an image file, by its path below the image folder, which may be outside the project.

        `copy_of`, `person` and `frame` are those of its state. The same image in the trash is restored. `UsageError` if
        its name is invalid or taken; `InputError` if it can't be read.
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
            adding |= {"frame": None if frame is None else to_json(frame)}
            with self.index.transaction():
                self.index.put_fact("adding", adding)
            write_bytes(target, content)
            return self._added(**adding)

    def _added(
        self,
        name: str,
        by: str,
        change: str | None,
        copy_of: str | None = None,
        person: str | None = None,
        frame: Mapping[str, Any] | None = None,
    ) -> ImageState:
        """Write whose copy or which frame an image is, and log that it was added."""
        with self.index.transaction():
            if (copy_of, person, frame) != (None, None, None):
                of_video = None if frame is None else from_json(VideoFrame, frame)
                state = replace(self._refresh(name), copy_of=copy_of, person=person, frame=of_video)
                write_bytes(ImageFiles.below(self.folder, name).work, PackedWork(state=state, planes={}).content(state))
            state = self._refresh(name)
            self.index.log("added", by=by, image=name, revision=state.revision, change=change)
            self.index.put_fact("adding", None)
        return state

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
