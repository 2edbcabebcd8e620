"""A run of `segvoc segment`: plans its inputs, labels those that no earlier call has finished, and prints their lines.

Reading, inference and writing are concurrent.
"""

import json
import os
import re
import zlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from segvoc.errors import DiskFullError, InputError, OutputError, SegvocError, UsageError, one_line
from segvoc.imaging.result_paths import InputImage, ResultFiles, image_paths, skipped_files_line
from segvoc.imaging.tiff_tags import is_raster
from segvoc.imaging.video_reading import is_video
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.big_images import TileTask
from segvoc.labeling.images import ImageTask, batches_of
from segvoc.labeling.journals import finish_dataset, image_work, recorded_path
from segvoc.labeling.processes import label_in_processes
from segvoc.labeling.task import FolderWork, Labeled, Labeling, Outcome, Planned, Task, result_stamp
from segvoc.labeling.videos import VideoTask
from segvoc.runtime.ordered_calls import run_ordered
from segvoc.runtime.progress import Progress, print_line
from segvoc.storage.resume import Stamp, stamp_of
from segvoc.vocabulary import NO_WORDS, Vocabulary

MAX_WAITING_RESULTS = 8
"""Maximum number of queued results; the network waits beyond it."""

MAX_WAITING_PIXELS = 50_000_000
"""Maximum number of pixels of queued results (9 bytes or more each); the network waits beyond it."""

_WRITERS = 4
"""Number of writer threads; they mostly wait for fsync."""


class LabelingRun:
    """A call of `segvoc segment`: it is planned, and the model loaded, on creation; `run` labels.

    Prints the lines that the command prints; see `Labeling` for what is labeled and how.

    Raises:
        UsageError: inputs, words and options conflict, or two results would have one name.
        CheckpointError: the model can't be loaded.
    """

    def __init__(self, labeling: Labeling) -> None:
        skipped: Counter[str] = Counter()
        images = image_paths(labeling.inputs, labeling.out, skipped)
        if (line := skipped_files_line(skipped)) is not None:
            print_line(f"segvoc: {line}")
        self.task = task_of(labeling, images)
        self._all = list(zip(images, self.task.plan(images), strict=True))
        self._inputs = [pair for pair in self._all if labeling.shard is None or _is_in_shard(pair[0], labeling.shard)]
        self.model: Segmenter | None = labeling.load()
        """The model; None once each process has loaded its own."""
        if labeling.words is None and labeling.parts is None:
            self.task = replace(self.task, labeling=_with_known_words(self.task.labeling, self.model, images))

    def run(self) -> int:
        """Label the inputs that aren't finished; returns the exit code: 1 if some failed, or are damaged.

        Raises:
            UsageError: words and options conflict, earlier results have other settings, or another process labels the
                same inputs.
            DiskFullError: the disk is full; the finished inputs are recorded.
            ProcessError: a process was killed, or couldn't load the model.
        """
        call, task, model = self.task.labeling, self.task, self.model
        assert model is not None
        settings, words = task.settings(model), ()
        if call.dataset is not None:
            words = call.encoded(model).words
            call.dataset.check(words)
        planned = [(image.path, files) for image, files in self._inputs if files is not None]
        # a call with one input has nothing to resume, so it leaves only its results
        is_recorded = call.resume or len(self._all) > 1 or call.dataset is not None
        with image_work(call, settings) if is_recorded else nullcontext() as work:
            done = set[str]()
            if work is not None and call.resume:
                work.done.require_key(call.out, "leave out --resume to replace them, or give another --out")
                done = task.finished(work, planned, model)
            unfinished = [(path, files) for path, files in planned if files.stem not in done]
            batches = batches_of(unfinished, model.batch)
            if min(call.jobs, len(batches)) > 1:
                outcomes = label_in_processes(label_inputs, task, model, batches, work)
                self.model = model = None
            else:
                outcomes = label_inputs(task, model, unfinished, work)
            with closing(outcomes):
                is_complete = self._print(done, outcomes)
                next(outcomes, None)  # warns of hints
            if call.dataset is not None:
                named = [(image.path, files) for image, files in self._all if files is not None]
                finish_dataset(call.dataset, words, settings, call.inputs, named)
        return 0 if is_complete else 1

    def _print(self, done: Set[str], outcomes: Iterator[Outcome]) -> bool:
        """Print the line or error of each input, those of earlier calls included; whether all are labeled, whole."""
        kind, is_stream, total = self.task.kind, self.task.is_stream, len(self._inputs)
        failures = damaged = 0
        if done and is_stream:
            print_line(f"segvoc: {len(done)} of {total} images were already done")
        with Progress("labeling", total=total, done=len(done), silent=len(self._all) == 1 or not is_stream) as progress:
            for image, files in self._inputs:
                outcome: Outcome | None
                if files is None:
                    outcome, is_done = InputError(image.problem or "nothing to read"), False
                elif is_done := files.stem in done:
                    outcome = _earlier_report(files) if self.task.labeling.as_json else None
                    if not is_stream:
                        print_line(f"segvoc: {str(image.path)!r} was already done")
                else:
                    outcome = next(outcomes)
                if isinstance(outcome, DiskFullError):
                    so_far = f"; {progress.done - failures} of {total} {kind} are done; run again with --resume"
                    raise DiskFullError(f"{outcome}{f'{so_far} for the others' if total > 1 else ''}")
                if isinstance(outcome, SegvocError):
                    failures += 1
                    print_line(f"segvoc: error: {outcome}")
                elif outcome is not None:
                    damaged += not outcome.is_whole
                    print_line(outcome.line, err=False)
                progress.update(not is_done)
        if failures and total > 1:
            rest = "" if failures == total else ", the others are done"
            print_line(f"segvoc: {failures} of {total} {kind} failed{rest}")
        return not failures and not damaged


