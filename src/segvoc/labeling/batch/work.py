"""`Batch`: source, settings and output folder of a run; and the workers' code, independent of Ray.

The result files of a shard depend only on its images and the settings, so redoing it gives the same files; only the
reports of `--to files` include times.
"""

import io
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from segvoc.errors import LongNameError, SegvocError, UnavailableError, UsageError
from segvoc.imaging.annotations import coco_masks
from segvoc.imaging.reading import UNNAMED_BYTES
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.batch.sources import BatchImage, BatchSource, Unit, folder_at
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
class Record:
    """A finished shard."""

    key: str
    units: tuple[Unit, ...]
    images: int
    """Number of images, readable or not."""
    failed: tuple[tuple[str, str], ...]
    """Sources and problems of failed images."""
    files: tuple[tuple[str, int], ...]
    """Its result files, with their sizes [bytes]."""


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
        encode, write = (_row, self._write_table) if self.batch.sink == "parquet" else (_files, self._write_files)
        failed = list[tuple[str, str]]()

        def calls() -> Generator[tuple[Callable[[], Any], int], None, None]:
            for image, result in self._results(shard):
                if isinstance(result, str):
                    failed.append((image.address, result))
                yield partial(encode, image, result), 1
                del result  # the encoder thread holds the last reference

        try:
            with ThreadPoolExecutor(4) as encoders:
                results = list(run_ordered(encoders, calls(), WAITING_TO_ENCODE))
        except UnavailableError as error:
            return str(error)
        written = write(shard.key, results, failed)
        return Record(key=shard.key, units=shard.units, images=len(results), failed=tuple(failed), files=tuple(written))

    def _write_table(self, key: str, rows: Sequence[dict[str, Any]], _: object) -> list[tuple[str, int]]:
        name, content = f"part-{key}.parquet", _parquet(rows, parts=self.batch.parts is not None)
        folder_at(self.batch.out).write(name, content)
        return [(name, len(content))]

    def _write_files(
        self, _key: str, images: Sequence[tuple[str, dict[str, bytes]]], failed: list[tuple[str, str]]
    ) -> list[tuple[str, int]]:
        """Write the files of each image, all or none if a name is too long, which is added to `failed`."""
        out, written = folder_at(self.batch.out), list[tuple[str, int]]()
        for address, files in images:
            sizes = list[tuple[str, int]]()
            try:
                for name, content in files.items():
                    out.write(name, content)
                    sizes.append((name, len(content)))
                written += sizes
            except LongNameError as error:
                for name, _ in sizes:
                    out.delete(name)
                failed.append((address, str(error)))
        return written

    def _results(self, shard: BatchSource) -> Iterator[tuple[BatchImage, Segmentation | str]]:
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


def _files(image: BatchImage, result: Segmentation | str) -> tuple[str, dict[str, bytes]]:
    """The address of an image and its result files, by name; none if it failed."""
    if isinstance(result, str):
        return image.address, {}
    with scratch_folder() as folder:
        paths = replace(result, source=image.address).save(folder, "result", overlay=None)
        return image.address, {image.stem + path.name.removeprefix("result"): path.read_bytes() for path in paths}


def _row(image: BatchImage, result: Segmentation | str) -> dict[str, Any]:
    row: dict[str, Any] = {"key": image.key, "image": image.address}
    if isinstance(result, str):
        return {**row, "error": result}
    report = result.report(compact=True)
    for kind, labels in (("classes", result.labels), ("parts", result.part_labels)):
        if labels is not None and kind in report:
            masks = list(coco_masks(labels, len(result.words if kind == "classes" else result.parts)))
            row[kind] = [{**entry, "counts": masks[entry["id"]]["counts"]} for entry in report[kind]]
    return {**row, **{name: report[name] for name in ("width", "height", "unlabeled", "quality")}}


def _parquet(rows: Sequence[dict[str, Any]], *, parts: bool) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    text, share = pa.string(), pa.float64()
    region = [("id", pa.int32()), ("name", text), ("counts", text)]
    region += [("pixels", pa.int64()), ("fraction", share), ("mean_confidence", share)]
    columns = [
        *[("key", text), ("image", text), ("width", pa.int32()), ("height", pa.int32())],
        ("classes", pa.list_(pa.struct(region))),
        *([("parts", pa.list_(pa.struct([*region, ("object", text), ("part", text)])))] if parts else []),
        *[("unlabeled", pa.int64()), ("quality", share), ("error", text)],
    ]
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows), pa.schema(columns)), buffer, compression="zstd")
    return buffer.getvalue()
