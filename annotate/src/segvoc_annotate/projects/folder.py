"""Read-only access to a project's folder."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from segvoc import InputError, SegvocError, UsageError, read_label_map
from segvoc.data.datasets.maps import PROJECT_FILE
from segvoc.imaging.reading import upright_size
from segvoc.imaging.result_paths import image_paths
from segvoc_annotate.projects.history import History
from segvoc_annotate.projects.images import ImageFiles, ProjectImage, Trash, find_images
from segvoc_annotate.projects.records import (
    DamagedProjectError,
    ImageState,
    NotInProjectError,
    ProjectRecord,
    damaged_file,
    read_project_record,
    read_state,
)
from segvoc_annotate.projects.work_files import LabelWork, read_state_of, read_work, state_in

FileStamp = tuple[int, int, int] | None
"""Inode, size and time of a file."""


class ProjectFolder:
    """A read-only project.

    `UsageError` if the folder isn't a project, or is of a newer version; `DamagedProjectError` if its `project.json` is
    damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._record: tuple[FileStamp, ProjectRecord] | None = None
        try:
            record = self.record
        except FileNotFoundError:
            raise UsageError(no_project(Path(folder))) from None
        except OSError as error:
            raise UsageError(f"{str(error.filename)!r} can't be read: {error.strerror}; check it") from None
        self.images_folder = Path(os.path.normpath(self.folder / record.images))
        is_owned = self.images_folder.is_relative_to(self.folder)
        self.trash = Trash(self.folder, self.images_folder, is_owned=is_owned)
        self.history = History(self.folder)
        self._found: tuple[int, dict[str, ProjectImage], list[str]] | None = None
        self._states: dict[str, tuple[FileStamp, ImageState]] = {}

    @property
    def record(self) -> ProjectRecord:
        """The current `project.json`; `DamagedProjectError` if it is damaged."""
        path = self.folder / PROJECT_FILE
        stamp = file_stamp(path)
        if self._record is None or self._record[0] != stamp or stamp is None:
            self._record = stamp, read_project_record(path)
        return self._record[1]

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    def images(self) -> Mapping[str, ProjectImage]:
        """The images by name, in order, as they are now."""
        return dict(self._listing(fresh=True)[1])  # uploads in other threads modify the listing

    def problems(self) -> list[str]:
        """A line per unusable image file, as of the last listing."""
        return self._listing(fresh=False)[2]

    def image(self, name: str) -> ProjectImage:
        """An image; `NotInProjectError` if it doesn't exist."""
        image = self._listing(fresh=False)[1].get(name) or self._listing(fresh=True)[1].get(name)
        if image is None or not image.path.is_file() or name in self.trash.outside():
            raise NotInProjectError(f"the project has no image {name[:80]!r}; it may have been removed")
        return image

    def files(self, image: ProjectImage) -> ImageFiles:
        """Paths of the files of an image."""
        return ImageFiles.below(self.folder, image.stem)

    def states(self) -> tuple[list[ImageState], list[str]]:
        """The states of all images in order, and a line per unusable image or file."""
        found, problems = [], []
        for image in self.images().values():
            try:
                found.append(self.state(image))
            except SegvocError as error:
                problems.append(str(error))
        return found, [*self.problems(), *problems]

    def state(self, image: ProjectImage) -> ImageState:
        """The last written state of an image.

        Without one, `InputError` if the image can't be read, `DamagedProjectError` if its work file is damaged.
        """
        files = self.files(image)
        stamp = file_stamp(files.state) or file_stamp(files.work) or file_stamp(image.path)
        known = self._states.get(image.name)
        if known is None or known[0] != stamp:
            known = self._states[image.name] = stamp, self._read_state(image, files)
        return known[1]

    def _read_state(self, image: ProjectImage, files: ImageFiles) -> ImageState:
        for read, path in ((read_state, files.state), (read_state_of, files.work)):
            try:
                return replace(read(path), image=image.name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise InputError(f"{str(path)!r} can't be read: {error.strerror}; check it") from None
            except DamagedProjectError:
                if path == files.work:
                    raise  # states can be rebuilt, work files can't
        return self.fresh_state(image)

    def fresh_state(self, image: ProjectImage) -> ImageState:
        """The state of an unlabeled image; `InputError` if it can't be read."""
        height, width = upright_size(image.path)
        return ImageState(image=image.name, width=width, height=height, unlabeled=width * height)

    def work(self, name: str) -> tuple[ImageState, LabelWork]:
        """The state and pixel data of an image.

        `NotInProjectError` if there is no image, or nothing about it yet; `DamagedProjectError` if that is damaged.
        """
        try:
            return read_work(self.files(self.image(name)).work)
        except FileNotFoundError:
            raise _no_work(name) from None

    def work_content(self, name: str) -> tuple[int, bytes]:
        """The revision and content of an image's work file; raises the errors of `work`."""
        path = self.files(self.image(name)).work
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise _no_work(name) from None
        except OSError as error:
            raise damaged_file(path, f"it can't be read ({error.strerror})") from None
        return state_in(path, content).revision, content

    def removed(self) -> list[str]:
        """The images in the trash."""
        return self.trash.names()

    def _listing(self, *, fresh: bool) -> tuple[int, dict[str, ProjectImage], list[str]]:
        """The images now, or as of the last change in the history."""
        last = self.history.last()
        if fresh or self._found is None or self._found[0] != last:
            found = find_images(self.images_folder, self._owner, self.trash.outside())
            self._found = last, *found
        return self._found

    def _owner(self, stem: str) -> str | None:
        """The image that owns the files of a stem."""
        files = ImageFiles.below(self.folder, stem)
        for read, path in ((read_state, files.state), (read_state_of, files.work)):
            try:
                return read(path).image
            except (OSError, DamagedProjectError):
                continue
        return None


def file_stamp(path: Path) -> FileStamp:
    """A value that changes when a file is replaced or written; None if it doesn't exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _no_work(name: str) -> NotInProjectError:
    return NotInProjectError(f"{name[:80]!r} has no labels yet")


def no_project(folder: Path) -> str:
    """The error line for a folder that isn't a project."""
    name = str(folder)
    if not folder.exists():
        return f"the project {name!r} does not exist; make it: segvoc annotate {name} --images FOLDER"
    if not folder.is_dir():
        return f"{name!r} is a file; give the folder of a project, or the zip of one"
    if has_images(folder):
        return (
            f"{name!r} has images but no {PROJECT_FILE}; make a project of them elsewhere: "
            f"segvoc annotate PROJECT --images {name}"
        )
    return f"{name!r} has no {PROJECT_FILE}; make a project there: segvoc annotate {name} --images FOLDER"


def has_images(folder: Path) -> bool:
    """Whether a folder or its subfolders have images."""
    return any(image.problem is None for image in image_paths([folder]))


def stored_labels(files: ImageFiles) -> tuple[ImageState, LabelWork | None, UInt16[np.ndarray, "H W"]]:
    """The state of an image, its work if that was read, and its label map as ids, whoever wrote it.

    If a process died before deriving the label map, the labels come from the work file. `FileNotFoundError` without
    labels, `DamagedProjectError` or `InputError` if a file is damaged.
    """
    state = read_state_of(files.work)
    with suppress(OSError, DamagedProjectError):
        if read_state(files.state) == state and files.labels.is_file():
            return state, None, read_label_map(files.labels)
    work = read_work(files.work)[1]
    return state, work, work.labels
