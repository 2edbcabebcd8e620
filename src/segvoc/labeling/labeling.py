"""Labeling a list of images in this process: reading, network and writing go on at the same time."""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from segvoc.errors import InputError, SegvocError
from segvoc.formats.dataset import Dataset, EntryFiles
from segvoc.formats.objects import with_objects
from segvoc.imaging.overlay import SAVED_OVERLAY, OverlayStyle
from segvoc.imaging.result_paths import ResultFiles
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.done_images import FolderWork, Planned, result_stamp, written
from segvoc.models.digests import model_record
from segvoc.storage.digests import digest_of
from segvoc.storage.locks import lock_folder
from segvoc.storage.resume import RESUME_FOLDER, Key, Stamp, stamp_of
from segvoc.version import __version__
from segvoc.vocabulary import PartVocabulary, Vocabulary

WRITERS = 4
"""Threads that write results. Mostly they wait for the disk, which makes sure of each file."""

WAITING_RESULTS = 8
"""Results that may wait to be written; the network waits when there are more."""

WAITING_PIXELS = 50_000_000
"""Pixels of all waiting results, of 9 bytes each and more, from which on the network waits."""

_TOLD = 5
"""Words by which a long list is recognized."""


@dataclass(frozen=True, kw_only=True)
class Labeling:
    """How images are labeled, and what is written. Other processes can be told."""

    load: Callable[[], Segmenter]
    """Loads the model."""
    words: Vocabulary | None
    """The words; None for those of the parts."""
    parts: PartVocabulary | None = None
    """As for `Segmenter.segment`."""
    options: LabelOptions = field(default_factory=LabelOptions)
    """How to label."""
    out: str
    """The output folder."""
    overlay: OverlayStyle | None = SAVED_OVERLAY
    """What overlays show; None: none are drawn."""
    compact: bool = False
    """Whether reports list only words that were found."""
    dataset: Dataset | None = None
    """The dataset to write in place of label maps, overlays and reports."""
    objects: bool = False
    """Whether the objects of things are counted."""
    least_object: int | None = None
    """Fewest pixels of an object [px]; see `with_objects`."""
    describe: Callable[[Segmentation, ResultFiles], str]
    """The line to print about an image."""

    def encoded(self, model: Segmenter) -> PreparedVocabulary:
        """The words, encoded by a model.

        Raises:
            UsageError: words, parts and background don't fit together.
        """
        return model.encode(self.words, parts=self.parts, background=self.options.background)

    def write(self, result: Segmentation, files: ResultFiles) -> str:
        """Write the results of an image.

        Returns:
            The line to print about it.

        Raises:
            OutputError: a file can't be written.
            UsageError: it has too many objects.
        """
        if self.objects:
            result = with_objects(result, least=self.least_object, background=self.options.background)
        if self.dataset is not None and isinstance(files, EntryFiles):
            self.dataset.write(result, files, compact=self.compact)
        else:
            result.save(self.out, files.stem, overlay=self.overlay, compact=self.compact)
        return self.describe(result, files)

    def settings(self, model: Segmenter) -> Key:
        """All that the results depend on."""
        return {
            **model_record(model),
            "words": None if self.words is None else _summary(self.words.words, self.words),
            "parts": None if self.parts is None else _summary([part.name for part in self.parts.parts], self.parts),
            **self.options.record(),
            "overlays": None if self.overlay is None else _listed(asdict(self.overlay)),
            "reports": "compact" if self.compact else "complete",
            "objects": (self.least_object or "default") if self.objects else None,
            "format": None if self.dataset is None else _listed(self.dataset.record()),
            "segvoc": __version__,
        }


def label_images(
    labeling: Labeling, model: Segmenter, images: Sequence[Planned], work: FolderWork | None = None
) -> Generator[str | SegvocError, None, None]:
    """Label images and write their results, in threads, while the network works on the next ones.

    Args:
        labeling: how.
        model: the loaded model.
        images: the images.
        work: keeps which images are done; None: nothing does.

    Returns:
        A generator of the line to print for each image, in order and once its files are whole; or its error. Closing it
        waits for what is being written.

    Raises:
        UsageError: the words and options don't fit together; raised by this call, not by the iterator.
    """
    stamps: deque[Stamp] = deque()

    def paths() -> Iterator[Path]:
        for path, _ in images:
            stamps.append(stamp_of(path))
            yield path

    results = model.segment_many(paths(), labeling.encoded(model), options=labeling.options, yield_errors=True)

    def write(path: Path, files: ResultFiles, read: Stamp, result: Segmentation) -> str:
        line = labeling.write(result, files)
        if work is not None:
            work.finish(files.stem, result_stamp(path, read, files))
        return line

    def lines() -> Generator[str | SegvocError, None, None]:
        # leaving the block waits until what was begun is written, also after Ctrl-C
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="segvoc-writer") as pool:
            waiting: deque[_Waiting] = deque()
            for (path, files), result in zip(images, results, strict=True):
                read = stamps.popleft()
                if isinstance(result, InputError):
                    waiting.append(_Waiting(result))
                else:
                    waiting.append(_Waiting(pool.submit(write, path, files, read, result), result.labels.size))
                del result  # the thread that writes it is the last to hold it
                while waiting and (_too_many(waiting) or waiting[0].is_done):
                    yield waiting.popleft().line()
            while waiting:
                yield waiting.popleft().line()

    return lines()


def dataset_words(labeling: Labeling, model: Segmenter) -> Sequence[str]:
    """The words of the dataset to write; none without one.

    Raises:
        UsageError: the format has no room for them.
    """
    if labeling.dataset is None:
        return ()
    words = labeling.encoded(model).words
    labeling.dataset.check(words)
    return words


def finish_dataset(dataset: Dataset | None, words: Sequence[str], settings: Key | None) -> None:
    """Write the files about all images of a dataset, from what all calls with the same settings have written so far.

    Of calls that end at the same time, one waits for the other, so the last one knows all images.

    Args:
        dataset: the dataset; without one, there is nothing to do.
        words: its words.
        settings: of the calls (`Labeling.settings`).

    Raises:
        OutputError: a file can't be written.
    """
    if dataset is None or settings is None:
        return
    lock = lock_folder(Path(dataset.folder, RESUME_FOLDER), wait=True)
    images = list(written(dataset.folder, settings, dataset.files))
    if images:
        dataset.finish(words, images)
    del lock


@dataclass(frozen=True)
class _Waiting:
    """An image that was labeled."""

    outcome: Future[str] | SegvocError
    """Gives its line once its results are written."""
    pixels: int = 0
    """Pixels of the results that are kept in memory for that."""

    @property
    def is_done(self) -> bool:
        return isinstance(self.outcome, SegvocError) or self.outcome.done()

    def line(self) -> str | SegvocError:
        if isinstance(self.outcome, SegvocError):
            return self.outcome
        try:
            return self.outcome.result()
        except SegvocError as error:
            return error


def _too_many(waiting: Collection[_Waiting]) -> bool:
    unfinished = [one for one in waiting if not one.is_done]
    return len(unfinished) > WAITING_RESULTS or sum(one.pixels for one in unfinished) > WAITING_PIXELS


def _listed(settings: Mapping[str, object]) -> str:
    """Settings in one line."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _summary(names: Sequence[str], vocabulary: Vocabulary | PartVocabulary) -> str:
    """A vocabulary for people, and a digest of all of it."""
    more = f", ... ({len(names)} in all)" if len(names) > _TOLD else ""
    return f"{', '.join(names[:_TOLD])}{more} [{digest_of(vocabulary)[:8]}]"
