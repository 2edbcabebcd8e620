"""The trash of a project: removing images, restoring them, and deleting them for good."""

import math
import os
import re
import shutil
from contextlib import nullcontext, suppress
from pathlib import Path

from segvoc import InputError, UsageError
from segvoc.storage.atomic_writes import writing
from segvoc_annotate.projects.images import CACHES, TRASH, ImageFiles, checked_name, clash, content_id, move
from segvoc_annotate.projects.index import RemovedImage
from segvoc_annotate.projects.label_changes import LabelChanges
from segvoc_annotate.projects.record_changes import SOMEONE
from segvoc_annotate.projects.records import ImageState, NotInProjectError
from segvoc_annotate.projects.work_files import read_state_of


class TrashChanges(LabelChanges):
    """A project whose images can be removed; see `Project`."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder)
        with self.threads:
            self._find_trash()

    def remove(self, name: str, *, by: str = SOMEONE, change: str | None = None) -> None:
        """Move an image with all of its files to the trash, where images outside the project are only listed."""
        with self.threads:
            if self.index.has(change, name):
                return
            name = (self.index.name_of(name) if name.isprintable() else None) or name
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
            if self.index.has(change, name):
                return self.state(self.image(name))
            if not (removed := self.index.removed(name) if name.isprintable() else ()):
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

    def _fits(self, removed: RemovedImage, size: tuple[int, ...]) -> bool:
        """Whether the labels of a removed image, if any, have a size; it may have been replaced before."""
        with suppress(FileNotFoundError):
            state = read_state_of(ImageFiles.below(self._trash(removed), removed.image).work)
            return (state.height, state.width) == size
        return True

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
                if (image := _image_in(self.folder / TRASH / str(number))) is not None:
                    self.index.put_removed(*image, None, number)


_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def _image_in(trash: Path) -> tuple[str, str] | None:
    """The name and id of the image that a folder in the trash has, which may be outside the project."""
    found = [path for path in sorted((trash / "images").rglob("*")) if path.is_file()]
    works = sorted((trash / "work").rglob("*.zip"))
    with suppress(InputError, UsageError, OSError):
        state = read_state_of(works[0]) if works else None
        if found:
            name = found[0].relative_to(trash / "images").as_posix()
            return checked_name(name), state.id if state is not None and state.id else content_id(found[0])
        if state is not None:
            return checked_name(state.image), state.id
    return None
