"""Labeling a list of images, in one or several processes, with concurrent reading, inference and writing."""

import json
import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from dataclasses import KW_ONLY, asdict, dataclass, field
from functools import partial
from itertools import chain
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from typing import TypeVar

from segvoc.errors import (
    InputError,
    LabelingWarning,
    ProcessError,
    PromptTruncatedWarning,
    SegvocError,
    UnknownWordWarning,
    UsageError,
    one_line,
)
from segvoc.imaging.overlay import SAVED_OVERLAY, OverlayStyle
from segvoc.imaging.reading import file_name
from segvoc.imaging.result_paths import PathLike, ResultFiles
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.reports import LabeledFile
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.formats.dataset import Dataset, EntryFiles
from segvoc.labeling.formats.objects import with_objects
from segvoc.models.digests import model_device, model_record
from segvoc.runtime import process_settings
from segvoc.runtime.version import __version__
from segvoc.storage.files import digest_of, strict_json
from segvoc.storage.journal import lock_folder
from segvoc.storage.resume import RESUME_FOLDER, Key, ResumableWork, Stamp, read_done, stamp_of
from segvoc.vocabulary import PartVocabulary, Vocabulary

_JOURNALS = "images-*.jsonl"

Planned = tuple[Path, ResultFiles]
"""An image and its result files."""

FolderWork = ResumableWork[object]
"""The images of a call."""


def image_work(out: str | os.PathLike[str], key: Key, sources: Sequence[str], shard: str | None = None) -> FolderWork:
    """Start the work of a call on these files, folders and patterns (or a shard K/N), locked against other calls."""
    name = f"images-{digest_of(sorted(map(os.path.realpath, sources)), shard)[:16]}"
    what, share = ("the same images", "stop it and share them: --shard 1/2 in one call and 2/2 in the other")
    if shard is not None:
        what, share = f"--shard {shard} of the same images", "give another --shard"
    busy = f"another call is labeling {what} into {os.fspath(out)!r}; wait until it ends, or {share}"
    return ResumableWork(Path(out, RESUME_FOLDER, f"{name}.jsonl"), key, writers=_JOURNALS, busy=busy)


def result_stamp(path: Path, read: Stamp, results: ResultFiles) -> list[object]:
    """The stamp of a finished image, from the image's stamp before it was read, and from its written files."""
    return [file_name(path), read, [stamp_of(file) for file in results]]


def finished(work: FolderWork, planned: Iterable[Planned]) -> set[str]:
    """The finished images of the call, by the stems of their results; `UsageError` if all are of other settings."""
    work.done.require_key(work.path.parents[1], "leave out --resume to replace them, or give another --out")
    return {
        results.stem
        for path, results in planned
        if work.done.has(results.stem, result_stamp(path, stamp_of(path), results))
    }


WRITERS = 4
"""Number of writer threads; they mostly wait for fsync."""

WAITING_RESULTS = 8
"""Maximum number of queued results; the network waits beyond it."""

WAITING_PIXELS = 50_000_000
"""Maximum number of pixels of queued results (9 bytes or more each); the network waits beyond it."""

MAX_LISTED = 5
"""Maximum number of words shown of a long list."""


@dataclass(frozen=True)
class Output:
    """Where the results of images or videos are written, and which."""

    folder: PathLike = "out"
    _: KW_ONLY
    stem: str | None = None
    """Common name of the results of a single file, by default its name without suffix."""
    overlay: OverlayStyle | None = SAVED_OVERLAY
    """Settings of overlays; None: no overlays."""
    compact: bool = False
    """Whether reports list only words that have pixels."""
    resume: bool = False
    """Whether to resume an earlier call with the same settings."""


