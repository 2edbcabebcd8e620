"""The segmenter: labels images with a network on any engine, by its protocols."""

import copy
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar, Unpack, cast, overload

import numpy as np
from array_api_compat import device
from jaxtyping import Float, Float32, Int, UInt8

from segvoc.encoders.word_encoder import EncodedWords, WordEncoder
from segvoc.errors import InputError, UsageError
from segvoc.imaging.notebook_html import table
from segvoc.imaging.reading import ImageSource
from segvoc.inference.edges import MOST_WORDS, refined, without_islands
from segvoc.inference.job import LabelingJob, ReadImage, not_finite_error, read_in_batches
from segvoc.inference.label_options import LabelKeywords, LabelOptions
from segvoc.inference.part_labels import PartsAgainst, label_parts
from segvoc.inference.pixel_labels import (
    ClassLabels,
    checked_groups,
    search_classes,
    selected_classes,
    strongest_of_groups,
)
from segvoc.inference.prepared_vocabulary import BackgroundWords, Parts, PreparedVocabulary
from segvoc.inference.protocols import Protocol, Protocols
from segvoc.inference.segmentation import Segmentation, Segmentations
from segvoc.inference.smoothing import Smoothing
from segvoc.inference.taught.features import FeatureArrays, read_features
from segvoc.inference.taught.taught_words import TaughtQuery, TaughtWords, probe_image
from segvoc.inference.tiled import TiledLabeling
from segvoc.inference.windows import ViewLogits, views
from segvoc.layers.selection_rules import PUBLISHED_VOTES, OwnSelection, Votes, requested_selection
from segvoc.runtime.arrays import Array, array_namespace, on_cpu, start_copy, to_numpy
from segvoc.sharing.uploading import ShareableModel
from segvoc.vocabulary import Vocabulary, folded

AnySegmenter = TypeVar("AnySegmenter", bound="Segmenter")

Words = Iterable[str] | Mapping[int, str] | Vocabulary | PreparedVocabulary
"""Accepted as words: one per class, a line ("cat, sofa"), names by id, or a vocabulary encoded by the model."""


class CallKeywords(LabelKeywords, total=False):
    """Keyword arguments of `Segmenter.segment`."""

    options: LabelOptions | None
    parts: Parts | None
    groups: Sequence[Sequence[int]]


class StreamKeywords(CallKeywords, total=False):
    """Keyword arguments of `Segmenter.segment_many`."""

    smoothing: Smoothing | None


@dataclass(frozen=True, kw_only=True)
class ModelTraits:
    """What a model can do and how its results are read, as its opener knows it."""

    has_background: bool = False
    """Whether the network predicts a map for "none of the words"."""
    selects: bool = True
    """Whether the network supports class selection."""
    own_selection: OwnSelection | None = None
    """Class selection for `keep_classes=None`; None: the protocol's."""
    votes: Votes = PUBLISHED_VOTES
    """How the cells of an image vote for classes."""
    parts_against: PartsAgainst = "object"
    """The rule by which a pixel of an object gets one of its parts."""
    background_words: BackgroundWords | None = None
    """Words that stand for the background; None: only a threshold decides it."""
    refines_edges: bool = False
    """Whether the features are those that the edge refiner was trained on."""
    unsure_below: float | None = None
    """Mean confidence below which perhaps none of the words is in an image; None: not known."""


PLAIN = ModelTraits()
"""A model without special traits."""


