"""`Batch`: source, settings and output folder of a run; and the workers' code, independent of Ray."""

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from segvoc.errors import LongNameError, SegvocError, UnavailableError, UsageError
from segvoc.imaging.reading import UNNAMED_BYTES
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.batch.results import Record, ResultFile, Sink, encoded_result, shard_files
from segvoc.labeling.batch.sources import BatchImage, BatchSource, folder_at
from segvoc.labeling.labeling import Labeling
from segvoc.models.digests import model_record
from segvoc.models.opening import load
from segvoc.runtime import process_settings
from segvoc.storage.resume import difference
from segvoc.vocabulary import PartVocabulary, Vocabulary

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
    shard_images: int = 128
    """Maximum number of images per shard of a folder; a killed run redoes unfinished shards."""
    retry_failed: bool = False
    """Whether to redo shards with failed images."""
    address: str | None = None
    """Address of the Ray cluster ("auto", "HOST:6379", "ray://HOST:10001"); None: only this machine."""
    workers: int | None = None
    """Number of model replicas (default: as many as fit into the cluster at the start)."""
    cpus: float = 2.0
    """CPU cores (and threads) per replica."""
    gpus: float = 0.0
    """GPUs per replica; 0.5: two share one."""

    def __post_init__(self) -> None:
        for name, least in (("shard_images", 1), ("workers", 1), ("cpus", 1e-9), ("gpus", 0)):
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
    how = {"load": batch.load, "words": batch.words, "parts": batch.parts, "options": batch.options, "out": batch.out}
    labeling = Labeling(**how, overlay=None, describe=lambda result, files: "")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = batch.load()
        words = labeling.encoded(model)
        model.protocol(batch.options, len(words))
        settings = dict(labeling.settings(model))
    messages = [str(warning.message) for warning in caught if warning.category.__module__ == "segvoc.errors"]
    return ModelFacts(settings=settings, words=words, warnings=tuple(dict.fromkeys(messages)))


class ShardLabeler:
    """Labels and writes shards with a model that is loaded once; use it in a separate process."""

    def __init__(self, batch: Batch, facts: ModelFacts, threads: int | None = None) -> None:
        if threads is not None:
            process_settings.for_own_process(threads)
        self.batch = batch
        self.model: Segmenter = batch.load()
        record = model_record(self.model)
        if changes := difference({name: facts.settings.get(name) for name in record}, record):
            raise UsageError(
                f"the model differs between nodes ({changes}); give them the same files and versions, and set --dtype"
            )
        self.words = facts.words.for_encoder(self.model.encode_words)

    def __call__(self, shard: BatchSource) -> Record | str:
        """Label a shard and write its results; returns the reason if it can't be read now.

        Decodes images, runs the network and encodes results at the same time.
        """
        batch, results, addresses = self.batch, list[Any](), list[str]()
        failed, waiting = list[tuple[str, str]](), deque[Future[Any]]()
        try:
            with ThreadPoolExecutor(4) as encoders:
                for image, result in self._results(shard):
                    if isinstance(result, str):
                        failed.append((image.address, result))
                    addresses.append(image.address)
                    waiting.append(encoders.submit(encoded_result, batch.sink, image, result))
                    del result  # the encoder thread holds the last reference
                    if len(waiting) > WAITING_TO_ENCODE:
                        results.append(waiting.popleft().result())
                results.extend(future.result() for future in waiting)
        except UnavailableError as error:
            return str(error)
        written = list[tuple[str, int]]()
        if batch.sink == "files":
            for address, files in zip(addresses, results, strict=True):
                try:
                    written += self._write(files)
                except LongNameError as error:
                    failed.append((address, str(error)))
        else:
            written += self._write(shard_files(batch.sink, shard.key, results, parts=batch.parts is not None))
        return Record(key=shard.key, units=shard.units, images=len(results), failed=tuple(failed), files=tuple(written))

    def _write(self, files: Sequence[ResultFile]) -> list[tuple[str, int]]:
        """Write the files of an image or shard, all or none if a name is too long; returns their names and sizes."""
        out, written = folder_at(self.batch.out), list[tuple[str, int]]()
        try:
            for name, content in files:
                out.write(name, content)
                written.append((name, len(content)))
        except LongNameError:
            for name, _ in written:
                out.delete(name)
            raise
        return written

    def _results(self, shard: BatchSource) -> Iterator[tuple[BatchImage, Segmentation | str]]:
        """Each image, and its result or problem."""
        taken: deque[BatchImage] = deque()

        def contents() -> Iterator[bytes]:
            for image in shard.read():
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
