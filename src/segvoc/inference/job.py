"""A call of a segmenter: its settings, the passes through the network, and the results."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import numpy as np
from array_api_compat import device
from jaxtyping import Float32, UInt8

from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import InputError, LabelingWarning, UsageError
from segvoc.imaging.rasters import Stretch
from segvoc.imaging.reading import ImageSource, image_name, read_given
from segvoc.inference.edges import MOST_WORDS, refined, without_islands
from segvoc.inference.engine import Engine, Maps
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.part_labels import label_parts
from segvoc.inference.pixel_labels import ClassLabels, search_classes, selected_classes, strongest_of_groups
from segvoc.inference.prepared_vocabulary import ClassQuery
from segvoc.inference.protocols import Protocol
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.smoothing import Smoothing
from segvoc.inference.taught.calibration import softmax_logits
from segvoc.inference.taught.features import FeatureArrays
from segvoc.inference.taught.taught_words import TaughtQuery
from segvoc.inference.windows import ViewLogits, views
from segvoc.runtime.arrays import Array, array_namespace, on_cpu, start_copy, to_numpy


@dataclass(frozen=True)
class ReadImage:
    """An image in memory."""

    pixels: UInt8[np.ndarray, "H W 3"]
    source: str | None
    name: str
    """Its name in errors."""
    seconds: float
    content: bytes | None = None
    """The bytes of a file from a URL or standard input."""

    @classmethod
    def of(cls, source: ImageSource, stretch: Stretch | None, place: str) -> "ReadImage":
        """Read an image, which is named by its place if it has no file name; raises `InputError`."""
        start = time.perf_counter()
        name, (pixels, content) = image_name(source), read_given(source, stretch)
        return cls(pixels, name, place if name is None else repr(name), time.perf_counter() - start, content)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width [px]."""
        return self.pixels.shape[0], self.pixels.shape[1]


Outcomes = Iterator[Segmentation | InputError]
"""A result per image; an error takes the place of an image that fails."""

StartBatch = Callable[[Sequence[ReadImage | InputError]], Callable[[], Outcomes]]
"""Starts to label a batch of images; what it returns waits for the results."""


def label_stream(
    start: StartBatch, job: "LabelingJob", images: Iterable[ImageSource], places: Iterable[str] | None = None
) -> Outcomes:
    """Label images in order, in constant memory; `places` name images without a file name in errors."""
    started: deque[Callable[[], Outcomes]] = deque()
    failure: Exception | None = None
    with closing(read_in_batches(images, job.batch, job.options.value_range, places)) as batches:
        while True:
            try:
                started.append(start(next(batches)))
            except StopIteration:
                break
            except Exception as error:  # the results of what came before it come first
                failure = error
                break
            if len(started) > job.engine.batches_ahead:
                yield from started.popleft()()
        while started:
            yield from started.popleft()()
        if failure is not None:
            raise failure


def raising(outcomes: Outcomes) -> Iterator[Segmentation]:
    """The results; the first error is raised."""
    for outcome in outcomes:
        if isinstance(outcome, InputError):
            raise outcome
        yield outcome
        del outcome  # a result isn't kept alive while the next one is made


def warning(outcomes: Outcomes, news: Callable[[Segmentation], Iterable[str]]) -> Outcomes:
    """Pass results on, and warn of what is to be said of each."""
    for outcome in outcomes:
        if isinstance(outcome, Segmentation):
            for line in news(outcome):
                warnings.warn(line, LabelingWarning, stacklevel=2)
        yield outcome
        del outcome


