"""The loop of an evaluation: pictures are read ahead of the network and scored behind it, and each is kept at once."""

import os
import resource
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from segvoc.data.labelled_images import LabelledImages
from segvoc.distributed import Processes
from segvoc.errors import InputError
from segvoc.evaluation.fingerprint import fingerprint_of
from segvoc.evaluation.metrics.image_score import ImageScore, present_objects, score_image
from segvoc.evaluation.metrics.parts import guided_parts
from segvoc.evaluation.outcome import Failure, Origin, Outcome
from segvoc.evaluation.report.report import write_report
from segvoc.evaluation.score_journal import ScoreJournal, read_scores
from segvoc.evaluation.task import Picture, Settings, Task, TrueLabels
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter

READERS = 4
"""Threads that read pictures."""

AHEAD = 2
"""Batches that are read while the network works on one."""

BEHIND = 2
"""Batches that wait to be scored; more would only fill the memory."""

Begun = Callable[[int], object]
"""What is called before the first picture, with the number of those that this process has yet to do."""

Said = Callable[[Picture, str | None], object]
"""What is called after each picture, with what was wrong with it (None: nothing)."""


def evaluate(
    segmenter: Segmenter,
    task: Task | LabelledImages,
    out: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    origin: Origin | None = None,
    processes: Processes | None = None,
    begun: Begun = lambda left: None,
    said: Said = lambda picture, problem: None,
) -> dict[str, Any] | None:
    """Label the pictures of a task, compare with the truth, and write a report.

    What is done is kept in the report's folder picture by picture: killed and called again, it goes on, and the scores
    are the same to the last digit. Pictures whose files have changed since are done anew. Of several processes
    (`Processes`) each does its share; the first one adds up the counts, which is exact.

    Args:
        segmenter: the network.
        task: images and the rules by which they are scored; labelled images alone are scored in all their classes.
        out: the report's folder.
        settings: the way to label and score.
        origin: where the network comes from, which it doesn't tell itself.
        processes: this one among several; by default alone.
        begun: called before the first picture.
        said: called after each picture, from several threads.

    Returns: what `report.json` holds; None in all processes but the first.

    Raises:
        UsageError: the folder holds the evaluation of another call, or options don't fit together.
        OutputError: a file can't be written.
    """
    settings, processes, report = settings or Settings(), processes or Processes(), Path(out)
    origin = origin or Origin(preset=segmenter.name)
    task = Task.of_images(task) if isinstance(task, LabelledImages) else task
    pictures = task.pictures(settings.limit, random_substitution=settings.random_substitution)
    network = Network(segmenter, task, settings)
    start = time.perf_counter()
    fingerprint = fingerprint_of(segmenter, origin, task, pictures, settings)
    with ScoreJournal(report, fingerprint, processes.rank) as journal:
        done = _current(report, pictures)
        chunks = [pictures[at : at + network.batch] for at in range(0, len(pictures), network.batch)]
        # a batch is done as a whole or not at all: what stands beside a picture may change its last bits
        mine = [chunk for chunk in processes.share(chunks) if not all(picture.stem in done for picture in chunk)]
        begun(sum(map(len, mine)))
        failures = label_and_score(network, mine, journal, said)
        gathered = processes.gather((failures, peak_memory(segmenter.device)))
        if not processes.first:
            return None
    scores = _current(report, pictures)
    order = {picture.stem: index for index, picture in enumerate(pictures)}
    outcome = Outcome(
        pictures=pictures,
        scores=[scores[picture.stem] for picture in pictures if picture.stem in scores],
        failures=sorted(
            (failure for failures, _ in gathered for failure in failures), key=lambda failure: order[failure.stem]
        ),
        peak_memory=max(memory for _, memory in gathered),
        processes=processes.count,
        resumed=len(done),
        seconds=time.perf_counter() - start,
    )
    return write_report(report, task, origin, outcome, fingerprint, network.labelled)


