"""`Batch`: source, settings and output folder of a run; and the workers' tasks, independent of Ray.

The results of a shard depend only on its images and the settings, so redoing it gives the same files; only the
reports of `--to files` include times.
"""

import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Literal

from segvoc.errors import LongNameError, SegvocError, UnavailableError, UsageError
from segvoc.imaging.annotations import coco_masks
from segvoc.imaging.reading import UNNAMED_BYTES
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.batch.sources import BatchImage, Shard
from segvoc.labeling.batch.storages import Folder, folder_at
from segvoc.labeling.batch.tables import join_tables, read_footer, write_table
from segvoc.labeling.task import Labeling
from segvoc.models.digests import model_record
from segvoc.models.opening import load
from segvoc.runtime import process_settings
from segvoc.runtime.ordered_calls import run_ordered
from segvoc.storage.files import scratch_folder
from segvoc.storage.resume import difference
from segvoc.vocabulary import PartVocabulary, Vocabulary

Sink = Literal["parquet", "files"]

WAITING_TO_ENCODE = 8
"""Maximum number of results queued for encoding; the network waits beyond it."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The source, settings, workers and output folder of a run.

    Raises:
        UsageError: a number isn't positive.
    """

    source: str
    """A folder or a file: a path, or a URL such as s3://bucket/folder."""
    out: str
    """The output folder: a path or a URL."""
    words: Vocabulary | None
    """The words; None: the words of the parts, or of the model."""
    load: Callable[[], Segmenter] = load
    """Loads the model, in each worker; picklable."""
    parts: PartVocabulary | None = None
    """As for `Segmenter.segment`."""
    options: LabelOptions = field(default_factory=LabelOptions)
    image_column: str | None = None
    """Parquet: the column with the images; tars: the suffix of the images."""
    sink: Sink = "parquet"
    rows_a_file: int = 50_000
    """Maximum number of rows of a table with the results of a folder."""
    shard_images: int = 128
    """Maximum number of images per shard of a folder; a killed run redoes unfinished shards."""
    retry_failed: bool = False
    """Whether to label failed images again."""
    address: str | None = None
    """Address of the Ray cluster ("auto", "HOST:6379", "ray://HOST:10001"); None: only this machine."""
    workers: int | None = None
    """Number of model replicas (default: as many as fit into the cluster at the start)."""
    cpus: float = 2.0
    """CPU cores (and threads) per replica."""
    gpus: float = 0.0
    """GPUs per replica; 0.5: two share one."""

    def __post_init__(self) -> None:
        for name, least in (("shard_images", 1), ("rows_a_file", 1), ("workers", 1), ("cpus", 1e-9), ("gpus", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name} is not positive; give a number above 0")


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Facts about the model, determined by one worker for all."""

    settings: dict[str, Any]
    """Everything that the results depend on, except the source."""
    words: PreparedVocabulary
    warnings: tuple[str, ...]
    """About the words."""


def find_facts(batch: Batch) -> ModelFacts:
    """Load the model and encode the words, once for all workers."""
    labeling = Labeling(words=batch.words, parts=batch.parts, options=batch.options, overlay=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = batch.load()
        words = labeling.encoded(model)
        model.protocol(batch.options)
        settings = dict(labeling.settings(model))
    messages = [str(warning.message) for warning in caught if warning.category.__module__ == "segvoc.errors"]
    return ModelFacts(settings=settings, words=words, warnings=tuple(dict.fromkeys(messages)))


@dataclass(frozen=True, kw_only=True)
class LabeledShard:
    """What has come of a shard."""

    images: int
    """Number of images, readable or not."""
    failed: tuple[int, ...] = ()
    """The index of the source file of each image that failed."""
    problems: tuple[tuple[str, str], ...] = ()
    """Sources and problems of these images, unless an earlier run has printed them."""
    size: int = 0
    """Size of the table [bytes]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Join:
    """The task of joining tables of results to one, without the rows of some keys; its outcome is the size [bytes]."""

    tables: tuple[str, ...]
    table: str
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """The task of labeling a sample without writing anything."""

    shard: Shard
    most: int
    """Maximum number of images."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A sample's cost."""

    images: int
    seconds: float
    """Time of labeling, with the model loaded and used before [s]."""
    source_bytes: int
    """Size of the images [bytes]."""


WorkerTask = Shard | Join | Trial
"""What a worker does."""

TaskOutcome = LabeledShard | int | Tried | str
"""What comes of a task; a line is the reason why it can't be done now."""


class Worker:
    """Labels and writes shards with a model that is loaded once; use it in a separate process."""

    def __init__(self, batch: Batch, facts: ModelFacts, threads: int | None = None) -> None:
        if threads is not None:
            process_settings.for_own_process(threads)
        self.batch, self.settings = batch, facts.settings
        self.model: Segmenter = batch.load()
        record = model_record(self.model)
        if changes := difference({name: facts.settings.get(name) for name in record}, record):
            raise UsageError(
                f"the model differs between nodes ({changes}); give them the same files and versions, and set --dtype"
            )
        self.words = facts.words.for_encoder(self.model.encode_words)

    def __call__(self, task: WorkerTask) -> TaskOutcome:
        """Do a task; raises `OutputError`."""
        try:
            if isinstance(task, Join):
                return join_tables(folder_at(self.batch.out), task.table, task.tables, task.without)
            if isinstance(task, Trial):
                list(self._encoded(task.shard, _row, task.most))  # compiles what it needs
                return self._trial(task)
            return self._label(task)
        except UnavailableError as error:
            return str(error)

    def _label(self, shard: Shard) -> LabeledShard:
        out = folder_at(self.batch.out)
        if shard.is_written:
            with suppress(OSError, ValueError, KeyError, TypeError):  # a table of something else
                images, failed, size = read_footer(out, shard.table)
                return LabeledShard(images=images, failed=tuple(failed), size=size)
        if self.batch.sink == "files":
            problems, failed, images = list[tuple[str, str]](), list[int](), 0
            for image, (problem, files) in self._encoded(shard, _files):
                images += 1
                problem = problem or _written(out, files)
                if problem is not None:
                    failed.append(image.unit)
                    problems.append((image.address, problem))
            return LabeledShard(images=images, failed=tuple(failed), problems=tuple(problems))
        rows = list(self._encoded(shard, _row))
        failed = [image.unit for image, row in rows if "error" in row]
        size = write_table(out, shard.table, [row for _, row in rows], self.settings, failed)
        problems = [(row["image"], row["error"]) for _, row in rows if "error" in row]
        return LabeledShard(images=len(rows), failed=tuple(failed), problems=tuple(problems), size=size)

    def _trial(self, task: Trial) -> Tried:
        start = time.perf_counter()
        sizes = [size for _, size in self._encoded(task.shard, _size, task.most)]
        return Tried(images=len(sizes), seconds=time.perf_counter() - start, source_bytes=sum(sizes))

    def _encoded(
        self, shard: Shard, encode: Callable[[BatchImage, Segmentation | str], Any], most: int | None = None
    ) -> Iterator[tuple[BatchImage, Any]]:
        """Label a shard, or its first images; decodes, runs the network and encodes results at the same time."""

        def one(image: BatchImage, result: Segmentation | str) -> tuple[BatchImage, Any]:
            return replace(image, content=b""), encode(image, result)

        def calls() -> Generator[tuple[Callable[[], Any], int], None, None]:
            for image, result in self._results(shard, most):
                yield partial(one, image, result), 1
                del result  # the encoder thread holds the last reference

        with ThreadPoolExecutor(4) as encoders:
            yield from run_ordered(encoders, calls(), WAITING_TO_ENCODE)

    def _results(self, shard: Shard, most: int | None) -> Iterator[tuple[BatchImage, Segmentation | str]]:
        taken: deque[BatchImage] = deque()

        def contents() -> Iterator[bytes]:
            for image in islice(shard.read(), most):
                taken.append(image)
                if image.problem is None:
                    yield image.content

        for result in self.model.segment_many(contents(), self.words, options=self.batch.options, yield_errors=True):
            while (image := taken.popleft()).problem is not None:
                yield image, image.problem
            if isinstance(result, SegvocError):
                name, message = repr(image.address), str(result)
                result = message.replace(UNNAMED_BYTES, name) if UNNAMED_BYTES in message else f"{name}: {message}"
            yield image, result
            del result
        yield from ((image, image.problem or "") for image in taken)


def _files(image: BatchImage, result: Segmentation | str) -> tuple[str | None, dict[str, bytes]]:
    """The problem of an image if it failed, else its result files, by name."""
    if isinstance(result, str):
        return result, {}
    with scratch_folder() as folder:
        paths = replace(result, source=image.address).save(folder, "result", overlay=None)
        return None, {image.stem + path.name.removeprefix("result"): path.read_bytes() for path in paths}


def _written(out: Folder, files: Mapping[str, bytes]) -> str | None:
    """Write the files of an image, all or none; returns the problem if they can't have their names."""
    written = list[str]()
    try:
        for name, content in files.items():
            out.write(name, content)
            written.append(name)
    except LongNameError as error:
        for name in written:
            out.delete(name)
        return str(error)
    return None


def _size(image: BatchImage, result: Segmentation | str) -> int:
    """The size of an image [bytes], after its row is made."""
    _row(image, result)
    return len(image.content)


def _row(image: BatchImage, result: Segmentation | str) -> dict[str, Any]:
    row: dict[str, Any] = {"key": image.key, "image": image.address}
    if isinstance(result, str):
        return {**row, "error": result}
    report = result.report(compact=True)
    for kind, labels in (("classes", result.labels), ("parts", result.part_labels)):
        if labels is not None and kind in report:
            masks = list(coco_masks(labels, len(result.words if kind == "classes" else result.parts)))
            row[kind] = [{**entry, "counts": masks[entry["id"]]["counts"]} for entry in report[kind]]
    if result.object_map is not None:
        row["objects"] = [
            {"name": one.word, "counts": one.mask["counts"], "pixels": one.area, "score": one.score, "box": one.box}
            for one in result.objects
        ]
    return {**row, **{name: report[name] for name in ("width", "height", "unlabeled", "quality")}}
