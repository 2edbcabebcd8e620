"""Imports images with labels into a project: datasets, folders, frames of videos, other projects."""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from segvoc import InputError, LabeledImages, SegvocError, UsageError, read_dataset, read_label_map
from segvoc.data.labeled_images import LabeledImage
from segvoc.errors import DiskFullError
from segvoc.imaging.label_maps import UNLABELED, label_table
from segvoc.imaging.result_paths import folded, image_paths
from segvoc.imaging.video_reading import Frame, OpenVideo, frames_ahead
from segvoc.labeling.formats.opening import marked_formats
from segvoc.labeling.formats.parsed import AnnotatedImage
from segvoc.labeling.formats.project import is_project
from segvoc.storage.files import scratch_folder
from segvoc_annotate.projects.archive import project_in, unpack_project
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.images import checked_name, content_id, encoded
from segvoc_annotate.projects.project import Project
from segvoc_annotate.projects.records import EVERY, ImageState, Review, VideoFrame
from segvoc_annotate.projects.work_files import LabelWork, relabeled, with_ids
from segvoc_annotate.settings import MAX_EDITED_PIXELS
from segvoc_annotate.zip_files import unpack_zip, zip_names

OnStep = Callable[[int, int], None]
"""Called with the number of images so far and of all."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The result of an import."""

    added: list[str] = field(default_factory=list)
    """Images now in the project as imported, including those already there with the same labels."""
    problems: list[str] = field(default_factory=list)
    """A line per image that failed to import."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Other files in a folder of images, by suffix."""
    remarks: list[str] = field(default_factory=list)
    """What to know of a dataset's labels (`LabeledImages.remarks`)."""