def task_of(labeling: Labeling, images: Sequence[InputImage]) -> Task:
    """The task that labels these inputs, which are of one kind; `UsageError` if it lacks an option of the call."""
    named = [image.path for image in images if image.problem is None]
    videos = [path for path in named if is_video(path)]
    if videos and len(videos) < len(named):
        image = next(path for path in named if not is_video(path))
        raise UsageError(f"{str(videos[0])!r} is a video, {str(image)!r} is not; label videos and images in two calls")
    if videos:
        return VideoTask(labeling)
    # only a TIFF in tiles is stretched by all of its values
    is_stretched = "--stretch" in labeling.given and not labeling.given & {"--parts", "--format", "--jobs"}
    if "--tile" in labeling.given or (is_stretched and all(is_raster(image.path) for image in images)):
        return TileTask(replace(labeling, options=labeling.options.in_tiles()))
    return ImageTask(labeling)


def _is_in_shard(image: InputImage, shard: str) -> bool:
    """Whether an image is in shard K/N, by a hash of its name: independent of the other images."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
    number, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= of:
        raise UsageError(f"--shard {shard!r} is invalid; give K/N, for example 1/4")
    name = image.stem + image.path.suffix if image.stem else str(image.path)
    return zlib.crc32(os.fsencode(name)) % of == number - 1


def _with_known_words(labeling: Labeling, model: Segmenter, images: Sequence[InputImage]) -> Labeling:
    """The call with the words, and the background, that the model was trained on or taught."""
    if not (known := model.own_words):
        strays = [image.path for image in images if not image.path.suffix and not image.path.exists()]
        if not strays or len(strays) == len(images):
            raise UsageError(NO_WORDS)
        listed, image = ", ".join(map(str, strays)), next(image.path for image in images if image.path not in strays)
        raise UsageError(f'no words are given; if {listed} are words: segvoc segment {image} --words "{listed}"')
    print_line(f"segvoc: the words of {model.name}: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}")
    options = replace(labeling.options, background=labeling.options.background or model.own_background)
    return replace(labeling, words=Vocabulary(known), options=options)


def _earlier_report(files: ResultFiles) -> Outcome:
    try:
        return Labeled(json.dumps(files.read_report(), allow_nan=False))
    except (OSError, ValueError) as error:
        return OutputError(f"{str(files.report)!r} of an earlier run can't be read ({one_line(error)}); try again")


def label_inputs(
    task: Task, model: Segmenter, planned: Sequence[Planned], work: FolderWork | None = None
) -> Generator[Outcome, None, None]:
    """Label inputs; threads write results while the network processes the next inputs, if the task is a stream.

    Returns a generator of the outcome of each input, in order and after its files are written and `work` has recorded
    it. Closing it waits for pending writes. If the words and options conflict, this call raises `UsageError`, not the
    iterator.
    """
    stamps: deque[Stamp] = deque()

    def watched() -> Iterator[Planned]:
        for path, files in planned:
            stamps.append(stamp_of(path))
            yield path, files

    results = task.label(model, watched())

    def calls() -> Generator[tuple[Callable[[], Outcome], int], None, None]:
        for (path, files), result in zip(planned, results, strict=True):
            pixels = result.labels.size if isinstance(result, Segmentation) else 0
            yield partial(_written, task, work, path, files, stamps.popleft(), result), pixels
            del result  # the writer thread holds the last reference

    def outcomes() -> Generator[Outcome, None, None]:
        if not task.is_stream:
            yield from (call() for call, _ in calls())
            return
        # leaving the block waits for pending writes, also after Ctrl-C
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="segvoc-writer") as pool:
            yield from run_ordered(pool, calls(), MAX_WAITING_RESULTS, MAX_WAITING_PIXELS)

    return outcomes()


def _written(task: Task, work: FolderWork | None, path: Path, files: ResultFiles, read: Stamp, result: Any) -> Outcome:
    """Write and record the result of an input."""
    if isinstance(result, SegvocError):
        return result
    try:
        labeled = task.write(result, files)
        if work is not None and labeled.is_whole:
            image = None if task.labeling.dataset is None else recorded_path(path)
            work.finish(files.stem, result_stamp(path, read, files), image)
    except SegvocError as error:
        return error
    return labeled