class Network:
    """A segmenter with the words and the way of a task. batch: pictures that it takes at a time."""

    def __init__(self, segmenter: Segmenter, task: Task, settings: Settings) -> None:
        self.segmenter, self.task, self.settings = segmenter, task, settings
        self.batch = segmenter.batch if task.parts is None else 1
        self._guides: list[list[int]] = []
        if task.parts is not None:
            self._guides = guided_parts(
                task.parts.objects, task.parts.object_of, task.classes, substring=settings.substring_guide
            )

    def labelled(self, truths: Sequence[TrueLabels]) -> list[Segmentation]:
        """The results of some pictures; for parts with `among` for each object that is there."""
        among = [self._guides[owner] for owner in present_objects(truths[0].objects)] if self._guides else []
        return self.segmenter.segment(
            [truth.image for truth in truths],
            self.task.images.vocabulary,
            window=self.settings.window,
            keep_classes=self.settings.keep_classes,
            background=self.task.asked_background(self.segmenter.network.has_background),
            threshold=self.settings.threshold,
            groups=among,
        )

    def score(self, picture: Picture, truth: TrueLabels, result: Segmentation) -> ImageScore:
        """Compare a result with the truth."""
        return score_image(self.task, picture, truth, result, boundary=self.settings.boundary)


def label_and_score(
    network: Network, chunks: Sequence[Sequence[Picture]], journal: ScoreJournal, said: Said
) -> list[Failure]:
    """Label all pictures of some batches, and keep their scores in the journal.

    Returns: the pictures that can't be read.

    Raises:
        OutputError: the journal can't be written.
    """
    failures: list[Failure] = []
    scoring: deque[Future[None]] = deque()
    scorer = ThreadPoolExecutor(1, "scorer")

    def keep(pictures: Sequence[Picture], truths: Sequence[TrueLabels], results: Sequence[Segmentation]) -> None:
        for picture, truth, result in zip(pictures, truths, results, strict=True):
            journal.append(network.score(picture, truth, result))
            said(picture, None)

    try:
        for chunk in _read_ahead(chunks, len(network.task.images.vocabulary)):
            good: list[tuple[Picture, TrueLabels]] = []
            for picture, reading in chunk:
                try:
                    good.append((picture, reading.result()))
                except InputError as error:
                    failures.append(Failure(stem=picture.stem, error=str(error)))
                    said(picture, str(error))
            if good:
                pictures, truths = [picture for picture, _ in good], [truth for _, truth in good]
                scoring.append(scorer.submit(keep, pictures, truths, network.labelled(truths)))
            while len(scoring) > BEHIND:
                scoring.popleft().result()
        for future in scoring:
            future.result()
    finally:
        scorer.shutdown(cancel_futures=True)
    return failures


def _read_ahead(
    chunks: Sequence[Sequence[Picture]], classes: int
) -> Iterator[list[tuple[Picture, Future[TrueLabels]]]]:
    """Each batch with its pictures being read, a few batches before it is asked for."""
    readers = ThreadPoolExecutor(READERS, "reader")
    reading: deque[list[tuple[Picture, Future[TrueLabels]]]] = deque()
    try:
        for chunk in chunks:
            reading.append([(picture, readers.submit(picture.read, classes)) for picture in chunk])
            if len(reading) > AHEAD:
                yield reading.popleft()
        yield from reading
    finally:
        readers.shutdown(cancel_futures=True)


def _current(report: Path, pictures: Sequence[Picture]) -> dict[str, ImageScore]:
    """The scores that are kept, by stem; without those of files that have changed since."""
    stamps = {picture.stem: picture.stamp() for picture in pictures}
    return {score.stem: score for score in read_scores(report) if score.stamp == stamps.get(score.stem)}


def peak_memory(device: torch.device) -> float:
    """The most memory that was in use, on the GPU if there is one, else of the process [GB]."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