@dataclass(frozen=True, kw_only=True)
class Labeling:
    """How to label images and what to write; picklable for worker processes."""

    load: Callable[[], Segmenter]
    words: Vocabulary | None
    """The words; None: the words of the parts."""
    parts: PartVocabulary | None = None
    options: LabelOptions = field(default_factory=LabelOptions)
    output: Output
    dataset: Dataset | None = None
    """The dataset to write instead of label maps, overlays and reports."""
    objects: bool = False
    least_object: int | None = None
    """Minimum size of an object [px]; see `with_objects`."""
    describe: Callable[[Segmentation | LabeledFile, ResultFiles], str]
    """The line to print about an image."""

    def encoded(self, model: Segmenter) -> PreparedVocabulary:
        """Encode the words with a model; `UsageError` if words, parts and background conflict."""
        return model.encode(self.words, parts=self.parts, background=self.options.background)

    def write(self, result: Segmentation, files: ResultFiles) -> str:
        """Write the results of an image, and return the line to print about it."""
        if self.objects:
            result = with_objects(result, least=self.least_object, background=self.options.background_name)
        output = self.output
        if self.dataset is not None and isinstance(files, EntryFiles):
            self.dataset.write(result, files, compact=output.compact)
        else:
            result.save(output.folder, files.stem, overlay=output.overlay, compact=output.compact)
        return self.describe(result, files)

    def settings(self, model: Segmenter) -> Key:
        """The settings that the results depend on."""
        overlay = self.output.overlay
        return {
            **model_record(model),
            "words": None if self.words is None else _summary(self.words.words, self.words),
            "parts": None if self.parts is None else _summary([part.name for part in self.parts.parts], self.parts),
            **self.options.record(),
            "overlays": None if overlay is None else _listed(asdict(overlay)),
            "reports": "compact" if self.output.compact else "complete",
            "objects": (self.least_object or "default") if self.objects else None,
            "format": None if self.dataset is None else _listed(self.dataset.record()),
            "segvoc": __version__,
        }


def label_images(
    labeling: Labeling, model: Segmenter, images: Sequence[Planned], work: FolderWork | None = None
) -> Generator[str | SegvocError, None, None]:
    """Label images; threads write results while the network processes the next images.

    Returns a generator of the line to print for each image, in order and after its files are written and `work` has
    recorded it; or its error. Closing it waits for pending writes. If the words and options conflict, this call raises
    `UsageError`, not the iterator.
    """
    stamps: deque[Stamp] = deque()

    def paths() -> Iterator[Path]:
        for path, _ in images:
            stamps.append(stamp_of(path))
            yield path

    results = model.segment_many(paths(), labeling.encoded(model), options=labeling.options, yield_errors=True)

    def calls() -> Generator[tuple[Callable[[], str | SegvocError], int], None, None]:
        for (path, files), result in zip(images, results, strict=True):
            pixels = 0 if isinstance(result, InputError) else result.labels.size
            yield partial(_written, labeling, work, path, files, stamps.popleft(), result), pixels
            del result  # the writer thread holds the last reference

    def lines() -> Generator[str | SegvocError, None, None]:
        # leaving the block waits for pending writes, also after Ctrl-C
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="segvoc-writer") as pool:
            yield from in_order(pool, calls(), WAITING_RESULTS, WAITING_PIXELS)

    return lines()


_Outcome = TypeVar("_Outcome")


def in_order(
    pool: ThreadPoolExecutor,
    calls: Generator[tuple[Callable[[], _Outcome], int], None, None],
    most: int,
    most_size: float = math.inf,
) -> Iterator[_Outcome]:
    """Run calls, each given with a size, in a pool, and yield their outcomes in order as soon as they are there.

    It doesn't take the next call while more than `most` are unfinished, or more than `most_size` together. After an
    error of a call, `calls` is closed.
    """
    waiting: deque[tuple[Future[_Outcome], int]] = deque()

    def are_too_many() -> bool:
        unfinished = [size for future, size in waiting if not future.done()]
        return len(unfinished) > most or sum(unfinished) > most_size

    with closing(calls):
        for call, size in calls:
            waiting.append((pool.submit(call), size))
            del call
            while waiting and (are_too_many() or waiting[0][0].done()):
                yield waiting.popleft()[0].result()
    while waiting:
        yield waiting.popleft()[0].result()


def dataset_words(labeling: Labeling, model: Segmenter) -> Sequence[str]:
    """The words of the dataset to write; empty without a dataset. `UsageError` if the format can't hold them."""
    if labeling.dataset is None:
        return ()
    words = labeling.encoded(model).words
    labeling.dataset.check(words)
    return words


def finish_dataset(dataset: Dataset | None, words: Sequence[str], settings: Key | None) -> None:
    """Write the dataset-wide files, from the results of all calls with the same settings so far.

    Concurrent calls are serialized by a lock, so the last call sees all images. Without a dataset or settings
    (`Labeling.settings`), there is nothing to do.
    """
    if dataset is None or settings is None:
        return
    with lock_folder(Path(dataset.folder, RESUME_FOLDER), wait=True):
        images: dict[str, EntryFiles] = {}
        for stem, (name, _, stamps), _ in read_done(Path(dataset.folder, RESUME_FOLDER).glob(_JOURNALS), settings):
            files = dataset.files(stem, name)
            if stamps == json.loads(strict_json([stamp_of(file) for file in files])):
                images[stem] = files
        if images:
            dataset.finish(words, images.values())


