"""The evaluation loop: images are prefetched, scores are computed in threads, and each is saved at once."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch

from segvoc.data.labeled_images import LabeledImages
from segvoc.encoders.lexicon import surfaces_among
from segvoc.errors import InputError, UsageError
from segvoc.evaluation.metrics import Confusion, guided_parts
from segvoc.evaluation.objects import compared_objects
from segvoc.evaluation.protocol import EvaluationProtocol, evaluation_protocol
from segvoc.evaluation.report import ModelOrigin, Report, build_report
from segvoc.evaluation.report_page import write_examples, write_html
from segvoc.evaluation.score_tables import csv_table, encoded, markdown_rows
from segvoc.evaluation.task import EvaluationImage, EvaluationSettings, EvaluationTask, GroundTruth, ImageScore
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.models.digests import model_device, weights_digest
from segvoc.runtime.distributed import Processes
from segvoc.runtime.hardware import peak_gigabytes
from segvoc.runtime.process_settings import float32_products
from segvoc.runtime.progress import Progress, print_line, printable
from segvoc.runtime.suggestions import checked_call
from segvoc.runtime.version import __version__
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import digest_of, write_json
from segvoc.storage.resume import DoneItems, ResumableWork, RunSettings, read_done

_T = TypeVar("_T")
_R = TypeVar("_R")

BATCHES_AHEAD, BATCHES_BEHIND = 2, 2
"""Batches that are read before the network needs them, and that wait for their scores; bounds memory."""

TF32 = False
"""Whether float32 products use TF32 on a GPU, regardless of the process-wide setting."""

_JOURNALS = "journal"

OnResult = Callable[[EvaluationImage, str | None], object]
"""Called after each image with the error, or None; from several threads."""


@checked_call
def evaluate(
    model: Segmenter,
    task: EvaluationTask | LabeledImages,
    out: str | os.PathLike[str],
    settings: EvaluationSettings | None = None,
    *,
    origin: ModelOrigin | None = None,
    processes: Processes | None = None,
    progress: bool = False,
    on_result: OnResult = lambda image, error: None,
) -> Report:
    """Segment labeled images, score the predictions, and write a report.

        model = segvoc.load("tiny")
        images = segvoc.LabeledImages.from_folders("images/", "labels/", "classes.json")
        report = segvoc.evaluate(model, images, "report/")
        print(report["miou"], {entry["name"]: entry["iou"] for entry in report["classes"]})

    For a benchmark prepared by `segvoc prepare`, pass `EvaluationTask.of_benchmark("a-150", "data/")` from
    `segvoc.evaluation.task`. It is scored by its published protocol (`segvoc.evaluation.protocol`) unless
    `settings` override it; the report then names the deviations.

    The score of each image is saved in `out` at once. If the process is killed, the same call resumes and gives the
    same report to the last digit; images whose files have changed since are scored again. Unreadable images are
    listed in `report["failures"]`.

    Args:
        model: what `segvoc.load` returns.
        task: labeled images, scored in all their classes; or an `EvaluationTask` with scoring rules.
        out: folder of the report (`report.json`, `classes.csv`, `row.md`, `index.html`, `images/`).
        settings: how to segment and score; by default a benchmark as published, other images as in `model.segment`.
        origin: where the weights come from, for the report and its comparison with published scores; by default weights
            of unknown origin for the preset that the network was built from.
        processes: the process group that shares the evaluation; see `segvoc.runtime.distributed.join_processes`.
        progress: whether to show progress, and a line for each unreadable image.
        on_result: called after each image.

    Returns:
        The content of `report.json`, in all processes: scores in percent, None where a score is not defined.

    Raises:
        UsageError: `out` holds another evaluation (other images, weights, settings, ...),
            or another process writes it.
        OutputError: a file can't be written.
    """
    settings, processes, report = settings or EvaluationSettings(), processes or Processes(), Path(out)
    origin = origin or ModelOrigin(preset=str(model.origin.get("preset", model.name)))
    task = EvaluationTask.of_images(task) if isinstance(task, LabeledImages) else task
    images = task.select_images(settings.limit)
    protocol = evaluation_protocol(model, task, settings, origin.preset)
    if protocol.options.objects and (task.parts is not None or task.collapse_from is not None):
        raise UsageError(f"{task.title} has no objects to score; leave out objects")
    segmenter = TaskSegmenter(model, task, protocol)

    def count(image: EvaluationImage, error: str | None) -> None:
        if error is not None and progress:
            print_line(f"segvoc: error: {error}")
        bar.update()
        on_result(image, error)

    start = time.perf_counter()
    fingerprint = _fingerprint(model, origin, task, images, settings, protocol)
    path, decode = report / _JOURNALS / f"rank-{processes.rank}.jsonl", ImageScore.from_json
    title = f"evaluating on {printable(task.title)}"
    with (
        Progress(title, silent=not (progress and processes.first), early=True) as bar,
        ResumableWork(path, fingerprint, writers="rank-*.jsonl", decode=decode) as work,
    ):
        work.done.require_key(report, "give another --out, or delete that folder")
        done = _current_scores(work.done, images)
        # a batch is redone as a whole: its other images may change the last bits of a result
        shared = processes.share(segmenter.batches(images))
        mine = [batch for batch in shared if not all(image.stem in done for image in batch)]
        bar.start(sum(map(len, mine)))
        failures = segment_and_score(
            segmenter, mine, lambda truth, _, score: work.finish(score.stem, truth.stamp, score.to_json()), count
        )
        gathered = processes.gather((failures, peak_memory(model)))
        content = Report()
        if processes.first:
            scores = _current_scores(read_done(path.parent.glob("rank-*.jsonl"), fingerprint, decode), images)
            errors = {stem: error for failures, _ in gathered for stem, error in failures.items()}
            scored = [scores[image.stem] for image in images if image.stem in scores]
            failures = {image.stem: errors[image.stem] for image in images if image.stem in errors}
            content = build_report(task, origin, fingerprint, protocol, images, scored, failures)
            content["peak_memory_gb"] = round(max(memory for _, memory in gathered), 3)
            content["run"] = {
                "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "processes": processes.count,
                "resumed_images": len(done),
                "seconds": round(time.perf_counter() - start, 3),
            }
            colors = protocol.steps.colors
            content |= write_examples(report, task, images, scored, segmenter.segment, bar, colors)
            write_bytes(report / "classes.csv", csv_table(content["classes"]))
            write_bytes(report / "row.md", encoded(markdown_rows([content])))
            write_html(report / "index.html", "report.html", {**content, "report": content})
            write_json(report / "report.json", content)  # last, so its presence means that the report is complete
    return processes.gather(content)[0]


class TaskSegmenter:
    """A segmenter with the words and protocol of an evaluation."""

    def __init__(self, segmenter: Segmenter, task: EvaluationTask, protocol: EvaluationProtocol) -> None:
        self.segmenter, self.task, self.protocol = segmenter, task, protocol
        self._guides: list[list[int]] = []
        if (parts := task.parts) is not None:
            substring = protocol.substring_guide
            self._guides = guided_parts(parts.objects, parts.object_of, task.classes, substring=substring)

    def batches(self, images: Sequence[EvaluationImage]) -> list[Sequence[EvaluationImage]]:
        """The images in the batches that `segment` takes: of one for parts, since the objects differ between images."""
        size = self.segmenter.batch if self.task.parts is None else 1
        return [images[at : at + size] for at in range(0, len(images), size)]

    @cached_property
    def _words(self) -> PreparedVocabulary:
        return self.segmenter.encode(self.task.images.vocabulary, background=self.protocol.options.background)

    def segment(self, truths: Sequence[GroundTruth]) -> list[Segmentation]:
        """The predictions for a batch of images; for parts, also among those of each object of the image."""
        return self.start(truths)()

    def start(self, truths: Sequence[GroundTruth]) -> Callable[[], list[Segmentation]]:
        """Start `segment`; the function that is returned waits for the predictions."""
        among = [self._guides[owner] for owner in truths[0].source.present_objects] if self._guides else []
        images = [truth.image for truth in truths]
        with float32_products(tf32=TF32):
            finish = self.segmenter.start(images, self._words, options=self.protocol.options, groups=among)

        def predictions() -> list[Segmentation]:
            with float32_products(tf32=TF32):
                return finish()

        return predictions

    def score(self, truth: GroundTruth, result: Segmentation) -> ImageScore:
        """Compare a prediction with the truth; for parts, also the predictions among the parts of each object."""
        classes, prediction = len(self.task.classes), self.task.scored(result.labels)
        counts, oracle = [Confusion.count(record, prediction, classes) for record in truth.records], None
        if self.task.parts is not None and result.group_labels is not None:
            of_object = dict(zip(truth.source.present_objects, result.group_labels, strict=True))
            records = zip(truth.records, truth.source.objects, strict=True)
            counted = (
                Confusion.count(record, of_object[owner], classes) for record, owner in records if owner is not None
            )
            oracle = Confusion.total(counted, classes)
        return ImageScore(
            stem=truth.source.stem,
            seconds=result.seconds,
            kept_classes=int(result.selected.sum()),
            confusion=Confusion.total(counts, classes),
            oracle=oracle,
            objects=None if truth.objects is None else compared_objects(result, truth.records[0], truth.objects),
        )


def segment_and_score(
    segmenter: TaskSegmenter,
    batches: Sequence[Sequence[EvaluationImage]],
    keep: Callable[[GroundTruth, Segmentation, ImageScore], object],
    on_result: OnResult = lambda image, error: None,
) -> dict[str, str]:
    """Segment and score batches of images, calling `keep` in a thread; returns the unreadable ones' errors, by stem."""
    failures: dict[str, str] = {}
    words = segmenter.task.images.vocabulary
    classes, scores_objects = len(words), segmenter.protocol.options.objects
    colors = segmenter.protocol.steps.colors
    stuff = surfaces_among(words.words, segmenter.task.images.background) if scores_objects else None

    def readable(batch: Sequence[tuple[EvaluationImage, Future[GroundTruth]]]) -> Iterator[GroundTruth]:
        for image, truth in batch:
            try:
                yield truth.result()
            except InputError as error:
                failures[image.stem] = str(error)
                on_result(image, str(error))

    def score(truths: Sequence[GroundTruth], results: Sequence[Segmentation]) -> None:
        for truth, result in zip(truths, results, strict=True):
            keep(truth, result, segmenter.score(truth, result))
            on_result(truth.source, None)

    with ThreadPoolExecutor(4, "reader") as readers, ThreadPoolExecutor(1, "scorer") as scorer:
        read = _ahead(
            batches,
            lambda batch: [(one, readers.submit(one.read, classes, colors, stuff)) for one in batch],
            BATCHES_AHEAD,
        )
        truths = filter(None, (list(readable(batch)) for batch in read))
        begun = _ahead(truths, lambda batch: (batch, segmenter.start(batch)), segmenter.segmenter.batches_ahead)
        for scored in _ahead(begun, lambda one: scorer.submit(score, one[0], one[1]()), BATCHES_BEHIND):
            scored.result()
    return failures


