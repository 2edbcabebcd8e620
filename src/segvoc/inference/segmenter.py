"""The segmenter: labels images with a network on any engine, by its protocols."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload

import numpy as np

from segvoc.errors import InputError, UsageError
from segvoc.imaging.reading import ImageSource
from segvoc.imaging.video_reading import OpenVideo
from segvoc.inference.encoded_image import EncodedImage, ReadImage, encode_pixels
from segvoc.inference.engine import Engine
from segvoc.inference.hints import HintWarnings, find_hints
from segvoc.inference.job import (
    CallKeywords,
    LabelingJob,
    StartBatch,
    StreamKeywords,
    label_stream,
    raising,
    rules_of,
    start_in_own_windows,
    warning,
    with_progress,
)
from segvoc.inference.label_options import LabelKeywords, LabelOptions
from segvoc.inference.prepared_vocabulary import Parts, PreparedVocabulary
from segvoc.inference.protocols import Window
from segvoc.inference.segmentation import Segmentation, Segmentations
from segvoc.inference.tiled import TiledLabeling
from segvoc.inference.video_frames import FrameMemory, check_every, labeled_frames
from segvoc.runtime.suggestions import checked_call, no_attribute
from segvoc.vocabulary import Vocabulary
from segvoc.vocabulary.names import folded

GivenSource = ImageSource | EncodedImage
"""Accepted as an image: see `read_given`; or an image encoded by the model."""

Words = str | Iterable[str] | Mapping[int, str] | Vocabulary | PreparedVocabulary
"""Accepted as words: one per class, a line ("cat, sofa"), names by id, or a vocabulary encoded by the model."""


class Segmenter(Engine):
    """Labels images with words; created by `segvoc.load`. A subclass runs the network: it is an `Engine`."""

    @cached_property
    def _hints(self) -> HintWarnings:
        return HintWarnings()

    def __repr__(self) -> str:
        taught = sum(len(one.words) for one in self.taught)
        return f"<{type(self).__name__} {self.name!r}, {self.dtype}{f', {taught} taught words' if taught else ''}>"

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
            prepared.query(rules_of(self, prepared, LabelOptions(threshold=threshold)))
        return prepared

    @checked_call
    def encode_image(self, image: ImageSource, *, window: Window = "auto", stretch: str | None = None) -> EncodedImage:
        """Encode an image once, for any number of calls with any words.

            image = model.encode_image("photo.jpg")
            animals, rooms = model.segment(image, "cat, dog"), model.segment(image, "wall, floor")

        Args:
            image: as for `segment`.
            window: the protocol by which the image is cut into views; see there.
            stretch: see `LabelOptions`.

        Returns:
            The encoded image; pass it to `segment`, `segment_many` or `start` in place of the image. The labels are
            those of the image itself.

        Raises:
            InputError: the image can't be read.
            UsageError: the model doesn't have the window.
        """
        values = LabelOptions(window=window, stretch=stretch).value_range
        protocol = self.window_protocol(window)
        self.prepare_to_run()
        read = ReadImage.of(image, values, "the image", protocol.colors)
        (encoded,) = encode_pixels([read.pixels], protocol, self)
        how = {"window": window, "protocol": protocol, "stretch": values}
        return EncodedImage(image=read, views=encoded, encoder=self.image_encoder, **how)

    @overload
    def segment(
        self, images: GivenSource, words: Words | None = None, **more: Unpack[CallKeywords]
    ) -> Segmentation: ...

    @overload
    def segment(
        self, images: Sequence[GivenSource], words: Words | None = None, **more: Unpack[CallKeywords]
    ) -> list[Segmentation]: ...

    @checked_call
    def segment(
        self,
        images: GivenSource | Sequence[GivenSource],
        words: Words | None = None,
        *,
        options: LabelOptions | None = None,
        parts: Parts | None = None,
        progress: bool = False,
        **changes: Unpack[LabelKeywords],
    ) -> Segmentation | list[Segmentation]:
        """Label every pixel of an image or a list of images with a word.

            model.segment("photo.jpg", ["cat", "sofa"], background="other", threshold=0.4)

        Args:
            images: an image (a path or address, "-" for standard input, a PIL image, an array, ...: see `read_given`;
                or an `EncodedImage`, of any window if that of the options is "auto"), or a list of images of any sizes.
            words: one per class, a line ("cat, sofa") or names by id; "sofa=couch" has a synonym. None uses the objects
                of `parts`, or the words that the model was trained on or taught. A vocabulary prepared by `encode`
                includes parts and background.
            options: labeling options (default: `LabelOptions()`).
            parts: the names of each object's parts, {"dog": ["head", "leg"]} or "dog: head, leg"; "*" stands for every
                object. Objects missing from the words are appended. Parts lie inside their objects.
            progress: show a bar for a list of images on a terminal or in a notebook, and elsewhere a line now and then.
            changes: options of `LabelOptions` by name (window, keep_classes, threshold, ...), which override `options`.

        Returns:
            The result, or a list of results for a list of images, whose overlays a notebook shows.

        Raises:
            InputError: an image can't be read, or the network's output for it is not finite.
            UsageError: words or options conflict.
        """
        options = LabelOptions.of(options, changes)
        options.check_single_images()
        several = isinstance(images, Sequence) and not isinstance(images, str | bytes | bytearray | memoryview)
        sources = cast(Sequence[GivenSource], images if several else [images])
        job = self.job(words, options, parts)
        places = [f"image {n} of {len(sources)}" if several else "the image" for n in range(1, len(sources) + 1)]
        outcomes = label_stream(_start(job), job, sources, places)
        if progress and several:
            outcomes = with_progress(outcomes, sources)
        results = Segmentations(raising(warning(outcomes, self._hints.warn)))
        return results if several else results[0]

    __call__ = segment

    if not TYPE_CHECKING:  # for type checkers, there are only the attributes above and below

        def __getattr__(self, name: str) -> object:
            raise no_attribute(type(self).__name__, name, "model", dir(type(self)))

    def start(
        self,
        images: Sequence[GivenSource],
        words: Words | None = None,
        *,
        options: LabelOptions | None = None,
        groups: Sequence[Sequence[int]] = (),
    ) -> Callable[[], list[Segmentation]]:
        """Start `segment` for a list of images, so that a GPU has work before the results of the last call are made.

        Args:
            images: see `segment`, like the words.
            words: see there.
            options: labeling options (default: `LabelOptions()`).
            groups: groups of words, as indices. For each group, results also have its most likely word at every pixel
                (`group_labels`).

        Returns:
            A function that waits for the results; it raises `InputError` if the network's output is not finite.

        Raises:
            InputError: an image can't be read.
            UsageError: words or options conflict.
        """
        options = options or LabelOptions()
        options.check_single_images()
        job = replace(self.job(words, options, None, groups=groups), hints=None)
        read = [
            image
            if isinstance(image, EncodedImage)
            else ReadImage.of(image, options.value_range, f"image {number}", job.protocol.colors)
            for number, image in enumerate(images, 1)
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
        return TiledLabeling(self.job(words, LabelOptions.of(options, changes), None))

    @overload
    def segment_many(
        self,
        images: Iterable[GivenSource],
        words: Words | None = None,
        *,
        yield_errors: Literal[False] = False,
        **more: Unpack[StreamKeywords],
    ) -> Iterator[Segmentation]: ...

    @overload
    def segment_many(
        self,
        images: Iterable[GivenSource],
        words: Words | None = None,
        *,
        yield_errors: Literal[True],
        **more: Unpack[StreamKeywords],
    ) -> Iterator[Segmentation | InputError]: ...

    @checked_call
    def segment_many(
        self,
        images: Iterable[GivenSource],
        words: Words | None = None,
        *,
        yield_errors: bool = False,
        options: LabelOptions | None = None,
        memory: FrameMemory | None = None,
        parts: Parts | None = None,
        progress: bool = False,
        **changes: Unpack[LabelKeywords],
    ) -> Iterator[Segmentation | InputError]:
        """Label a stream of images, in order and constant memory; words are encoded once.

        Threads prefetch images while the network processes a batch. At most two batches are in memory; results aren't
        kept.

        Args:
            images: an iterable of images, each as for `segment`; it is consumed as results are requested.
            words: as for `segment`.
            yield_errors: if an image fails, yield the error in place of the result and continue, instead of raising it.
            options: as for `segment`, like what follows; with `smooth` or `track`, images are the frames of a video.
            memory: the state of earlier frames to continue (default: none).
            parts: see there.
            progress: see there.
            changes: see there.

        Returns:
            An iterator with a result per image.

        Raises:
            InputError: an image can't be read, or the network's output for it is not finite.
            UsageError: words or options conflict; raised by this call, not by the iterator.
        """
        if isinstance(images, str | bytes | np.ndarray) or not isinstance(images, Iterable):
            shown = " ".join(repr(images).split())
            fix = f": sorted(pathlib.Path({shown}).glob('*.jpg'))" if isinstance(images, str) else ""
            raise UsageError(f"the images must be an iterable of images, not {shown:.80}; give a list{fix}")
        job = self.job(words, LabelOptions.of(options, changes), parts, memory=memory)
        outcomes = label_stream(_start(job), job, images)
        if progress:
            outcomes = with_progress(outcomes, images)
        outcomes = warning(outcomes, self._hints.warn)
        return outcomes if yield_errors else raising(outcomes)

    @checked_call
    def segment_video(
        self,
        video: str | os.PathLike[str],
        words: Words | None = None,
        *,
        every: int = 1,
        options: LabelOptions | None = None,
        **changes: Unpack[LabelKeywords],
    ) -> Iterator[Segmentation]:
        """Label the frames of a video, in order and constant memory; words are encoded once.

            for frame in model.segment_video("street.mp4", "car, person, road", track=True):
                print(frame.time, [(one.word, one.track, one.box) for one in frame.objects])

        `segvoc.label_video` writes results to files, and can be resumed.

        Args:
            video: the video's file.
            words: as for `segment`.
            every: label every n-th frame, from the first on.
            options: as for `segment`; with `smooth`, probabilities are averaged over time, and with `track`, objects
                keep their numbers.
            changes: see there.

        Returns:
            An iterator with a result per labeled frame, which has its number (`frame`) and `time`. A damaged video is
            labeled as far as it can be read.

        Raises:
            InputError: the video can't be read at all, or the network's output for a frame is not finite.
            UsageError: words or options conflict, or PyAV isn't installed; raised by this call, not by the iterator.
        """
        check_every(every)
        options = LabelOptions.of(options, changes)
        prepared = self.encode(words, background=options.background)
        self.job(prepared, options)  # refuses conflicts
        opened = OpenVideo(video)

        def results() -> Iterator[Segmentation]:
            with opened:
                label = partial(self.segment_many, words=prepared, options=options)
                yield from labeled_frames(opened, label, every=every)

        return results()

    def _prepared(self, words: Words | None, parts: Parts | None, background: str | None) -> PreparedVocabulary:
        if isinstance(words, PreparedVocabulary):
            return words.reused(self.encode_words, parts, background)
        learned = self.own_background
        if words is None and parts is None and (own := self.own_words):
            # another name, or none, takes the place of what the model learned as none of its words
            is_other = background is not None and folded(background) != folded(learned or background)
            words = [word for word in own if word != learned] if is_other else own
        if words is not None and background is None and learned is not None:
            words = words if isinstance(words, Vocabulary) else Vocabulary(words)
            background = learned if folded(learned) in map(folded, words.words) and len(words) > 1 else None
        return PreparedVocabulary(self.encode_words, words, parts, background)

    def job(self, words: Words | None, options: LabelOptions, parts: Parts | None = None, **more: Any) -> LabelingJob:
        """What a call with these words and options does with any image; see `LabelingJob` for the rest."""
        prepared = self._prepared(words, parts, options.background)
        self.prepare_to_run()
        return LabelingJob.of(self, prepared, options, hints=find_hints, **more)


def _start(job: LabelingJob) -> StartBatch:
    if job.options.tiling is not None:
        return TiledLabeling(job).start
    # a named window is that of all images, and the mean of frames has the cells of one window
    return job.start if job.options.window != "auto" or job.memory.smoothing is not None else start_in_own_windows(job)