def _written(
    labeling: Labeling,
    work: FolderWork | None,
    path: Path,
    files: ResultFiles,
    read: Stamp,
    result: Segmentation | InputError,
) -> str | SegvocError:
    """Write the results of an image; the line to print about it, or the error."""
    if isinstance(result, InputError):
        return result
    try:
        line = labeling.write(result, files)
        if work is not None:
            work.finish(files.stem, result_stamp(path, read, files))
    except SegvocError as error:
        return error
    return line


def _listed(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _summary(names: Sequence[str], vocabulary: Vocabulary | PartVocabulary) -> str:
    """The first words of a vocabulary, and a digest of all."""
    more = f", ... ({len(names)} in all)" if len(names) > MAX_LISTED else ""
    return f"{', '.join(names[:MAX_LISTED])}{more} [{digest_of(vocabulary)[:8]}]"


_LAST_IMAGE = 30.0
"""Timeout for a worker process to finish its current images [s]."""


def label_in_processes(
    labeling: Labeling, model: Segmenter, groups: Sequence[Sequence[Planned]], jobs: int, work: FolderWork | None = None
) -> Generator[str | SegvocError, None, None]:
    """Label batches of images like `label_images`, in several processes, which share the CPU's cores.

    `model` validates words and options; each process loads a copy. The generator raises `ProcessError` if a process was
    killed, or couldn't load the model; this call `UsageError` if words and options conflict, or the model is on a GPU.
    """
    if model_device(model) != "cpu":
        raise UsageError("a GPU labels images in batches, not in several processes; leave out --jobs, or --device cpu")
    label_images(labeling, model, []).close()
    return _in_order(labeling, groups, min(jobs, len(groups)), work)


def _in_order(
    labeling: Labeling, groups: Sequence[Sequence[Planned]], jobs: int, work: FolderWork | None
) -> Generator[str | SegvocError, None, None]:
    threads = max(1, (process_settings.onnx_threads() or process_settings.cores()) // max(1, jobs))
    context = get_context("spawn")  # threads don't survive a fork
    workers: list[tuple[BaseProcess, Connection]] = []
    try:
        for job in range(jobs):
            ours, theirs = context.Pipe(duplex=False)
            mine = list(chain.from_iterable(groups[job::jobs]))
            # each process has a journal of its own
            begin = work and partial(ResumableWork, work.path.with_stem(f"{work.path.stem}-{job}"), work.key)
            process = context.Process(target=_serve, args=(theirs, labeling, mine, begin, threads), daemon=True)
            with process_settings.interrupts_ignored():
                process.start()
            theirs.close()
            workers.append((process, ours))
        for number, group in enumerate(groups):
            process, connection = workers[number % jobs]
            for _ in group:
                yield _next_line(connection, process)
    finally:
        for _, connection in workers:
            connection.close()
        for process, _ in workers:
            process.join(_LAST_IMAGE)
            process.kill()


def _next_line(connection: Connection, process: BaseProcess) -> str | SegvocError:
    while True:
        try:
            received = connection.recv()
        except (EOFError, OSError):
            process.join()
            raise ProcessError(
                f"{process_settings.exit_reason(process.exitcode)}; what it had finished is kept: "
                "give --resume to go on, and fewer --jobs if memory is short"
            ) from None
        if isinstance(received, Warning):
            warnings.warn(received, stacklevel=4)
        elif isinstance(received, ProcessError):  # of the whole process
            raise received
        else:
            return received


def _serve(
    connection: Connection,
    labeling: Labeling,
    images: Sequence[Planned],
    begin: Callable[[], FolderWork] | None,
    threads: int,
) -> None:
    process_settings.exit_when_parent_dies()
    process_settings.for_own_process(threads)
    lock = Lock()

    def send(message: object) -> None:
        with lock:
            connection.send(message)

    # the parent has already warned about the words
    for known in (LabelingWarning, PromptTruncatedWarning, UnknownWordWarning):
        warnings.simplefilter("ignore", known)
    process_settings.ignore_warnings_of_image_libraries()
    warnings.showwarning = lambda message, *_, **__: send(message)
    # the parent has exited, or closed the pipe
    with suppress(BrokenPipeError, ConnectionResetError):
        try:
            with nullcontext() if begin is None else begin() as work:
                with closing(label_images(labeling, labeling.load(), images, work)) as lines:
                    for line in lines:
                        send(line)
        except SegvocError as error:
            send(ProcessError(str(error)))
        except Exception as error:
            send(ProcessError(f"a process failed with an unexpected {type(error).__name__}: {one_line(error)}"))