@dataclass(frozen=True)
class LabelingJob:
    """The model and the settings of one call, shared by its images; parts and groups exclude tiles and smoothing."""

    engine: Engine
    options: LabelOptions
    query: ClassQuery
    text: EncodedWords
    protocol: Protocol
    threshold: float | None
    groups: list[list[int]]
    batch: int
    edges: bool = False
    """Whether to refine maps by the image's edges."""
    smoothing: Smoothing | None = None
    """Temporal smoothing, for images that are frames of a video."""
    taught: TaughtQuery | None = None
    """Classifiers of the taught words, if any."""

    def __post_init__(self) -> None:
        if self.options.tiling is not None and (self.groups or self.query.parts is not None):
            raise UsageError("tiles don't support parts or groups; leave these out, or the tile")
        if self.smoothing is not None and (self.groups or self.query.parts is not None):
            raise UsageError("smoothing doesn't support parts or groups; leave them out, or the smoothing")

    @property
    def about(self) -> dict[str, Any]:
        """The fields of each result that say what labeled it, and with which words."""
        engine, query = self.engine, self.query
        of_model = {"model": engine.name, "dtype": engine.dtype, "unsure_below": engine.traits.unsure_below}
        return {**of_model, "words": query.words, "background": query.background_name}

    def start(self, read: Sequence[ReadImage | InputError]) -> Callable[[], Outcomes]:
        """Start to label a batch of images; the function that is returned waits for a GPU and gives the results."""
        images = [image for image in read if isinstance(image, ReadImage)]
        if not images:
            return lambda: (image for image in read if isinstance(image, InputError))
        start = time.perf_counter()
        outputs = self.view_logits([image.pixels for image in images])
        xp = array_namespace(outputs[0].logits)
        finite = start_copy(xp.stack([xp.all(xp.isfinite(output.logits)) for output in outputs]))
        searches: list[Callable[[], ClassLabels] | None] = [None] * len(images)
        if self.smoothing is None and not on_cpu(outputs[0].logits):  # a frame's mean needs the frame before
            searches = [self._search(image, output) for image, output in zip(images, outputs, strict=True)]

        def finish() -> Outcomes:
            (are_finite,) = finite()
            share = (time.perf_counter() - start) / len(images)
            labeled = zip(outputs, are_finite, searches, strict=True)
            for image in read:
                if isinstance(image, InputError):
                    yield image
                    continue
                output, is_finite, search = next(labeled)
                yield self._result(image, output, search, share) if is_finite else not_finite_error(image.name)

        return finish

    def _search(self, image: ReadImage, output: ViewLogits) -> Callable[[], ClassLabels]:
        keep_all = self.options.return_probabilities
        return search_classes(
            output, image.size, self.query, self.protocol, self.threshold, return_probabilities=keep_all
        )

    def _result(
        self, image: ReadImage, output: ViewLogits, search: Callable[[], ClassLabels] | None, network_seconds: float
    ) -> Segmentation:
        start, query, job = time.perf_counter(), self.query, self
        if self.smoothing is not None:
            output = self.smoothing(output, self.protocol, image.pixels)
            job = replace(self, protocol=replace(self.protocol, sliding=None))
        classes = (search or job._search(image, output))()
        part_labels = part_confidence = group_labels = None
        if query.parts is not None:
            asked, against = query.asked_indices, self.engine.traits.parts_against
            part_labels, part_confidence = label_parts(
                query.candidates, output, classes.labels, classes.strongest, asked, against, job.protocol
            )
        if job.groups:
            group_labels = strongest_of_groups(job.groups, output, image.size, query, job.protocol)
        return Segmentation(
            labels=classes.labels,
            confidence=classes.confidence,
            probabilities=classes.probabilities,
            group_labels=group_labels,
            selected=selected_classes(None if output.kept is None else output.kept_anywhere().tolist(), query),
            image=image.pixels,
            seconds=image.seconds + network_seconds + time.perf_counter() - start,
            source=image.source,
            content=image.content,
            parts=() if query.parts is None else query.parts.parts,
            part_labels=part_labels,
            part_confidence=part_confidence,
            **self.about,
        )

    def view_logits(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[ViewLogits]:
        """The network's logits for all views of several images; views of equal size form one batch."""
        outputs: dict[int, ViewLogits] = {}
        of_images = [views(image, self.protocol, self.engine.to_device) for image in images]
        xp = array_namespace(of_images[0])
        for shape in dict.fromkeys(image.shape for image in of_images):
            members = [index for index, image in enumerate(of_images) if image.shape == shape]
            logits, kept = self._in_batches(xp.concat([of_images[index] for index in members]))
            for number, index in enumerate(members):
                rows = slice(number * shape[0], (number + 1) * shape[0])
                of_image = None if kept is None else kept[rows, ...]
                outputs[index] = ViewLogits(logits[rows, ...], of_image, len(self.text))
        return [outputs[index] for index in range(len(of_images))]

    def _in_batches(self, pixels: Float32[Array, "N 3 H W"]) -> Maps:
        """Run batches of views, or all at once where they decide together how many classes are selected."""
        size = len(pixels) if self.protocol.counts_classes else self.engine.batch
        batches = [self._run(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        if len(batches) == 1:
            return batches[0]
        xp = array_namespace(batches[0][0])
        kept = [indices for _, indices in batches if indices is not None]
        return xp.concat([logits for logits, _ in batches]), xp.concat(kept) if kept else None

    def _run(self, pixels: Float32[Array, "N 3 H W"]) -> Maps:
        features = None
        if self.taught is None and not (self.edges and self.engine.traits.refines_edges):
            logits, kept = self.engine.run(pixels, self.text, self.protocol)
        else:
            features = self.engine.find_features(pixels)
            logits, kept = self.engine.compare(features, self.text, self.protocol)
            if self.taught is not None:
                logits = self.taught(logits, kept, features)
        logits = self._with_edges(logits, kept, pixels, features) if self.edges else logits
        if self.taught is not None and self.query.parts is None:  # parts compete with their object alone
            logits = softmax_logits(logits, self.taught.temperature)
        return logits, kept

    def _with_edges(self, logits: Array, kept: Array | None, pixels: Array, features: FeatureArrays | None) -> Array:
        """The maps refined by the image's edges, without islands; as they are if there are too many words."""
        if logits.shape[1] > MOST_WORDS:
            return logits
        fine = refined(logits, to_numpy(pixels), features)
        for number, maps in enumerate(fine):  # parts may be as small as islands
            words = slice(self.query.named) if kept is None else to_numpy(kept[number, ...]) < self.query.named
            maps[words] = without_islands(maps[words])
        return array_namespace(logits).asarray(fine, device=device(logits))


def not_finite_error(name: str) -> InputError:
    """The error if the logits of an image are not finite."""
    return InputError(
        f"{name}: the network's output is not finite (NaN or infinity); check the weights, or use dtype float32"
    )


def read_in_batches(
    images: Iterable[ImageSource], batch: int, stretch: Stretch | None = None, places: Iterable[str] | None = None
) -> Generator[list[ReadImage | InputError], None, None]:
    """Read images in threads, at most two batches ahead; an error takes the place of an image that can't be read.

    `places` name images without a file name in errors (default: "image 1", ...). If `images` raises, or has something
    that is no image, the images before it come first.
    """
    names = (f"image {number}" for number in count(1)) if places is None else places
    with ThreadPoolExecutor(min(batch, 4), thread_name_prefix="segvoc-reader") as reader:

        def started() -> Iterator[Future[ReadImage | InputError]]:
            try:
                for source, place in zip(images, names, strict=False):
                    yield reader.submit(_outcome, source, stretch, place)
            except Exception as error:
                failed = Future[ReadImage | InputError]()
                failed.set_exception(error)
                yield failed

        reads = started()
        try:
            ahead = deque(islice(reads, 2 * batch))
            while ahead:
                next_batch = [ahead.popleft() for _ in range(min(batch, len(ahead)))]
                ahead.extend(islice(reads, 2 * batch - len(ahead)))  # while the caller works
                outcomes = list[ReadImage | InputError]()
                try:
                    for future in next_batch:
                        outcomes.append(future.result())
                except Exception:
                    if outcomes:
                        yield outcomes
                    raise
                yield outcomes
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _outcome(source: ImageSource, stretch: Stretch | None, place: str) -> ReadImage | InputError:
    try:
        return ReadImage.of(source, stretch, place)
    except InputError as error:
        return error