def _ahead(items: Iterable[_T], start: Callable[[_T], _R], number: int) -> Iterator[_R]:
    """What `start` begins for each item, in order; so many of the next ones are begun before one is handed out."""
    begun: deque[_R] = deque()
    for item in items:
        begun.append(start(item))
        del item  # what has begun holds the last reference, such as to logits on a GPU
        if len(begun) > number:
            yield begun.popleft()
    yield from begun


def _current_scores(done: DoneItems[ImageScore], images: Sequence[EvaluationImage]) -> dict[str, ImageScore]:
    """The scores by stem, except of images whose files have changed since."""
    current = ((image.stem, done.get(image.stem, image.stamp())) for image in images)
    return {stem: score for stem, score in current if score is not None}


def peak_memory(model: Segmenter) -> float:
    """Peak memory so far: of the GPU if the model is on one, else of the process [GB]."""
    if model_device(model) == "cuda":
        return torch.cuda.max_memory_allocated(str(model.device)) / 1e9
    return peak_gigabytes()


def _fingerprint(
    segmenter: Segmenter,
    origin: ModelOrigin,
    task: EvaluationTask,
    images: Sequence[EvaluationImage],
    settings: EvaluationSettings,
    protocol: EvaluationProtocol,
) -> RunSettings:
    """Everything that may change a score, as plain values by readable names; long lists as length and digest."""
    return {
        "model": segmenter.name,
        "weights": origin.weights,
        "weights_digest": weights_digest(segmenter),
        "options": dict(origin.options),
        **({"taught": [words.digest for words in segmenter.taught]} if segmenter.taught else {}),
        "data": task.title,
        "limit": settings.limit,
        "images": _summary(record.identity for image in images for record in image.records),
        "classes": _summary(task.images.vocabulary.words),
        "collapse_from": task.collapse_from,
        **protocol.facts(),
        "dtype": segmenter.dtype,
        "tf32": TF32,
        "device": model_device(segmenter),
        "batch": segmenter.batch,
        "segvoc": __version__,
        "torch": torch.__version__,
    }


def _summary(names: Iterable[str]) -> str:
    names = list(names)
    return f"{len(names)} ({digest_of(names)[:8]})"
