"""The segmenter: labels images with a network on any engine, by its protocols."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar, Unpack, cast, overload

import numpy as np

from segvoc.encoders.word_encoder import WordEncoder
from segvoc.errors import InputError, SegvocError, UsageError, checked_call, no_attribute
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import ImageSource
from segvoc.inference.engine import PLAIN, Engine, ModelTraits
from segvoc.inference.job import LabelingJob, Outcomes, ReadImage, StartBatch, label_stream, raising, warning
from segvoc.inference.label_options import AUTO, LabelKeywords, LabelOptions
from segvoc.inference.part_labels import words_with_objects
from segvoc.inference.pixel_labels import checked_groups
from segvoc.inference.prepared_vocabulary import Parts, PreparedVocabulary
from segvoc.inference.protocols import Protocol, Protocols
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.smoothing import Smoothing
from segvoc.inference.taught.features import FeatureArrays, read_features
from segvoc.inference.taught.taught_words import TaughtQuery, TaughtWords, probe_image
from segvoc.inference.tiled import TiledLabeling
from segvoc.inference.windows import views
from segvoc.inference.word_hints import SURE, model_hints, surroundings_hints, word_hints
from segvoc.layers.selection import requested_selection
from segvoc.vocabulary import Vocabulary, folded

AnySegmenter = TypeVar("AnySegmenter", bound="Segmenter")

Words = str | Iterable[str] | Mapping[int, str] | Vocabulary | PreparedVocabulary
"""Accepted as words: one per class, a line ("cat, sofa"), names by id, or a vocabulary encoded by the model."""


class CallKeywords(LabelKeywords, total=False):
    """Keyword arguments of `Segmenter.segment`."""

    options: LabelOptions | None
    parts: Parts | None
    groups: Sequence[Sequence[int]]


class StreamKeywords(CallKeywords, total=False):
    """Keyword arguments of `Segmenter.segment_many`."""

    smoothing: Smoothing | None


class Segmenter(Engine):
    """Labels images with words; created by `segvoc.load`.

    A subclass runs the network: it is an `Engine`.

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
        self._warned: set[str] = set()
        """What calls have warned of; each is said once, also where another library resets Python's own record."""
        self._checked: tuple[str, ...] | None = None
        """The last words for which a call has looked whether they cover its image."""
        self.known_background: str | None = None
        """The word among them that means "none of the others"."""

    def __repr__(self) -> str:
        taught = sum(len(one.words) for one in self.taught)
        return f"<{type(self).__name__} {self.name!r}, {self.dtype}{f', {taught} taught words' if taught else ''}>"

    @property
    def own_words(self) -> tuple[str, ...]:
        """The words that the model was trained on and taught, if any; `segment` asks for them by default."""
        taught = (word.name for one in self.taught for word in one.record.words)
        names: dict[str, str] = {}
        for name in (*self.known_words, *taught):
            names.setdefault(folded(name), name)
        return tuple(names.values())

    @property
    def own_background(self) -> str | None:
        """The word among them that means "none of the others"."""
        return self.known_background if self.known_background in self.own_words else None

    def probed_features(self) -> FeatureArrays:
        """Features of a synthetic image, the fingerprint by which taught words recognize their model."""
        self.prepare_to_run()
        return read_features(self.find_features(views(probe_image(), self.protocols["single"])[:1]))

    @checked_call
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

    def prepare_to_run(self) -> None:
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
            words: as for `segment`, like the parts and the background.
            parts: see there.
            background: see there.

        Returns:
            The encoded vocabulary; pass it to `segment` in place of all three.

        Raises:
            UsageError: words, parts and background conflict.
        """
        prepared = self._prepared(words, parts, background)
        self.prepare_to_run()
        for threshold in (None, 0.0):  # in advance, for any threshold
            prepared.query(threshold)
        return prepared

    @overload
    def segment(
        self, images: ImageSource, words: Words | None = None, **more: Unpack[CallKeywords]
    ) -> Segmentation: ...

    @overload
    def segment(
        self, images: Sequence[ImageSource], words: Words | None = None, **more: Unpack[CallKeywords]
    ) -> list[Segmentation]: ...

    @checked_call
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
            words: one per class, a line ("cat, sofa") or names by id; "sofa=couch" has a synonym. None uses the objects
                of `parts`, or the words that the model was trained on or taught. A vocabulary prepared by `encode`
                includes parts and background.
            options: labeling options (default: `LabelOptions()`).
            parts: the names of each object's parts, {"dog": ["head", "leg"]} or "dog: head, leg"; "*" stands for every
                object. Objects missing from the words are appended. Parts lie inside their objects.
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
        places = [f"image {n} of {len(sources)}" if several else "the image" for n in range(1, len(sources) + 1)]
        outcomes = label_stream(_start(job), job, sources, places)
        results = list(raising(self._warning(outcomes, words, job)))
        return results if several else results[0]

    __call__ = segment

    if not TYPE_CHECKING:  # for type checkers, there are only the attributes above and below

        def __getattr__(self, name: str) -> object:
            raise no_attribute(type(self).__name__, name, "model", dir(type(self)))

    def start(
        self,
        images: Sequence[ImageSource],
        words: Words | None = None,
        *,
        options: LabelOptions | None = None,
        groups: Sequence[Sequence[int]] = (),
    ) -> Callable[[], list[Segmentation]]:
        """Start `segment` for a list of images, so that a GPU has work before the results of the last call are made.

        Takes the arguments of `segment`, and raises its errors. The function that is returned waits for the results; it
        raises `InputError` if the network's output is not finite.
        """
        job = self._job(words, LabelOptions.of(options, {}), None, groups)
        read = [
            ReadImage.of(image, job.options.value_range, f"image {number}") for number, image in enumerate(images, 1)
        ]
        start = _start(job)
        started = [start(read[at : at + job.batch]) for at in range(0, len(read), job.batch)]
        return lambda: [result for finish in started for result in raising(finish())]

    def in_tiles(
        self, words: Words | None, options: LabelOptions | None = None, **changes: Unpack[LabelKeywords]
    ) -> TiledLabeling:
        """Build a labeler of large images, tile by tile; takes the arguments of `segment`.

        Raises:
            UsageError: words or options conflict, the words have parts, or there is no tile.
        """
        return TiledLabeling(self._job(words, LabelOptions.of(options, changes), None, ()))

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

    @checked_call
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
            options: as for `segment`, like what follows; with `smooth`, images are the frames of a video.
            smoothing: the mean of earlier frames to continue (default: a new one if `smooth` is set).
            parts: see there.
            groups: see there.
            changes: see there.

        Returns:
            An iterator with a result per image.

        Raises:
            InputError: an image can't be read, or the network's output for it is not finite.
            UsageError: words or options conflict; raised by this call, not by the iterator.
        """
        if isinstance(images, str | bytes | np.ndarray) or not isinstance(images, Iterable):
            told = " ".join(repr(images).split())
            raise UsageError(f"the images must be an iterable of images, not {told:.80}; give a list")
        job = self._job(words, LabelOptions.of(options, changes), parts, groups, smoothing)
        outcomes = self._warning(label_stream(_start(job), job, images), words, job)
        return outcomes if yield_errors else raising(outcomes)

    def protocol(self, options: LabelOptions) -> Protocol:
        """The protocol of the options' window, with their class selection.

        Raises:
            UsageError: the model doesn't have the window.
        """
        window = options.window
        if window not in [*self.protocols]:  # a list, since `window` may not be hashable
            raise UsageError(f"window={window!r} is unknown to {self.name}; it is one of {', '.join(self.protocols)}")
        protocol = self.protocols[window]
        selection = requested_selection(options.keep_classes, protocol.selection)
        if options.keep_classes is None and self.taught:
            selection = None  # class selection by text must not drop taught words
        return replace(protocol, selection=selection)

    def share_of_surroundings(
        self, image: ImageSource, words: Sequence[str] | Vocabulary, options: LabelOptions
    ) -> float:
        """Share of an image in which stand-ins for the background (wall, sky, ...) are likelier than all words.

        This is another pass through the network. The share is 0 for a model without such words
        (`ModelTraits.background_words`), a single word, and options that set a background, a threshold or tiles.
        """
        free = self.traits.background_words is not None and options.fills_image and options.tiling is None
        if not free or len(words_with_objects(words, None)) < 2:
            return 0.0
        rejecting = replace(options, background=AUTO, threshold=0.0, return_probabilities=False, smooth=0.0)
        try:
            (result,) = self.start([image], words, options=rejecting)()
        except SegvocError:  # the call itself says what is wrong
            return 0.0
        return float(np.mean(result.labels == UNLABELED))

    def _warning(self, outcomes: Outcomes, words: Words | None, job: LabelingJob) -> Outcomes:
        """Pass results on, with warnings where the command line prints hints; each is said once."""
        asked, fills, hints = job.query.words, job.options.fills_image and job.query.parts is None, list[str]()
        checks_cover, checks_sureness = False, self.traits.unsure_below is not None
        if words is not None and not isinstance(words, PreparedVocabulary):
            hints += word_hints(asked, "line" if isinstance(words, str) else "list", fills_image=fills)
            hints += model_hints(asked, self.own_words)
            checks_cover = fills and self._checked != asked

        def news(result: Segmentation) -> list[str]:
            nonlocal checks_cover, checks_sureness
            if checks_cover:
                checks_cover, self._checked = False, asked
                if float(result.confidence.mean()) < SURE:  # words that cover an image are likely in it
                    share = self.share_of_surroundings(result.image, asked, job.options)
                    hints.extend(surroundings_hints(share))
            if checks_sureness and result.is_unsure:
                checks_sureness = False
                hints.append("unsure nearly everywhere: perhaps none of the words is in the image")
            new = [hint for hint in hints if hint not in self._warned]
            self._warned.update(new)
            hints.clear()
            return new

        return warning(outcomes, news)

    def _prepared(self, words: Words | None, parts: Parts | None, background: str | None) -> PreparedVocabulary:
        if words is None and parts is None and (own := self.own_words):
            words, background = own, background or self.own_background
        if isinstance(words, PreparedVocabulary):
            return words.reused(self.encode_words, parts, background)
        learns, stand_ins = self.traits.has_background, self.traits.background_words
        return PreparedVocabulary(
            self.encode_words, words, parts, background, learns_background=learns, background_words=stand_ins
        )

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
        protocol = query.adapted(self.protocol(options))
        taught = TaughtQuery.of(self.taught, query.asked.words, len(text))
        edges = options.edges
        if edges is None:  # by default, maps of `tiny`'s words in its own windows are refined, of taught ones if better
            edges = self.traits.refines_edges and options.window in ("auto", "single", "fine") and not query.candidates
            edges = edges and (taught is None or taught.edges)
        return LabelingJob(
            engine=self,
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


def _start(job: LabelingJob) -> StartBatch:
    return job.start if job.options.tiling is None else TiledLabeling(job).start
