"""What the workers of a run do with shards, without Ray: labeling, and writing."""

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from segvoc import process_settings
from segvoc.batch.done import Record, write_shard
from segvoc.batch.places import place_of
from segvoc.batch.results import ResultFile, ResultForm
from segvoc.batch.shards import BatchImage, Shard
from segvoc.errors import InputError, SegvocError, UsageError
from segvoc.imaging.reading import decode_image
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.labeling import Labeling
from segvoc.models.digests import model_record
from segvoc.storage.resume import Key, difference

DECODED = 2
"""Images beyond those of the next batch that are decoded ahead."""

THREADS = 4
"""Threads that decode images, and that encode results."""

RESULT_PIXELS = 50_000_000
"""Pixels of results that wait to be encoded, from which on the network waits."""


@dataclass(frozen=True, kw_only=True)
class Labeled:
    """A shard that was labeled."""

    record: Record
    files: Sequence[ResultFile]


@dataclass(frozen=True, kw_only=True)
class Gone:
    """A shard that couldn't be read or written; the next run does it."""

    problem: str
    ends_run: bool = False
    """Whether the others needn't be tried."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What one worker finds out for all."""

    settings: dict[str, object]
    """All that the results depend on, but the source."""
    model: dict[str, str]
    """The model's part of them."""
    words: PreparedVocabulary
    warnings: tuple[str, ...]


def find_facts(labeling: Labeling) -> ModelFacts | SegvocError:
    """Load the model and encode the words, once for all workers."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            model = labeling.load()
            words = labeling.encoded(model)
            model.protocol(labeling.options, len(words))
            settings, record = dict(labeling.settings(model)), dict(model_record(model))
        except SegvocError as error:
            return error
    told = [str(warning.message) for warning in caught if warning.category.__module__ == "segvoc.errors"]
    return ModelFacts(settings=settings, model=record, words=words, warnings=tuple(dict.fromkeys(told)))


class ShardLabeler:
    """Labels shards with a model that is loaded once; belongs in a process of its own.

    Raises:
        UsageError: the model isn't the same here as where the facts were found.
    """

    def __init__(self, labeling: Labeling, form: ResultForm, facts: ModelFacts, threads: int | None = None) -> None:
        if threads is not None:
            process_settings.for_own_process(threads)
        self.labeling, self.form = labeling, form
        self.model: Segmenter = labeling.load()
        if told := difference(facts.model, model_record(self.model)):
            raise UsageError(
                f"the model differs between nodes ({told}); give them the same files and versions, and say --dtype"
            )
        self.words = facts.words.for_encoder(self.model.encode_words)

    def label(self, shard: Shard | Gone) -> Labeled | Gone:
        """Label a shard: decoding, network and encoding of results go on at the same time."""
        if isinstance(shard, Gone):
            return shard
        results: list[Any] = [None] * len(shard.images)
        failed: dict[int, str] = {}
        with ThreadPoolExecutor(THREADS) as encoders, ThreadPoolExecutor(THREADS) as decoders:
            waiting: deque[tuple[int, Future[Any], int]] = deque()

            def keep(number: int, result: Segmentation | str) -> None:
                pixels = 0 if isinstance(result, str) else result.labels.size
                waiting.append((number, encoders.submit(self.form.image, shard.images[number], result), pixels))
                while len(waiting) > 2 * THREADS or sum(size for _, _, size in waiting) > RESULT_PIXELS:
                    settle()

            def settle() -> None:
                own, future, _ = waiting.popleft()
                results[own] = future.result()

            for number, result in self._labeled(shard.images, decoders):
                if isinstance(result, str):
                    failed[number] = result
                keep(number, result)
                del result
            while waiting:
                settle()
        problems = [(shard.images[number].source, failed[number]) for number in sorted(failed)]
        files = self.form.shard(shard.key, shard.images, results)
        return Labeled(record=Record.of(shard, problems, files), files=files)

    def _labeled(
        self, images: Sequence[BatchImage], decoders: ThreadPoolExecutor
    ) -> Iterator[tuple[int, Segmentation | str]]:
        """The result of each image, or its problem, with its number."""
        passed: deque[int] = deque()
        problems: list[tuple[int, str]] = []

        def pixels() -> Iterator[np.ndarray]:
            for number, decoded in _decoded(images, decoders, 2 * self.model.batch + DECODED):
                if isinstance(decoded, str):
                    problems.append((number, decoded))
                else:
                    passed.append(number)
                    yield decoded

        results = self.model.segment_many(pixels(), self.words, options=self.labeling.options, yield_errors=True)
        for result in results:
            number = passed.popleft()
            if isinstance(result, InputError):
                yield number, f"{images[number].source!r}: {result}"
            else:
                yield number, result
        yield from problems


def _decoded(
    images: Sequence[BatchImage], decoders: ThreadPoolExecutor, ahead: int
) -> Iterator[tuple[int, np.ndarray | str]]:
    def decode(image: BatchImage) -> np.ndarray | str:
        if image.problem is not None:
            return image.problem
        try:
            return decode_image(image.content, repr(image.source))
        except InputError as error:
            return str(error)

    left = iter(images)
    futures = deque(decoders.submit(decode, image) for image in islice(left, ahead))
    number = 0
    while futures:
        decoded = futures.popleft().result()
        futures.extend(decoders.submit(decode, image) for image in islice(left, 1))
        yield number, decoded
        number += 1


def write_labeled(out: str, settings: Key, labeled: Labeled | Gone) -> Record | Gone:
    """Write a shard that was labeled, with its record."""
    if isinstance(labeled, Gone):
        return labeled
    try:
        write_shard(place_of(out), settings, labeled.record, labeled.files)
    except SegvocError as error:
        return Gone(problem=str(error), ends_run=True)
    return labeled.record
