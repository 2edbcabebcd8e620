"""The labels of a project as a dataset of another program, with the images."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from segvoc import OutputError, Segmentation, SegvocError, UsageError
from segvoc.encoders.lexicon import surfaces_among
from segvoc.errors import LongNameError
from segvoc.imaging.connected_regions import segments
from segvoc.imaging.label_maps import UNLABELED, label_table
from segvoc.imaging.reading import read_image
from segvoc.inference.tracks import Tracks
from segvoc.labeling.formats.dataset import Dataset, EntryFiles
from segvoc.labeling.formats.table import named, writers
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import scratch_folder
from segvoc_annotate.projects.folder import ProjectFolder
from segvoc_annotate.projects.images import ProjectImage, stem_of
from segvoc_annotate.projects.people import each_once
from segvoc_annotate.projects.records import ImageState, VideoFrame
from segvoc_annotate.zip_files import ZipStream

_tracks = partial(Tracks, divides=False)

PROBLEMS_FILE = "problems.txt"
"""The file in an exported zip that lists images that failed to export, if any."""


@dataclass(frozen=True, kw_only=True)
class ProjectExport:
    """An export of a project.

    `UsageError` if the format is unknown, can't hold the words, or needs a missing package; or nothing is to export.
    """

    project: ProjectFolder
    format: str
    """As in `DatasetWriter`."""
    only_done: bool = True
    """Whether to export only images that are done; unlabeled images are always left out."""
    copy_images: bool = True

    def __post_init__(self) -> None:
        if not self.words:
            raise UsageError("the project has no words; add some: segvoc project words")
        self._dataset("").check(self.words)
        if not self.states:
            what = "is done; mark images as done on its page (N), or export all" if self.only_done else "has labels"
            raise UsageError(f"no image of the project {self.project.name!r} {what}")

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the dataset: the project's current words, in order."""
        return tuple(word.name for word in self.project.record.present)

    @cached_property
    def states(self) -> list[ImageState]:
        """The images to export, each photograph once; fixed at first access."""
        states = self.project.states()[0]
        wanted = (state for state in states if state.revision and (state.done or not self.only_done))
        return each_once(wanted, self.project)

    def to_folder(self, folder: str, on_step: Callable[[int, int], None] = lambda *_: None) -> list[str]:
        """Write the dataset into a folder; returns a line per image that failed to export.

        `on_step` is called with the number of images so far and of all. `OutputError` if the folder can't be written.
        """
        problems: list[str] = []
        for number, _ in enumerate(self._written(folder, problems), 1):
            on_step(number, len(self.states))
        return problems

    def to_zip(self, path: str | os.PathLike[str], on_step: Callable[[int, int], None] = lambda *_: None) -> list[str]:
        """Write the dataset as a zip, image by image; see `to_folder`."""
        problems = list[str]()
        with writing(path), open(path, "wb") as file:
            for piece in self._zipped(problems, on_step):
                file.write(piece)
        return problems

    def _zipped(self, problems: list[str], on_step: Callable[[int, int], None]) -> Iterator[bytes]:
        stream = ZipStream()
        with scratch_folder() as scratch:
            sent: set[Path] = set()
            for number, files in enumerate(self._written(scratch, problems), 1):
                on_step(number, len(self.states))
                if files is None:
                    continue
                for path in files:
                    if path != files.report and path.is_file():
                        yield from stream.add(path.relative_to(scratch).as_posix(), path)
                        sent.add(path)
                if files.image is not None:
                    (Path(scratch) / files.image).unlink()  # the scratch folder stays small
            for path in sorted(Path(scratch).rglob("*")):
                hidden = any(piece.startswith(".") for piece in path.relative_to(scratch).parts)
                if path.is_file() and path not in sent and not hidden:
                    yield from stream.add(path.relative_to(scratch).as_posix(), path)
        if problems:
            yield from stream.add_text(PROBLEMS_FILE, (f"{problem}\n" for problem in problems))
        yield from stream.end()

    def _written(self, folder: str, problems: list[str]) -> Iterator[EntryFiles | None]:
        """Write the images one by one, then the dataset's common files."""
        dataset, written, tracks = self._dataset(folder), list[EntryFiles](), defaultdict[str, Tracks](_tracks)
        is_of_videos = named(self.format, writers(of_videos=True)).of_videos
        for state in self.states:
            files = None
            try:
                image = self.project.image(state.image)
                result = self._result(image)
                if state.frame is not None and is_of_videos:
                    result = self._tracked(result, state.frame, tracks[state.frame.video])
                files = dataset.files(stem_of(image.name), image.path)
                dataset.write(result, files)
                written.append(files)
            except SegvocError as error:
                if isinstance(error, OutputError) and not isinstance(error, LongNameError):
                    raise
                problems.append(str(error))
                files = None
            yield files
        dataset.finish(self.words, written)

    def _dataset(self, folder: str) -> Dataset:
        return Dataset(
            folder=folder, format=self.format, background=self.project.record.background, copy_images=self.copy_images
        )

    def _tracked(self, result: Segmentation, frame: VideoFrame, tracks: Tracks) -> Segmentation:
        """A frame of a video, whose objects have the numbers of their tracks; they are as people made them.

        Of words without objects, each connected component is one, and all of a surface (sky, road, ...).
        """
        objects, stuff = np.zeros_like(result.labels), surfaces_among(self.words, self.project.record.background)
        for number, region in enumerate(segments(result.labels, len(self.words), stuff, result.object_map), 1):
            if number >= UNLABELED:
                raise UsageError(f"{result.source!r} has more than {UNLABELED - 1} regions; make objects of its words")
            objects[region.place][region.inside] = number
        numbers = tracks.follow(result.labels, objects)
        return replace(result, object_map=numbers, is_tracked=True, frame=frame.number, time=frame.time)

    def _result(self, image: ProjectImage) -> Segmentation:
        work = self.project.work(image.name)[1]
        pixels = read_image(image.path)
        if pixels.shape[:2] != work.labels.shape:
            raise UsageError(f"{image.name!r} has another size than its labels; was the image replaced?")
        # removed words are unlabeled
        labels = label_table(self.project.record.places)[work.labels]
        confidence = work.confidence_map()
        return Segmentation(
            labels=labels,
            words=self.words,
            confidence=confidence.astype(np.float32),
            selected=np.ones(len(self.words), bool),
            image=pixels,
            model=self.project.record.options.model,
            seconds=0.0,
            source=str(image.path),
            object_map=work.objects,
        )