@dataclass(frozen=True, kw_only=True)
class Importing:
    """Adds images, with labels, to a project; safe to interrupt and repeat.

    New words are added. Images already in the project keep their labels; unlabeled ones get the imported ones. All
    methods raise `OutputError` if the disk is full or the project can't be written, and `UsageError` if the words can't
    be used.
    """

    project: Project
    done: bool = False
    """Whether to mark a dataset's images as done; another project's images keep their state."""
    by: str = "import"
    """Who imports them."""
    max_pixels: int = MAX_EDITED_PIXELS
    """Max pixels per image."""
    on_step: OnStep = lambda *_: None
    """Called with the number of images so far and of all."""

    def dataset(self, dataset: LabeledImages) -> Imported:
        """Add the images of a dataset with their labels; a project without words takes over its background, too."""
        result, words, before = Imported(), dataset.vocabulary.words, self.project.record
        record = self.project.add_words(words, by=self.by)
        if dataset.background is not None and not before.words:
            options = replace(record.options, background=dataset.background)
            record = self.project.update(expected=record.revision, options=options, by=self.by)
        ids = {word.name: word.id for word in record.present}
        table = label_table({index: ids[word] for index, word in enumerate(words)})
        for index, image in enumerate(dataset.images):
            with _noting(result):
                name = self._added(image.content(), _name_of(image), frame=_frame_of(image))
                # plain labels are a separate file per image, which may be missing
                if image.labels.exists() or type(image) is not LabeledImage:
                    state = self.project.state(self.project.image(name))
                    size = state.height, state.width
                    labels = image.read_labels(size, len(words))
                    objects = dataset.read_objects(index, size)
                    self._keep(name, LabelWork.of_labels(table[labels], objects), self.done)
                result.added.append(name)
            self.on_step(index + 1, len(dataset))
        return result

    def images(self, folder: str) -> Imported:
        """Add the images of a folder, without labels."""
        result = Imported()
        images = image_paths([folder], skipped=result.passed_over)
        for number, image in enumerate(images, 1):
            if image.problem is not None:
                result.problems.append(image.problem)
                continue
            with _noting(result):
                result.added.append(self._added(image.path, f"{image.stem}{image.path.suffix}"))
            self.on_step(number, len(images))
        return result

    def video(self, path: str | os.PathLike[str], every: int = EVERY) -> Imported:
        """Add each `every`-th frame of a video, from the first one on, as a JPEG without labels.

        Frames are named `clip/frame_000010.jpg` after the video and their number. Those that the project has stay as
        they are. `InputError` if the video can't be read; what is missing at its end is a problem.
        """
        if every < 1:
            raise UsageError(f"every={every} is out of range; take each frame (1), or each second one (2), ...")
        if not self.project.is_owned:
            images = str(self.project.images_folder)
            raise UsageError(f"the images of this project stay in {images!r}; import the video into another project")
        path, result = Path(path), Imported()
        with OpenVideo(path) as video, closing(self._frames(video, every)) as frames:
            id_, total = content_id(path), video.expected_frames or 0
            known = self._known_frames(id_)
            folder = os.path.dirname(next(iter(known.values()), "")) or self._free_folder(path.stem)
            for frame in frames:
                self.on_step(frame.number + 1, max(total, frame.number + 1))
                if frame.pixels is None:
                    continue
                with _noting(result):
                    if (name := known.get(frame.number)) is None:
                        content = encoded(Image.fromarray(frame.pixels), "JPEG", quality=95, subsampling=0)
                        time = round(float(frame.time * video.time_base), 6)
                        about = VideoFrame(video=id_, name=path.name, number=frame.number, time=time)
                        name = self._added(content, f"{folder}/frame_{frame.number:06}.jpg", frame=about)
                    result.added.append(name)
            if video.damage is not None:
                result.problems.append(f"{str(path)!r} is damaged ({video.damage}); the frames that it has were added")
        return result

    def _known_frames(self, video: str) -> dict[int, str]:
        """The images of a video's frames by their number."""
        states = self.project.frames().get(video, ())
        return {state.frame.number: state.image for state in states if state.frame is not None}

    def _free_folder(self, stem: str) -> str:
        """A name of no folder or image of the project; `UsageError` if it can't be one of a folder."""
        taken = {folded(PurePosixPath(name).parts[0]) for name in self.project.images()}
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        folder = next(name for name in names if folded(name) not in taken)
        checked_name(f"{folder}/frame.jpg")
        return folder

    def _frames(self, video: OpenVideo, every: int) -> Generator[Frame, None, None]:
        return frames_ahead(video.frames(lambda number: number % every == 0), video)

    def another(self, other: ProjectFolder) -> Imported:
        """Add the images of another project with all their data."""
        words = self.project.add_words([word.name for word in other.record.present])
        ids = {word.name: word.id for word in words.present}
        present = other.record.present
        moved = {word: ids[present[place].name] for word, place in other.record.places.items()}
        states, problems = other.states()
        result = Imported(problems=problems)
        ours = dict[str | None, str]()
        # copies come after what they are copies of
        for number, state in enumerate(sorted(states, key=lambda state: state.copy_of is not None), 1):
            with _noting(result):
                image, original = other.image(state.image), ours.get(state.copy_of, state.copy_of)
                about = {"copy_of": original, "person": state.person, "frame": state.frame}
                name = self._added(image.path, image.name, **about)
                ours[state.id] = self.project.state(self.project.image(name)).id
                if state.revision:
                    self._keep(name, with_ids(other.work(image.name)[1], moved), state.done, state.review)
                result.added.append(name)
            self.on_step(number, len(states))
        return result

    def edited(self) -> Imported:
        """Take over label maps in the project that another program changed: pixels that differ count as corrected."""
        result, project = Imported(), self.project
        names = project.edited()
        for number, name in enumerate(names, 1):
            with _noting(result):
                state, path = project.state(project.image(name)), project.files(project.image(name)).labels
                labels = read_label_map(path)
                if labels.shape != (state.height, state.width):
                    raise UsageError(f"{str(path)!r} has another size than the image; remove it")
                if unknown := set(np.unique(labels).tolist()) - project.record.ids - {UNLABELED}:
                    raise UsageError(f"{str(path)!r} has the value {min(unknown)}, the id of no word in the project")
                if state.revision:
                    project.rewrite(name, partial(relabeled, labels=labels), by=self.by)
                else:
                    project.write(name, LabelWork.of_labels(labels), expected=0, by=self.by)
                result.added.append(name)
            self.on_step(number, len(names))
        return result

    def path(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        images: str | None = None,
        split: str | None = None,
        background: str | None = None,
    ) -> Imported:
        """Add a dataset or another project from a folder, zip or annotation file; `UsageError` if it can't be read.

        The arguments are those of `read_dataset`; projects have the format "project".
        """
        if Path(path).suffix.lower() == ".zip" and Path(path).is_file():
            with scratch_folder() as scratch:
                return self.path(_unpacked(path, Path(scratch)), format, split=split, background=background)
        if format in (None, "project") and is_project(path):
            return self.another(ProjectFolder(path))
        found = read_dataset(path, format, images=images, split=split, background=background)
        return replace(self.dataset(found), remarks=found.remarks())

    def _added(self, image: Path | bytes, name: str, **about: Any) -> str:
        """Add an image by path or content unless it exists; return its name. `about`: see `Project.add`."""
        project = self.project
        if not project.is_owned:
            folder = project.images_folder.resolve()
            if isinstance(image, bytes) or not image.resolve().is_relative_to(folder):
                what = repr(name) if isinstance(image, bytes) else repr(str(image))
                raise UsageError(f"{what} is not in {str(project.images_folder)!r}, where the project's images are")
            return project.image(image.resolve().relative_to(folder).as_posix()).name
        try:
            content = image if isinstance(image, bytes) else image.read_bytes()
        except OSError as error:
            raise InputError(f"{str(image)!r} can't be read: {error.strerror}; check it") from None
        if project.has(name, content):
            return name
        return project.add(name, content, by=self.by, max_pixels=self.max_pixels, **about).image

    def _keep(self, name: str, work: LabelWork, done: bool, review: Review | None = None) -> None:
        """Store an image's labels, unless it has different ones."""
        project = self.project
        state: ImageState = project.state(project.image(name))
        if state.revision:
            if not np.array_equal(project.work(name)[1].labels, work.labels):
                raise UsageError(f"{name!r} has other labels already; they were kept")
        else:
            state = project.write(name, work, expected=0, by=self.by)
        if (done or review) and not state.done:
            project.set_done(name, done, expected=state.revision, by=self.by, review=review)


