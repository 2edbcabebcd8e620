"""`Batch`: what is labeled, how, and where the results go; and what the workers of a run do, without Ray."""

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from segvoc import process_settings
from segvoc.batch.results import Record, ResultFile, ResultForm, Sink, write_shard
from segvoc.batch.sources import Shard, SourceKind
from segvoc.batch.storage import folder_at
from segvoc.errors import SegvocError, UsageError
from segvoc.imaging.overlay import SAVED_OVERLAY, OverlayStyle
from segvoc.imaging.reading import UNNAMED_BYTES
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.labeling import Labeling
from segvoc.models.digests import model_record
from segvoc.models.opening import load
from segvoc.storage.resume import difference
from segvoc.vocabulary import PartVocabulary, Vocabulary

WAITING_TO_ENCODE = 8
"""Results that may wait to be encoded; the network waits when there are more."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers of a run, and where they are.

    Raises:
        UsageError: a number isn't positive.
    """

    address: str | None = None
    """Of Ray's cluster ("auto", "HOST:6379", "ray://HOST:10001"); None: this machine alone."""
    number: int | None = None
    """Models that label side by side (default: as many as the cluster has room for at the start)."""
    cpus: float | None = None
    """Cores of each, which are also its threads (default: 2, or as many as the largest node has)."""
    gpus: float = 0.0
    """GPUs per replica; 0.5: two share one."""

    def __post_init__(self) -> None:
        for name, value, least in (("workers", self.number, 1), ("cpus", self.cpus, 1e-9), ("gpus", self.gpus, 0)):
            if value is not None and value < least:
                raise UsageError(f"{name} is not positive; give a number above 0")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What is labeled, how, and where the results go.

    Raises:
        UsageError: the options don't fit together.
    """

    source: str
    """A folder or a file: a path, or an address such as s3://bucket/folder."""
    out: str
    """The folder of the results, likewise."""
    words: Vocabulary | None
    """The words; None for those of the parts, or of the model."""
    load: Callable[[], Segmenter] = load
    """Loads the model, in each worker; picklable."""
    parts: PartVocabulary | None = None
    """As for `Segmenter.segment`."""
    options: LabelOptions = field(default_factory=LabelOptions)
    kind: SourceKind | None = None
    """What the source is made of (default: found by its files' suffixes)."""
    image_column: str | None = None
    """Of Parquet: the column with the images; of tars: the suffix of the images."""
    sink: Sink = "parquet"
    overlay: OverlayStyle | None = SAVED_OVERLAY
    """What overlays show, for results in files; None: none are drawn."""
    shard_images: int = 128
    """Most images of a shard, which is what a killed run may have to do again."""
    retry_failed: bool = False
    """Whether to do shards again in which images failed."""
    workers: Workers = field(default_factory=Workers)

    def __post_init__(self) -> None:
        if self.shard_images < 1:
            raise UsageError("a shard has room for no image; give 1 or more images")

    @property
    def form(self) -> ResultForm:
        """What results are made into."""
        overlay = self.overlay if self.sink == "files" else None
        return ResultForm(sink=self.sink, overlay=overlay, parts=self.parts is not None)

    @property
    def labeling(self) -> Labeling:
        """How images are labeled."""
        return Labeling(
            load=self.load,
            words=self.words,
            parts=self.parts,
            options=self.options,
            out=self.out,
            overlay=self.form.overlay,
            describe=lambda result, files: "",
        )


# ---- what workers do


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What one worker finds out for all."""

    settings: dict[str, object]
    """All that the results depend on, but the source."""
    model: dict[str, str]
    """The model's part of them."""
    words: PreparedVocabulary
    warnings: tuple[str, ...]


def find_facts(batch: Batch) -> ModelFacts:
    """Load the model and encode the words, once for all workers.

    Raises:
        UsageError: model, words or options don't fit together.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = batch.load()
        words = batch.labeling.encoded(model)
        model.protocol(batch.options, len(words))
        settings = dict(batch.labeling.settings(model))
    told = [str(warning.message) for warning in caught if warning.category.__module__ == "segvoc.errors"]
    return ModelFacts(
        settings=settings, model=dict(model_record(model)), words=words, warnings=tuple(dict.fromkeys(told))
    )


class ShardLabeler:
    """Labels and writes shards with a model that is loaded once; belongs in a process of its own.

    Raises:
        UsageError: the model isn't the same here as where the facts were found.
    """

    def __init__(self, batch: Batch, facts: ModelFacts, threads: int | None = None) -> None:
        if threads is not None:
            process_settings.for_own_process(threads)
        self.batch = batch
        self.model: Segmenter = batch.load()
        if told := difference(facts.model, model_record(self.model)):
            raise UsageError(
                f"the model differs between nodes ({told}); give them the same files and versions, and say --dtype"
            )
        self.words = facts.words.for_encoder(self.model.encode_words)

    def __call__(self, shard: Shard) -> Record:
        """Label a shard and write its results.

        Raises:
            OutputError: they can't be written.
        """
        record, files = self.label(shard)
        write_shard(folder_at(self.batch.out), record, files)
        return record

    def label(self, shard: Shard) -> tuple[Record, list[ResultFile]]:
        """Label a shard: decoding, network and encoding of results go on at the same time."""
        encoded = list[Any]()
        failed = list[tuple[str, str]]()
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(4) as encoders:
            for image, result in zip(shard.images, self._results(shard), strict=True):
                if isinstance(result, str):
                    failed.append((image.address, result))
                waiting.append(encoders.submit(self.batch.form.image, image, result))
                del result  # the thread that encodes it is the last to hold it
                if len(waiting) > WAITING_TO_ENCODE:
                    encoded.append(waiting.popleft().result())
            encoded.extend(future.result() for future in waiting)
        files = self.batch.form.shard(shard, encoded)
        record = Record(
            key=shard.key,
            units=shard.units,
            number=shard.number,
            last=shard.last,
            images=len(shard.images),
            failed=tuple(failed),
            files=tuple((name, len(content)) for name, content in files),
        )
        return record, files

    def _results(self, shard: Shard) -> Iterator[Segmentation | str]:
        """The result of each image, or its problem."""
        contents = (image.content for image in shard.images if image.problem is None)
        results = self.model.segment_many(contents, self.words, options=self.batch.options, yield_errors=True)
        for image in shard.images:
            result = image.problem or next(results)
            if isinstance(result, SegvocError):
                name, told = repr(image.address), str(result)
                result = told.replace(UNNAMED_BYTES, name) if UNNAMED_BYTES in told else f"{name}: {told}"
            yield result
            del result
