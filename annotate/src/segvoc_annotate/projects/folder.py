"""Read-only access to a project's folder."""

import math
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from segvoc import InputError, OutputError, SegvocError, UsageError
from segvoc.errors import DiskFullError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.reading import upright_size
from segvoc.imaging.result_paths import folded, image_paths, is_result
from segvoc.labeling.formats.project import PROJECT_FILE
from segvoc_annotate.projects.images import (
    TRASH,
    ImageFiles,
    ProjectImage,
    checked_name,
    clash,
    content_id,
    stem_of,
)
from segvoc_annotate.projects.index import (
    INDEX_FILE,
    NO_FILES,
    UNWRITTEN,
    Index,
    IndexedImage,
    RemovedImage,
    Stamps,
    parsed_state,
    stamp_of,
)
from segvoc_annotate.projects.records import (
    DamagedProjectError,
    ImageState,
    NotInProjectError,
    ProjectRecord,
    damaged_file,
    read_project_record,
)
from segvoc_annotate.projects.work_files import (
    LABELS_ENTRY,
    LabelWork,
    read_packed,
    read_state_of,
    read_work,
    state_in,
)

_SETTLED = 2 * 10**9
"""A folder that changed less than this ago may change again without another time [ns]."""


class ProjectFolder:
    """A read-only project, with a copy of its index.

    `UsageError` if the folder isn't a project, or is of a newer version; `DamagedProjectError` if its `project.json` is
    damaged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._record: tuple[str, ProjectRecord] | None = None
        try:
            record = self.record
        except FileNotFoundError:
            raise UsageError(no_project(Path(folder))) from None
        except OSError as error:
            raise UsageError(f"{str(error.filename)!r} can't be read: {error.strerror}; check it") from None
        self.images_folder = Path(os.path.normpath(self.folder / record.images))
        self.is_owned = self.images_folder.is_relative_to(self.folder)
        """Whether the images are in the project's folder."""
        self.threads = threading.RLock()
        """Lock of this process's threads, for changes that belong together."""
        self._seen: dict[str, float] = {}
        self._unread: list[str] = []
        self._edited: list[str] = []

    @cached_property
    def index(self) -> Index:
        """What is known of the images."""
        return Index.copy(self.folder / INDEX_FILE)

    @property
    def record(self) -> ProjectRecord:
        """The current `project.json`; `DamagedProjectError` if it is damaged."""
        path = self.folder / PROJECT_FILE
        stamp = stamp_of(path)
        if self._record is None or self._record[0] != stamp or not stamp:
            self._record = stamp, read_project_record(path)
        return self._record[1]

    @property
    def id(self) -> str:
        """Its id, as it was last read."""
        assert self._record is not None
        return self._record[1].id

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    def images(self) -> Mapping[str, ProjectImage]:
        """The images by name, in order, as they are now."""
        self._look()
        names = self.index.names() if self.images_folder.is_dir() else ()
        return {name: ProjectImage(name=name, path=self.images_folder / name) for name in names}

    def image(self, name: str) -> ProjectImage:
        """An image, by its name or id; `NotInProjectError` if it doesn't exist, `UsageError` if it can't be used."""
        name = (self.index.name_of(name) if name.isprintable() else None) or name
        image, row = ProjectImage(name=name, path=self.images_folder / name), None
        for is_known in (True, False) if name.isprintable() else ():
            if not is_known:
                self._look()
            if (row := self.index.image(name)) is not None and image.path.is_file():
                if row.state is None:
                    raise UsageError(row.problem or "")
                return image
        raise NotInProjectError(f"the project has no image {name[:80]!r}; it may have been removed")

    def files(self, image: ProjectImage) -> ImageFiles:
        """Paths of the files of an image."""
        return ImageFiles.below(self.folder, image.name)

    def listing(self) -> tuple[list[str], list[str]]:
        """The states of all images in order, as JSON, and a line per unusable image or file."""
        self._look()
        if not self.images_folder.is_dir():
            missing = (
                f"the image folder {str(self.images_folder)!r} does not exist; restore it, or correct project.json"
            )
            return [], [missing]
        edited = (
            f"the label map of {name!r} was changed by another program, and its next change replaces it; take it over: "
            f"segvoc project import {self.folder} --edited"
            for name in self.edited()
        )
        return self.index.states(), [*self._unread, *edited, *self.index.problems()]

    def edited(self) -> list[str]:
        """The images whose label maps another program had changed when the project was opened, and which still are."""
        self._look()
        names = (name for name in self._edited if name.isprintable())
        return [name for name in names if (row := self.index.image(name)) and self._has_edited(name, row)]

    def _has_edited(self, name: str, row: IndexedImage) -> bool:
        files = ImageFiles.below(self.folder, name)
        now = stamp_of(files.labels)
        return bool(now) and now != row.stamps.labels and row.state is not None and _is_edited(files, row.state)

    def states(self) -> tuple[list[ImageState], list[str]]:
        """`listing`, with records."""
        states, problems = self.listing()
        return list(map(parsed_state, states)), problems

    def frames(self) -> dict[str, list[ImageState]]:
        """The states of each video's frames, by the video's id, without copies for a second person."""
        videos = defaultdict[str, list[ImageState]](list)
        for text in self.listing()[0]:
            # of a hundred thousand photographs none is parsed
            state = parsed_state(text) if '"frame": {' in text else None
            if state is not None and state.frame is not None and state.copy_of is None:
                videos[state.frame.video].append(state)
        return videos

    def state(self, image: ProjectImage) -> ImageState:
        """The last written state of an image; `UsageError` if the image can't be used."""
        row = self.index.image(image.name)
        if row is None or row.state is None:
            raise NotInProjectError(f"the project has no image {image.name!r}; it may have been removed")
        return row.state

    def work(self, name: str) -> tuple[ImageState, LabelWork]:
        """The state and pixel data of an image.

        `NotInProjectError` if there is no image, or nothing about it yet; `DamagedProjectError` if that is damaged.
        """
        return read_work(self._work_file(name))

    def work_content(self, name: str) -> tuple[int, bytes]:
        """The revision and content of an image's work file; raises the errors of `work`."""
        path = self._work_file(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise damaged_file(path, f"it can't be read ({error.strerror})") from None
        return state_in(path, content).revision, content

    def _work_file(self, name: str) -> Path:
        image = self.image(name)
        path = self.files(image).work
        if not self.state(image).revision or not path.exists():
            raise NotInProjectError(f"{name[:80]!r} has no labels yet")
        return path

    def trash(self) -> list[dict[str, str]]:
        """The images in the trash, the last one last: `id` and `image`; the id of one that has none is its name."""
        return [{"id": one.image_id or one.image, "image": one.image} for one in reversed(self.index.removed())]

    def removed(self) -> list[str]:
        """The images in the trash, in order."""
        return sorted({removed.image for removed in self.index.removed()})

    def removed_path(self, removed: RemovedImage) -> Path:
        """Where the file of a removed image is."""
        trash = self.folder / TRASH / str(removed.id) / "images" / removed.image
        return trash if self.is_owned else self.images_folder / removed.image

    # ---- what changed in the folder

    def _look(self) -> None:
        """Notice images that came or went, which only reads the folders if one of them changed.

        The first time, all files of known images are checked, too.
        """
        index, is_first = self.index, not self._seen
        known = index.stamps() if is_first and self.images_folder.is_dir() else index.stamps(problems=True)
        changed = [name for name, stamps in known.items() if stamps not in (NO_FILES, self._stamps(name))]
        if not (changed or is_first or any(seen != _time_of(folder) for folder, seen in self._seen.items())):
            return
        with self.threads, index.transaction():
            found, usable = self._walked(), set(index.names())
            rows = set(index.names(unusable=True))
            for name in (gone := rows - found | set(changed) - usable):
                index.drop(name)
            self._refresh_all(sorted(set(changed) & usable & found))
            self._edited = sorted({*self._edited, *changed}) if is_first else self._edited
            new = sorted(found - (set(index.names(unusable=True)) if gone else rows))
            self._notice(new)
            self._edited += new if is_first else []

    def _walked(self) -> set[str]:
        """The names of all files in the image folder that aren't removed images."""
        seen, found, self._unread = dict[str, float](), set[str](), list[str]()

        def note(error: OSError) -> None:
            if os.path.isdir(self.images_folder):
                self._unread.append(f"folder {str(error.filename)!r} can't be listed: {error.strerror}; check it")

        for parent, folders, files in os.walk(self.images_folder, onerror=note):
            folders[:] = [name for name in folders if not name.startswith(".")]
            seen[parent] = _time_of(parent)
            below = os.path.relpath(parent, self.images_folder).replace(os.sep, "/")
            top = "" if below == "." else f"{below}/"
            found.update(f"{top}{name}" for name in files if name[0] != ".")
        if not seen:  # the image folder is missing, which may be temporary
            return set(self.index.names(unusable=True))
        self._seen = seen
        return found - {removed.image for removed in self.index.removed() if removed.moving or not self.is_owned}

    def _notice(self, names: Collection[str]) -> None:
        """Add the rows of new images, or why they can't be used."""
        groups = defaultdict[str, list[str]](list)
        for name in names:
            if os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
                continue
            try:
                if checked_name(name) != name:
                    raise UsageError(f"the name {name[:80]!r} can't be used; rename the image")
            except UsageError as error:
                self.index.put(name.encode("utf-8", "backslashreplace").decode(), NO_FILES, None, str(error))
                continue
            if not is_result(self.images_folder / name):
                groups[folded(stem_of(name))].append(name)
        for same in groups.values():
            owners = {self._owner(name) for name in same} if len(same) > 1 else same
            chosen = self.index.owner(same[0]) or next((name for name in same if name in owners), same[0])
            for name in same:
                if name != chosen:
                    self.index.put(name, NO_FILES, None, clash(name, chosen))
            self._refresh_all([chosen] if chosen in same else ())

    def _owner(self, name: str) -> str | None:
        """The image that the work file of a stem is of."""
        with suppress(OSError, DamagedProjectError):
            return read_state_of(ImageFiles.below(self.folder, name).work).image
        return None

    def _refresh_all(self, names: Collection[str]) -> None:
        """Refresh images; their rows have what is wrong with them."""
        for name in names:
            try:
                self._refresh(name)
            except DiskFullError:
                raise
            except (InputError, UsageError, OutputError):
                pass

    def _refresh(self, name: str) -> ImageState:
        """Bring the row of an image, and in a project that is written its files, up to date; return its state."""
        path, files = self.images_folder / name, ImageFiles.below(self.folder, name)
        row, stamps = self.index.image(name), self._stamps(name)
        problem: SegvocError | None = None
        is_same = row is not None and row.stamps[:2] == stamps[:2] and (stamps.labels or not row.stamps.labels)
        if row is not None and row.state is not None and row.problem is None and is_same:
            return row.state
        with self.index.transaction():
            try:
                is_seen = row is not None and row.problem is None and row.stamps.image == stamps.image
                known = None if row is None else row.state
                size = (known.height, known.width) if known is not None and is_seen else upright_size(path)
                state, before = self._current(name, files, size, row), stamps
                stamps = Stamps.of(path, files)
                if row is None:
                    is_edited = _is_edited(files, state)
                    stamps = stamps._replace(labels="?") if is_edited else stamps
                elif stamps.labels == before.labels:  # it was written by another program, if it isn't as it was
                    stamps = stamps._replace(labels=row.stamps.labels)
            except DiskFullError:
                raise
            except (InputError, UsageError, OutputError) as error:
                problem, state = error, None if row is None else row.state
                stamps = UNWRITTEN if isinstance(error, OutputError) else Stamps.of(path, files)
            self.index.put(name, stamps, state, None if problem is None else str(problem))
        if problem is not None:
            raise problem
        assert state is not None
        return state

    def _current(self, name: str, files: ImageFiles, size: tuple[int, int], row: IndexedImage | None) -> ImageState:
        """The state of an image of a height and width, by its work file; `row` is what was known."""
        height, width = size
        try:
            state = replace(read_state_of(files.work), image=name)
        except FileNotFoundError:
            state = ImageState(image=name, width=width, height=height, unlabeled=width * height)
        if (state.height, state.width) != size:
            raise UsageError(
                f"{name!r} has {width} x {height} pixels, its labels have {state.width} x {state.height}; "
                "put the former image back, or remove it and add this one again"
            )
        return replace(state, id=self._id_of(state, row))

    def _id_of(self, state: ImageState, row: IndexedImage | None) -> str:
        """The id of an image, which stays whatever is done to it, as long as its file has the same content."""
        name, path = state.image, self.images_folder / state.image
        known = "" if row is None or row.state is None else row.state.id
        is_same = row is not None and row.problem is None and row.stamps.image == stamp_of(path)
        if known and (is_same or known in (content_id(path), content_id(path, name))):
            if state.revision and state.id not in ("", known):
                raise UsageError(f"{name!r} has labels of another image; put back its own work file, or remove that")
            return known
        if known and state.revision:
            raise UsageError(
                f"{name!r} was replaced by another picture, and its labels are of the former one; "
                "put the former image back, or remove it and add this one again"
            )

        def is_free(one: str) -> bool:
            return self.index.name_of(one) in (None, name) and not self.index.removed(one)

        # files may be copied by hand, with the id
        if not known and _ID.fullmatch(state.id) and is_free(state.id):
            return state.id
        return first if is_free(first := content_id(path)) else content_id(path, name)

    def _stamps(self, name: str) -> Stamps:
        return Stamps.of(self.images_folder / name, ImageFiles.below(self.folder, name))


_ID = re.compile("[0-9a-f]{16}")


def _time_of(folder: str) -> float:
    """When the entries of a folder changed; NaN, which equals nothing, if that is just now."""
    with suppress(OSError):
        changed = os.stat(folder).st_mtime_ns
        return changed if time.time_ns() - changed > _SETTLED else math.nan
    return 0


def _is_edited(files: ImageFiles, state: ImageState) -> bool:
    """Whether a label map isn't that of its image's work file."""
    if not files.labels.is_file():
        return False
    if not state.revision:
        return True
    ours = read_packed(files.work, planes=(LABELS_ENTRY,)).planes[LABELS_ENTRY]
    return files.labels.read_bytes() != ours


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
