"""A call of a segmenter: its settings, the comparison of encoded images with words, and the results."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import device
from jaxtyping import Float, UInt8

from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import Hint, InputError, UsageError
from segvoc.imaging.reading import ImageSource
from segvoc.inference.confidence import ConfidenceModel, coarse_maps, fact_rows
from segvoc.inference.decision import Rules
from segvoc.inference.edges import MOST_WORDS, edge_weights, refined, without_islands
from segvoc.inference.encoded_image import (
    EncodedImage,
    EncodedViews,
    GivenImage,
    ReadImage,
    encode_pixels,
    read_in_batches,
)
from segvoc.inference.engine import Engine, Maps
from segvoc.inference.label_options import LabelKeywords, LabelOptions
from segvoc.inference.objects import with_objects
from segvoc.inference.part_labels import label_parts
from segvoc.inference.pixel_labels import (
    ClassLabels,
    checked_groups,
    search_classes,
    selected_classes,
    strongest_of_groups,
)
from segvoc.inference.prepared_vocabulary import ClassQuery, Parts, PreparedVocabulary
from segvoc.inference.protocols import Protocol, Window
from segvoc.inference.reports import LabelStatistics
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.taught.calibration import softmax_logits
from segvoc.inference.taught.features import as_float32
from segvoc.inference.taught.taught_words import TaughtQuery
from segvoc.inference.video_frames import FrameMemory
from segvoc.inference.windows import ViewLogits
from segvoc.inference.word_colors import color_names, with_colors
from segvoc.runtime.arrays import Array, array_namespace, on_cpu, start_copy, to_numpy
from segvoc.runtime.progress import Progress

Outcomes = Iterator[Segmentation | InputError]
"""A result per image; an error takes the place of an image that fails."""

StartBatch = Callable[[Sequence[GivenImage]], Callable[[], Outcomes]]
"""Starts to label a batch of images; what it returns waits for the results."""


class CallKeywords(LabelKeywords, total=False):
    """Keyword arguments of `Segmenter.segment`."""

    options: LabelOptions | None
    parts: Parts | None
    progress: bool


class StreamKeywords(CallKeywords, total=False):
    """Keyword arguments of `Segmenter.segment_many`."""

    memory: FrameMemory | None


class ImageViews(NamedTuple):
    """An image and its views as a whole, encoded."""

    pixels: UInt8[np.ndarray, "H W 3"]
    views: EncodedViews


ResultHints = Callable[[LabelStatistics, "LabelingJob", Callable[[], ImageViews] | None], tuple[Hint, ...]]
"""What there is to say about a result; see `segvoc.inference.hints`."""


def label_stream(
    start: StartBatch,
    job: "LabelingJob",
    images: Iterable[ImageSource | EncodedImage],
    places: Iterable[str] | None = None,
) -> Outcomes:
    """Label images in order, in constant memory; `places` name images without a file name in errors."""
    started: deque[Callable[[], Outcomes]] = deque()
    failure: Exception | None = None
    with closing(read_in_batches(images, job.batch, job.options.value_range, places, job.protocol.colors)) as batches:
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


def warning(outcomes: Outcomes, warn: Callable[[Counter[Hint], int], None]) -> Outcomes:
    """Pass results on, and at their end warn of the hints, with the number of images that have each, and of all."""
    hints, total = Counter[Hint](), 0
    for outcome in outcomes:
        if isinstance(outcome, Segmentation):
            hints.update(outcome.hints)
        yield outcome
        del outcome
        total += 1
    warn(hints, total)


def with_progress(outcomes: Outcomes, images: object) -> Outcomes:
    """Pass results on, and show a progress bar."""
    with Progress("labeling", total=len(images) if isinstance(images, Sized) else None) as bar:
        for outcome in outcomes:
            yield outcome
            del outcome
            bar.update()


@dataclass(frozen=True, kw_only=True)
class LabelingJob:
    """The model and the settings of one call, shared by its images; parts and groups exclude tiles and smoothing."""

    engine: Engine
    options: LabelOptions
    words: PreparedVocabulary
    rules: Rules
    protocol: Protocol
    """That of the options' window, with their class selection; unasked words and parts of selected objects stay."""
    groups: Sequence[Sequence[int]] = ()
    """Groups of words, as indices; results have the most likely word of each."""
    memory: FrameMemory = field(default_factory=FrameMemory)
    """What images that are frames of a video take from those before them."""
    hints: ResultHints | None = None

    query: ClassQuery = field(init=False)
    """What is compared with the images."""
    text: EncodedWords = field(init=False)
    """Its embeddings."""
    taught: TaughtQuery | None = field(init=False)
    """Classifiers of the taught words, if any."""
    edges: bool = field(init=False)
    """Whether to refine maps by the image's edges."""

    @classmethod
    def of(
        cls,
        engine: Engine,
        words: PreparedVocabulary,
        options: LabelOptions,
        *,
        memory: FrameMemory | None = None,
        **more: Any,
    ) -> "LabelingJob":
        """The job of a call; `UsageError` if words and options conflict."""
        return cls(
            engine=engine,
            options=options,
            words=words,
            rules=rules_of(engine, words, options),
            protocol=engine.protocol(options),
            memory=memory or FrameMemory.of(options),
            **more,
        )

    def __post_init__(self) -> None:
        query, text = self.words.query(self.rules)
        taught = TaughtQuery.of(self.engine.taught, query.queried.words, len(text), query.none_index)
        edges = self.options.edges
        if edges is None:  # by default, maps in the network's own windows are refined, of taught words if better
            edges = self.engine.traits.refines_edges and self.options.window in ("auto", "single", "fine")
            edges = edges and not query.candidates and (taught is None or taught.edges)
        derived = {
            "query": query,
            "text": text if taught is None else taught.embeddings(text),
            "taught": taught,
            "edges": edges,
            "protocol": query.adapted(self.protocol),
            "groups": checked_groups(self.groups, len(query.words)),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        has_several_maps = self.groups or query.parts is not None
        if self.options.tiling is not None and has_several_maps:
            raise UsageError("tiles don't support parts or groups; leave these out, or the tile")
        if self.options.tiling is not None and self.memory.smoothing is not None:
            raise UsageError("tiles don't support smoothing; leave out the tile, or the smoothing")
        if self.memory.smoothing is not None and has_several_maps:
            raise UsageError("smoothing doesn't support parts or groups; leave them out, or the smoothing")

    @property
    def confidence(self) -> ConfidenceModel | None:
        """How likely labels are right, where the model's decision says so of the call.

        A single word has none that it could be mistaken for, which is what the figures tell.
        """
        has_several = len(self.query.facts) > 1 and not self.protocol.sigmoid_first
        return self.query.rules.decision.confidence if has_several else None

    def offsets(self, output: ViewLogits, size: tuple[int, int]) -> Float[Array, " K"] | None:
        """The offsets of the words' confidence in an image of a size [px], by the network's output for it."""
        if self.confidence is None:
            return None
        maps = coarse_maps(output, self.protocol, size, len(self.query.facts))
        return self.confidence.offsets(maps, fact_rows(self.query.facts, maps))

    @property
    def batch(self) -> int:
        """Images per batch: the classes kept for an image must not depend on the other images in its batch."""
        return 1 if self.protocol.counts_classes or self.options.tiling is not None else self.engine.batch

    @property
    def result_metadata(self) -> dict[str, Any]:
        """The fields of each result that say what labeled it, and with which words."""
        engine, query = self.engine, self.query
        return {
            "model": engine.name,
            "dtype": engine.dtype,
            "unsure_below": query.rules.decision.unsure_below if self.is_probability else None,
            "words": query.words,
            "background": query.background.name,
        }

    @property
    def is_probability(self) -> bool:
        """Whether the confidence is the probability that a label is right: it was fitted, or words were calibrated."""
        return self.confidence is not None or self._is_softmax

    @property
    def _is_softmax(self) -> bool:
        """Whether taught words share the probability of a cell; parts compete with their object alone."""
        return self.taught is not None and self.query.parts is None and len(self.text) > 1

    def start(self, given: Sequence[GivenImage]) -> Callable[[], Outcomes]:
        """Start to label a batch of images; the function that is returned waits for a GPU and gives the results."""
        begin = time.perf_counter()
        images = [one.image if isinstance(one, EncodedImage) else one for one in given]
        found = [image for image in images if isinstance(image, ReadImage)]
        if not found:
            return lambda: (image for image in images if isinstance(image, InputError))
        encoded = self._encoded(given)
        outputs = self.compare(encoded)
        xp = array_namespace(outputs[0].logits)
        finite = start_copy(xp.stack([xp.all(xp.isfinite(output.logits)) for output in outputs]))
        searches: list[Callable[[], ClassLabels] | None] = [None] * len(found)
        if self.memory.smoothing is None and not on_cpu(outputs[0].logits):  # a frame's mean needs the frame before
            searches = [self.search(image, output) for image, output in zip(found, outputs, strict=True)]
        begun = time.perf_counter() - begin

        def finish() -> Outcomes:
            waiting = time.perf_counter()
            (are_finite,) = finite()
            share = (begun + time.perf_counter() - waiting) / len(found)
            labeled = zip(encoded, outputs, are_finite, searches, strict=True)
            for one, image in zip(given, images, strict=True):
                if isinstance(image, InputError):
                    yield image
                    continue
                views, output, is_finite, search = next(labeled)
                seconds = share + (0.0 if isinstance(one, EncodedImage) else image.seconds)
                if is_finite:
                    yield self._result(image, views, output, search, seconds)
                else:
                    yield not_finite_error(image.name)

        return finish

    def _encoded(self, given: Sequence[GivenImage]) -> list[EncodedViews]:
        """The views of the images that could be read; those of the others are encoded."""
        for image in given:
            if isinstance(image, EncodedImage):
                image.check_use(self.engine, self.protocol, self.options.value_range)
        plain = [image.pixels for image in given if isinstance(image, ReadImage)]
        encoded = iter(self._encode(plain) if plain else ())
        return [
            image.views if isinstance(image, EncodedImage) else next(encoded)
            for image in given
            if not isinstance(image, InputError)
        ]

    def search(self, image: ReadImage, output: ViewLogits) -> Callable[[], ClassLabels]:
        """Start to find the class of every pixel; see `search_classes`."""
        keep_all = self.options.return_probabilities
        offsets = self.offsets(output, image.size)
        return search_classes(
            output, image.size, self.query, self.protocol, offsets=offsets, return_probabilities=keep_all
        )

    def _result(
        self,
        image: ReadImage,
        views: EncodedViews,
        output: ViewLogits,
        search: Callable[[], ClassLabels] | None,
        seconds: float,
    ) -> Segmentation:
        start, query, job = time.perf_counter(), self.query, self
        if (smoothing := self.memory.smoothing) is not None:
            output = smoothing(output, self.protocol, image.pixels)
            job = replace(self, protocol=replace(self.protocol, sliding=None))
        classes = (search or job.search(image, output))()
        part_labels = part_confidence = group_labels = None
        if query.parts is not None:
            against = query.rules.decision.parts_against
            part_labels, part_confidence = label_parts(
                query.candidates, output, classes.labels, classes.strongest, query.class_indices, against, job.protocol
            )
        if job.groups:
            group_labels = strongest_of_groups(job.groups, output, image.size, query, job.protocol)
        result = Segmentation(
            labels=classes.labels,
            confidence=classes.confidence,
            probabilities=classes.probabilities,
            group_labels=group_labels,
            selected=selected_classes(None if output.kept is None else output.kept_anywhere().tolist(), query),
            image=image.pixels,
            seconds=seconds + time.perf_counter() - start,
            source=image.source,
            content=image.content,
            parts=() if query.parts is None else query.parts.parts,
            part_labels=part_labels,
            part_confidence=part_confidence,
            **self.result_metadata,
        )
        return self.finished(result, lambda: ImageViews(image.pixels, views))

    def finished(self, result: Segmentation, image: Callable[[], ImageViews]) -> Segmentation:
        """The result with its objects, if the options ask for them, and its hints."""
        result = self.with_objects(result)
        return result if self.hints is None else replace(result, hints=self.hints(result.statistics, self, image))

    def with_objects(self, result: Segmentation) -> Segmentation:
        """The result with its objects, if the options ask for them."""
        if not self.options.objects:
            return result
        start = time.perf_counter()
        counted = with_objects(result, least=self.options.least_object)
        if (tracks := self.memory.tracks) is not None and counted.object_map is not None:
            numbers = tracks.follow(counted.labels, counted.object_map)
            counted = replace(counted, object_map=numbers, is_tracked=True)
        return replace(counted, seconds=result.seconds + time.perf_counter() - start)

    def view_logits(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[ViewLogits]:
        """The network's logits for all views of several images."""
        return self.compare(self._encode(images))

    def image_views(self, image: UInt8[np.ndarray, "H W 3"]) -> ImageViews:
        """An image with its views."""
        return ImageViews(image, self._encode([image])[0])

    def _encode(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[EncodedViews]:
        complete = self.protocol.selection is not None or self.taught is not None
        return encode_pixels(images, self.protocol, self.engine, complete=complete)

    def compare(self, images: Sequence[EncodedViews]) -> list[ViewLogits]:
        """Compare encoded images with the words; views of equal size form batches."""
        outputs: dict[int, ViewLogits] = {}
        for shape in dict.fromkeys(image.pixels.shape for image in images):
            members = [index for index, image in enumerate(images) if image.pixels.shape == shape]
            logits, kept = self._in_batches(EncodedViews.joined([images[index] for index in members]))
            for number, index in enumerate(members):
                rows = slice(number * shape[0], (number + 1) * shape[0])
                of_image = None if kept is None else kept[rows, ...]
                finished = self._finished(logits[rows, ...], of_image, images[index])
                outputs[index] = ViewLogits(finished, of_image, len(self.text))
        return [outputs[index] for index in range(len(images))]

    def _in_batches(self, views: EncodedViews) -> Maps:
        """Compare batches of views, or all at once where they decide together how many classes are selected."""
        size = len(views) if self.protocol.counts_classes else self.engine.batch
        batches = [self._compare(views[start : start + size]) for start in range(0, len(views), size)]
        if len(batches) == 1:
            return batches[0]
        xp = array_namespace(batches[0][0])
        kept = [indices for _, indices in batches if indices is not None]
        return xp.concat([logits for logits, _ in batches]), xp.concat(kept) if kept else None

    def _compare(self, views: EncodedViews) -> Maps:
        logits, kept = self.engine.compare(views.features, self.text, self.protocol)
        return logits if self.taught is None else self.taught(logits, kept, views.features), kept

    def _finished(self, logits: Array, kept: Array | None, views: EncodedViews) -> Array:
        """An image's logits, refined by its edges and colors, as probabilities of taught words."""
        logits = self._with_edges(logits, kept, views) if self.edges else logits
        logits = self._with_colors(logits, kept, views) if self.query.colored else logits
        if self.taught is None or not self._is_softmax:
            return logits
        return softmax_logits(logits, self.taught.temperature)

    def _with_edges(self, logits: Array, kept: Array | None, views: EncodedViews) -> Array:
        """The maps refined by the image's edges, without islands; as they are if there are too many words."""
        if logits.shape[1] > MOST_WORDS:
            return logits
        is_kept = views.refines_edges  # other models have them only if they are asked for
        fine = refined(logits, views.edge_weights if is_kept else edge_weights(to_numpy(views.pixels), None))
        for number, maps in enumerate(fine):  # parts may be as small as islands
            count = self.query.num_words
            words = slice(count) if kept is None else to_numpy(kept[number, ...]) < count
            maps[words] = without_islands(maps[words])
        return array_namespace(logits).asarray(fine, device=device(logits))

    def _with_colors(self, logits: Array, kept: Array | None, views: EncodedViews) -> Array:
        """The maps, where colors decide between words; see `word_colors`."""
        query, maps = self.query, to_numpy(as_float32(logits)).copy()
        for number, pixels in enumerate(to_numpy(views.pixels)):
            words = np.arange(maps.shape[1]) if kept is None else to_numpy(kept[number, ...])
            whole = words < query.num_words  # parts win within their things
            maps[number, whole] = with_colors(
                maps[number, whole], words[whole], query.colored, color_names(pixels), len(query.facts)
            )
        return array_namespace(logits).asarray(maps, device=device(logits))


def rules_of(engine: Engine, words: PreparedVocabulary, options: LabelOptions) -> Rules:
    """The rules that decide the pixels of a call; see `Rules.of`."""
    taught = engine.taught_among(words.names)
    return Rules.of(
        engine.traits.decision,
        words.background,
        options.threshold,
        window=options.window,
        is_single_word=words.is_single_word,
        is_taught=bool(taught),
        learned_background=engine.learned_background(taught),
    )


def not_finite_error(name: str) -> InputError:
    """The error if the logits of an image are not finite."""
    return InputError(
        f"{name}: the network's output is not finite (NaN or infinity); check the weights, or use dtype float32"
    )


def start_in_own_windows(job: LabelingJob) -> StartBatch:
    """Label encoded images in their own windows, and the others in that of the job."""
    jobs: dict[Window, LabelingJob] = {job.options.window: job}

    def job_of(image: GivenImage) -> LabelingJob:
        if not isinstance(image, EncodedImage):
            return job
        if image.window not in jobs:
            image.check_model(job.engine)
            options = replace(job.options, window=image.window)
            rules, protocol = rules_of(job.engine, job.words, options), job.engine.protocol(options)
            jobs[image.window] = replace(job, options=options, rules=rules, protocol=protocol)
        return jobs[image.window]

    def start(given: Sequence[GivenImage]) -> Callable[[], Outcomes]:
        windows: list[Window] = [job_of(image).options.window for image in given]
        begun: dict[Window, list[Callable[[], Outcomes]]] = {}
        for window in dict.fromkeys(windows):
            members = [image for image, own in zip(given, windows, strict=True) if own == window]
            size = jobs[window].batch
            begun[window] = [jobs[window].start(members[at : at + size]) for at in range(0, len(members), size)]

        def finish() -> Outcomes:
            outcomes = {window: chain.from_iterable(one() for one in started) for window, started in begun.items()}
            for window in windows:
                yield next(outcomes[window])

        return finish

    return start