class Segmenter(ABC):
    """Labels images with words; created by `segvoc.load`.

    Each engine is a subclass that defines `dtype` and `run`, and `find_features` and `compare` if words can be taught.

    Args:
        name: the model's name in results.
        protocols: one per `window`.
        encode_words: encodes vocabularies for the network.
        traits: what the model can do.
        batch: batch size, in images or windows of images.
        origin: metadata of a weights file, from which `segvoc.load` builds the same network: "preset" and
            "configuration".
    """

    def __init__(
        self,
        *,
        name: str,
        protocols: Protocols,
        encode_words: WordEncoder,
        traits: ModelTraits = PLAIN,
        batch: int = 1,
        origin: Mapping[str, object] | None = None,
    ) -> None:
        self.name, self.protocols, self.encode_words = name, protocols, encode_words
        self.traits, self.batch, self.origin = traits, batch, dict(origin or {})
        self.taught: tuple[TaughtWords, ...] = ()
        """Taught words; if a word is there several times, the last counts."""
        self.known_words: tuple[str, ...] = ()
        """The words that the model was trained on or taught, if its file or repository lists them."""
        self.known_background: str | None = None
        """The word among them that means "none of the others"."""

    def __repr__(self) -> str:
        taught = sum(len(one.words) for one in self.taught)
        return f"<{type(self).__name__} {self.name!r}, {self.dtype}{f', {taught} taught words' if taught else ''}>"

    def _repr_html_(self) -> str:
        """Notebook view of a model."""
        taught = dict.fromkeys(word for one in self.taught for word in one.words)
        return table(
            (self.name, ""),
            [
                ("class", type(self).__name__),
                ("precision", self.dtype),
                ("windows", ", ".join(self.protocols)),
                ("taught words", ", ".join(taught) or "none"),
            ],
        )

    @property
    def own_words(self) -> tuple[str, ...]:
        """The words that the model was trained on or taught, if any."""
        return self.known_words or tuple(dict.fromkeys(word.name for one in self.taught for word in one.record.words))

    @property
    @abstractmethod
    def dtype(self) -> str:
        """Precision of most of the network's computations: "float32", "bfloat16", ..."""

    @abstractmethod
    def run(
        self, pixels: Float32[Array, "N 3 H W"], text: EncodedWords, protocol: Protocol
    ) -> tuple[Float[Array, "N P h w"], Int[Array, "N P"] | None]:
        """Run the network on views of images.

        Args:
            pixels: N views, RGB with values in [0, 255].
            text: the words, encoded by `encode_words`.
            protocol: how class aggregation pools, and which classes are selected.

        Returns:
            Logits (float32) of the P classes kept in each view, and their indices among the words, ascending (None:
            all, in order). Both arrays are of the same library and on the same device.
        """

    def find_features(self, pixels: Float32[Array, "N 3 H W"]) -> FeatureArrays:
        """Run the image encoder on views of images: the first half of `run`.

        Returns:
            The feature maps that taught words read, and the inputs of `compare`.

        Raises:
            UsageError: the network is a part network.
        """
        raise UsageError(
            f"words can't be taught to {self.name!r}, a network of objects and parts; teach another model, such as tiny"
        )

    def compare(
        self, features: FeatureArrays, text: EncodedWords, protocol: Protocol
    ) -> tuple[Float[Array, "N P h w"], Int[Array, "N P"] | None]:
        """Compare features with words: the second half of `run`, which describes its arguments and results.

        Args:
            features: the output of `find_features`.
            text: the words.
            protocol: how class aggregation pools, and which classes are selected.
        """
        raise UsageError(f"words can't be taught to {self.name!r}, which has no features to compare them with")

    def probed_features(self) -> FeatureArrays:
        """Features of a synthetic image, the fingerprint by which taught words recognize their model."""
        self.prepare_to_run()
        return read_features(self.find_features(views(probe_image(), self.protocols["single"])[:1]))

    def with_taught(self: AnySegmenter, *taught: TaughtWords) -> AnySegmenter:
        """Return this model with taught words, sharing its weights.

        Args:
            taught: results of `segvoc.teach`, added to earlier taught words. If a word is taught several times, the
                last counts.

        Raises:
            CheckpointError: the words were taught to another model.
        """
        features = self.probed_features()
        for one in taught:
            one.check_model(self.name, features)
        other = copy.copy(self)
        other.taught = (*self.taught, *taught)
        return other

    def shareable(self, *, weights: bool | None = None) -> ShareableModel:
        """The model's files and facts; see `segvoc.push` for `weights` and the errors."""
        raise UsageError(
            f"{self.name!r} is exported programs; share the preset, file or run that it was exported from: "
            "segvoc push RUN owner/name"
        )

    def to_device(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[Array, "H W 3"]:
        """Move an image to the library and device that its views are interpolated with."""
        return image

    @property
    def batches_ahead(self) -> int:
        """Batches that a stream starts before it waits for the results of the one before them."""
        return 0

    def prepare_to_run(self) -> None:  # noqa: B027
        """Hook at the start of each call that encodes words or labels images; an engine may raise or warn here."""

    @property
    def templates(self) -> Sequence[str]:
        """Prompt templates; `{}` stands for the word."""
        return self.encode_words.templates

    def encode(
        self, words: Words | None, *, parts: Parts | None = None, background: str | None = None
    ) -> PreparedVocabulary:
        """Encode words once, for any number of calls of `segment` and `segment_many`.

        The result is a snapshot: later changes of the text encoder's weights don't affect it.

        Args:
            words: one per class, as for `segment`.
            parts: parts of objects, as for `segment`.
            background: the class for pixels where no other word is likely enough, as for `segment`.

        Returns:
            The encoded vocabulary; pass it to `segment` in place of words, parts and background.

        Raises:
            UsageError: words, parts and background conflict.
        """
        prepared = self._prepared(words, parts, background)
        self.prepare_to_run()
        return prepared.encode_all()

    @overload
    def segment(
        self, images: ImageSource, words: Words | None = None, **more: Unpack[CallKeywords]
    ) -> Segmentation: ...

    @overload
    def segment(
        self, images: Sequence[ImageSource], words: Words | None = None, **more: Unpack[CallKeywords]
    ) -> list[Segmentation]: ...

    def segment(
        self,
        images: ImageSource | Sequence[ImageSource],
        words: Words | None = None,
        *,
        options: LabelOptions | None = None,
        parts: Parts | None = None,
        groups: Sequence[Sequence[int]] = (),
        **changes: Unpack[LabelKeywords],
    ) -> Segmentation | list[Segmentation]:
        """Label every pixel of an image or a list of images with a word.

            model.segment("photo.jpg", ["cat", "sofa"], background="other", threshold=0.4)

        Args:
            images: an image (a path or address, "-" for standard input, a PIL image, an array, ...: see `read_given`),
                or a list of images of any sizes.
            words: one per class, a line ("cat, sofa") or names by id; `", "` inside a word of a list separates
                synonyms. None uses the objects of `parts`, or the words that the model was trained on or taught. A
                vocabulary prepared by `encode` includes parts and background.
            options: labeling options (default: `LabelOptions()`).
            parts: the names of each object's parts, {"dog": ["head", "leg"]}; "*" stands for every object. Objects
                missing from the words are appended. Parts lie inside their objects.
            groups: groups of words, as indices. For each group, the result also has its most likely word at every pixel
                (`group_labels`).
            changes: options of `LabelOptions` by name (window, keep_classes, threshold, ...), which override `options`.

        Returns:
            The result, or a list of results for a list of images.

        Raises:
            InputError: an image can't be read, or the network's output for it is not finite.
            UsageError: words or options conflict.
        """
        options = LabelOptions.of(options, changes)
        if options.smooth:
            raise UsageError("smooth is for the frames of a video; leave it out, or call segment_many")
        several = isinstance(images, Sequence) and not isinstance(images, str | bytes | bytearray | memoryview)
        sources = cast(Sequence[ImageSource], images if several else [images])
        job = self._job(words, options, parts, groups)
        places = (
            [f"image {number} of {len(sources)}" for number in range(1, len(sources) + 1)] if several else ["the image"]
        )
        results = Segmentations(cast("Iterator[Segmentation]", self._stream(sources, job, False, places)))
        return results if several else results[0]

    def start(
        self,
        images: Sequence[ImageSource],
        words: Words | None = None,
        *,
        options: LabelOptions | None = None,
        groups: Sequence[Sequence[int]] = (),
    ) -> Callable[[], list[Segmentation]]:
        """Start `segment` for a list of images, so that a GPU has work before the results of the last call are made.

        Args:
            images: as for `segment`.
            words: as for `segment`.
            options: as for `segment`.
            groups: as for `segment`.

        Returns:
            A function that waits for the results. It raises `InputError` if the network's output is not finite.

        Raises:
            InputError: an image can't be read.
            UsageError: words or options conflict.
        """
        job = self._job(words, LabelOptions.of(options, {}), None, groups)
        read = [
            ReadImage.of(image, job.options.value_range, f"image {number}") for number, image in enumerate(images, 1)
        ]
        begun = [self._begin(read[at : at + job.batch], job) for at in range(0, len(read), job.batch)]

        def finish() -> list[Segmentation]:
            results = (result for one in begun for result in _raising(one(), errors=True))
            return list(cast("Iterator[Segmentation]", results))

        return finish

    def in_tiles(
        self, words: Words | None, options: LabelOptions | None = None, **changes: Unpack[LabelKeywords]
    ) -> TiledLabeling:
        """Build a labeler of large images, tile by tile; takes the arguments of `segment`.

        Raises:
            UsageError: words or options conflict, the words have parts, or there is no tile.
        """
        return self._tiled(self._job(words, LabelOptions.of(options, changes), None, ()))

    def _tiled(self, job: LabelingJob) -> TiledLabeling:
        return TiledLabeling(
            job, batch=self.batch, run=lambda seen, protocol: self._outputs(seen, replace(job, protocol=protocol))
        )

    @overload
    def segment_many(
        self,
        images: Iterable[ImageSource],
        words: Words | None = None,
        *,
        yield_errors: Literal[False] = False,
        **more: Unpack[StreamKeywords],
    ) -> Iterator[Segmentation]: ...

    @overload
    def segment_many(
        self,
        images: Iterable[ImageSource],
        words: Words | None = None,
        *,
        yield_errors: Literal[True],
        **more: Unpack[StreamKeywords],
    ) -> Iterator[Segmentation | InputError]: ...

    def segment_many(
        self,
        images: Iterable[ImageSource],
        words: Words | None = None,
        *,
        yield_errors: bool = False,
        options: LabelOptions | None = None,
        smoothing: Smoothing | None = None,
        parts: Parts | None = None,
        groups: Sequence[Sequence[int]] = (),
        **changes: Unpack[LabelKeywords],
    ) -> Iterator[Segmentation | InputError]:
        """Label a stream of images, in order and constant memory; words are encoded once.

        Threads prefetch images while the network processes a batch. At most two batches are in memory; results aren't
        kept.

        Args:
            images: an iterable of images, each as for `segment`; it is consumed as results are requested.
            words: as for `segment`.
            yield_errors: if an image fails, yield the error in place of the result and continue, instead of raising it.
            options: as for `segment`; with `smooth`, images are the frames of a video.
            smoothing: the mean of earlier frames to continue (default: a new one if `smooth` is set).
            parts: as for `segment`.
            groups: as for `segment`.
            changes: as for `segment`.

        Returns:
            An iterator with a result per image.

        Raises:
            InputError: an image can't be read, or the network's output for it is not finite.
            UsageError: words or options conflict; raised by this call, not by the iterator.
        """
        if isinstance(images, str | bytes) or not isinstance(images, Iterable):
            raise UsageError(f"the images must be an iterable of images, not {images!r:.80}; give a list")
        job = self._job(words, LabelOptions.of(options, changes), parts, groups, smoothing)
        return self._stream(images, job, yield_errors)

    def _stream(
        self, images: Iterable[ImageSource], job: LabelingJob, yield_errors: bool, places: Iterable[str] | None = None
    ) -> Iterator[Segmentation | InputError]:
        begun: deque[Callable[[], Iterator[Segmentation | InputError]]] = deque()
        failure: Exception | None = None
        with closing(read_in_batches(images, job.batch, job.options.value_range, places)) as batches:
            while True:
                try:
                    begun.append(self._begin(next(batches), job))
                except StopIteration:
                    break
                except Exception as error:  # the results of what came before it come first
                    failure = error
                    break
                if len(begun) > self.batches_ahead:
                    yield from _raising(begun.popleft()(), not yield_errors)
            while begun:
                yield from _raising(begun.popleft()(), not yield_errors)
            if failure is not None:
                raise failure

    def protocol(self, options: LabelOptions, words: int) -> Protocol:
        """The protocol of the options' window, with their class selection.

        Raises:
            UsageError: the model doesn't have the window.
        """
        window = options.window
        if window not in self.protocols:
            raise UsageError(f"window={window!r} is unknown to {self.name}; it is one of {', '.join(self.protocols)}")
        protocol = self.protocols[window]
        if options.keep_classes is not None:
            return replace(protocol, selection=requested_selection(options.keep_classes, self.traits.votes))
        if self.traits.own_selection is None or not self.traits.selects or self.taught:
            return protocol  # class selection by text must not drop taught words
        return replace(protocol, selection=self.traits.own_selection.rule(words, self.traits.votes))

    def _prepared(self, words: Words | None, parts: Parts | None, background: str | None) -> PreparedVocabulary:
        if words is None and parts is None and (own := self.own_words):
            words, background = own, background or (self.known_background if self.known_background in own else None)
        if not isinstance(words, PreparedVocabulary):
            return PreparedVocabulary(
                self.encode_words,
                words,
                parts,
                background,
                learns_background=self.traits.has_background,
                background_words=self.traits.background_words,
            )
        if words.encode is not self.encode_words:
            raise UsageError("these words were encoded by another model; encode them with this one")
        if parts is not None or (
            background is not None and folded(background.strip()) != folded(words.background or "")
        ):
            raise UsageError("encoded words include parts and background; give both to `encode`")
        return words

    def _job(
        self,
        words: Words | None,
        options: LabelOptions,
        parts: Parts | None,
        groups: Sequence[Sequence[int]],
        smoothing: Smoothing | None = None,
    ) -> LabelingJob:
        prepared = self._prepared(words, parts, options.background)
        self.prepare_to_run()
        query, text = prepared.query(options.threshold)
        protocol = query.adapted(self.protocol(options, query.named))
        taught = TaughtQuery.of(self.taught, query.asked.words, len(text))
        edges = options.edges
        if edges is None:  # by default, maps of `tiny`'s words in its own windows are refined, of taught ones if better
            edges = self.traits.refines_edges and options.window in ("auto", "single") and not query.candidates
            edges = edges and (taught is None or taught.edges)
        return LabelingJob(
            options=options,
            query=query,
            text=text if taught is None else taught.embeddings(text),
            protocol=protocol,
            threshold=query.threshold(options.threshold),
            taught=taught,
            groups=checked_groups(groups, len(query.words)),
            # the classes kept for an image must not depend on the other images in its batch
            batch=1 if protocol.counts_classes or options.tiling is not None else self.batch,
            edges=edges,
            smoothing=Smoothing(options.smooth) if smoothing is None and options.smooth else smoothing,
        )

    def _begin(
        self, read: Sequence[ReadImage | InputError], job: LabelingJob
    ) -> Callable[[], Iterator[Segmentation | InputError]]:
        """Start to label a batch of images; the iterator that is returned waits for a GPU and gives the results.

        An error takes the place of an image that couldn't be read.
        """
        images = [image for image in read if isinstance(image, ReadImage)]
        if job.options.tiling is not None or not images:
            return partial(self._label_tiles, read, self._tiled(job) if images else None)
        start = time.perf_counter()
        outputs = self._outputs([image.pixels for image in images], job)
        xp = array_namespace(outputs[0].logits)
        finite = start_copy(xp.stack([xp.all(xp.isfinite(output.logits)) for output in outputs]))
        found: list[Callable[[], ClassLabels] | None] = [None] * len(images)
        if job.smoothing is None and not on_cpu(outputs[0].logits):  # a frame's mean needs the frame before
            found = [self._search(image, output, job) for image, output in zip(images, outputs, strict=True)]

        def finish() -> Iterator[Segmentation | InputError]:
            (are_finite,) = finite()
            share = (time.perf_counter() - start) / len(images)
            labeled = zip(images, outputs, are_finite, found, strict=True)
            for image in read:
                if isinstance(image, InputError):
                    yield image
                    continue
                _, output, is_finite, search = next(labeled)
                if is_finite:
                    yield self._result(image, output, job, search, share)
                else:
                    yield not_finite_error(image.name)

        return finish

    def _label_tiles(
        self, read: Sequence[ReadImage | InputError], tiled: TiledLabeling | None
    ) -> Iterator[Segmentation | InputError]:
        for image in read:
            if isinstance(image, InputError) or tiled is None:
                yield cast(InputError, image)
                continue
            try:
                yield tiled.segmentation(
                    image, model=self.name, dtype=self.dtype, unsure_below=self.traits.unsure_below
                )
            except InputError as error:
                yield error

    def _search(self, image: ReadImage, output: ViewLogits, job: LabelingJob) -> Callable[[], ClassLabels]:
        keep_all = job.options.return_probabilities
        return search_classes(output, image.size, job.query, job.protocol, job.threshold, return_probabilities=keep_all)

    def _result(
        self,
        image: ReadImage,
        output: ViewLogits,
        job: LabelingJob,
        search: Callable[[], ClassLabels] | None,
        network_seconds: float,
    ) -> Segmentation:
        start, query = time.perf_counter(), job.query
        output, job = job.smoothed(output, image.pixels)
        found = (search or self._search(image, output, job))()
        part_labels = part_confidence = group_labels = None
        if query.parts is not None:
            asked, against = query.asked_indices, self.traits.parts_against
            part_labels, part_confidence = label_parts(
                query.candidates, output, found.labels, found.strongest, asked, against, job.protocol
            )
        if job.groups:
            group_labels = strongest_of_groups(job.groups, output, image.size, query, job.protocol)
        return Segmentation(
            labels=found.labels,
            confidence=found.confidence,
            probabilities=found.probabilities,
            group_labels=group_labels,
            words=query.words,
            selected=selected_classes(output, query),
            image=image.pixels,
            model=self.name,
            dtype=self.dtype,
            seconds=image.seconds + network_seconds + time.perf_counter() - start,
            source=image.source,
            content=image.content,
            background=job.query.background_name,
            unsure_below=self.traits.unsure_below,
            parts=() if query.parts is None else query.parts.parts,
            part_labels=part_labels,
            part_confidence=part_confidence,
        )

    def _outputs(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], job: LabelingJob) -> list[ViewLogits]:
        """The network's logits for all views of several images; views of equal size form one batch."""
        outputs: dict[int, ViewLogits] = {}
        seen = [views(image, job.protocol, self.to_device) for image in images]
        xp = array_namespace(seen[0])
        for shape in dict.fromkeys(view.shape for view in seen):
            members = [index for index, view in enumerate(seen) if view.shape == shape]
            logits, kept = self._run_in_batches(xp.concat([seen[index] for index in members]), job)
            for number, index in enumerate(members):
                own = slice(number * shape[0], (number + 1) * shape[0])
                of_own = None if kept is None else kept[own, ...]
                outputs[index] = ViewLogits(logits[own, ...], of_own, len(job.text))
        return [outputs[index] for index in range(len(seen))]

    def _run_in_batches(self, pixels: Float32[Array, "N 3 H W"], job: LabelingJob) -> tuple[Array, Array | None]:
        """Run the network in batches of views, unless all views together determine the number of kept classes."""
        size = len(pixels) if job.protocol.counts_classes else self.batch
        ran = [self._run(pixels[start : start + size], job) for start in range(0, len(pixels), size)]
        if len(ran) == 1:
            return ran[0]
        xp = array_namespace(ran[0][0])
        kept = [of_views for _, of_views in ran if of_views is not None]
        return xp.concat([logits for logits, _ in ran]), xp.concat(kept) if kept else None

    def _run(self, pixels: Float32[Array, "N 3 H W"], job: LabelingJob) -> tuple[Array, Array | None]:
        logits, kept, features = self._coarse(pixels, job)
        return self._fine(logits, kept, pixels, features, job) if job.edges else logits, kept

    def _coarse(
        self, pixels: Float32[Array, "N 3 H W"], job: LabelingJob
    ) -> tuple[Array, Array | None, FeatureArrays | None]:
        """The maps of the network and of taught words, the kept classes, and the features if they were needed."""
        if job.taught is None and not (job.edges and self.traits.refines_edges):
            return *self.run(pixels, job.text, job.protocol), None
        features = self.find_features(pixels)
        logits, kept = self.compare(features, job.text, job.protocol)
        return logits if job.taught is None else job.taught(logits, kept, features), kept, features

    def _fine(
        self, logits: Array, kept: Array | None, pixels: Array, features: FeatureArrays | None, job: LabelingJob
    ) -> Array:
        """The maps refined by the image's edges, without islands; as they are if there are too many words."""
        if logits.shape[1] > MOST_WORDS:
            return logits
        fine = refined(logits, to_numpy(pixels), features)
        for number, maps in enumerate(fine):  # parts may be as small as islands
            words = slice(job.query.named) if kept is None else to_numpy(kept[number, ...]) < job.query.named
            maps[words] = without_islands(maps[words])
        return array_namespace(logits).asarray(fine, device=device(logits))


def _raising(results: Iterator[Segmentation | InputError], errors: bool) -> Iterator[Segmentation | InputError]:
    """The results; with `errors`, the first error is raised."""
    for result in results:
        if errors and isinstance(result, InputError):
            raise result
        yield result
        del result  # it isn't kept while the next one is made