@contextmanager
def _noting(result: Imported) -> Iterator[None]:
    """Record an image's error and continue, unless the disk can't be written."""
    try:
        yield
    except DiskFullError:
        raise
    except SegvocError as error:
        result.problems.append(str(error))


def _unpacked(path: str | os.PathLike[str], scratch: Path) -> Path:
    """Unpack a zip and find the folder of its project or dataset."""
    if project_in(zip_names(path)) is not None:
        return unpack_project(path, scratch / "project").folder
    place = scratch / "dataset"
    unpack_zip(path, place, lambda name: None if "__MACOSX" in name else name)
    while place.is_dir() and len(entries := [one for one in place.iterdir() if one.name[0] != "."]) == 1:
        if not entries[0].is_dir() or entries[0].name == "annotations" or marked_formats(place):
            break
        place = entries[0]
    return place


def _frame_of(image: LabeledImage) -> VideoFrame | None:
    """Where an image of a dataset is in a video."""
    if not isinstance(image, AnnotatedImage) or image.frame is None:
        return None
    name, number = image.frame
    return VideoFrame(video=sha256(name.encode("utf-8", "replace")).hexdigest()[:16], name=name, number=number)


def _name_of(image: LabeledImage) -> str:
    """The name of an image in the project; stems include the suffix if names would clash."""
    suffix = image.image.suffix
    return image.stem if suffix and image.stem.endswith(suffix) else f"{image.stem}{suffix}"
