"""Labeling a video: reading, the network, drawing and encoding go on at the same time, in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError
from segvoc.imaging.overlay import SAVED_OVERLAY, OverlayStyle
from segvoc.imaging.result_paths import refuse_overwriting
from segvoc.inference.label_options import LabelKeywords, LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.reports import json_text
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter, Words
from segvoc.inference.smoothing import Smoothing
from segvoc.models.digests import model_record
from segvoc.storage.atomic_writes import write_atomically, writing
from segvoc.storage.resume import Key, stamp_of
from segvoc.videos.encoding import Sound, Timing, join, require_encoder
from segvoc.videos.partial_video import PartialVideo, frame_name
from segvoc.videos.reading import Frame, OpenVideo, frames_ahead
from segvoc.videos.result import VideoOptions, VideoPaths, VideoResult
from segvoc.videos.writing import PieceWriter

WAITING_FRAME_PIXELS = 30_000_000
"""Pixels of the labeled frames that wait to be drawn and encoded, from which on the network waits."""

FrameProgress = Callable[[int, int | None], object]
"""Called with the number of frames that are done, and of all, as far as the file tells."""


def segment_frames(
    model: Segmenter,
    video: OpenVideo,
    words: Words,
    options: VideoOptions | None = None,
    *,
    smoothing: Smoothing | None = None,
    first: int = 0,
    on_frame: Callable[[Frame], object] = lambda frame: None,
) -> Generator[tuple[Frame, Segmentation], None, None]:
    """Label the frames of a video one after the other; a thread reads the next ones while the network works.

    Args:
        model: the model.
        video: the video, open and not read yet.
        words: as for `Segmenter.segment`, encoded once.
        options: how; overlay and compact don't matter.
        smoothing: the mean to go on with (default: a new one, by the options).
        first: the frame to begin with.
        on_frame: called with each frame of the video that is read, in another thread, whether or not it is labeled.

    Yields:
        Each frame that is labeled, and its labels.

    Raises:
        InputError: the network's output for a frame is not finite.
        UsageError: words or options don't fit together.
    """
    options = options or VideoOptions()
    waiting: deque[Frame] = deque()

    def read() -> Iterator[Frame]:
        for frame in video.frames(lambda number: number >= first and number % options.every == 0):
            on_frame(frame)
            if frame.pixels is not None:
                yield frame

    with closing(frames_ahead(read(), video)) as frames:

        def pixels() -> Iterator[UInt8[np.ndarray, "H W 3"]]:
            for frame in frames:
                waiting.append(frame)
                assert frame.pixels is not None
                yield frame.pixels

        results = model.segment_many(pixels(), words, options=options.labels, smoothing=smoothing)
        try:
            for result in results:
                yield waiting.popleft(), replace(result, source=str(video.path))
        except InputError as error:
            raise InputError(f"{str(video.path)!r}: {error}") from None


def label_video(
    model: Segmenter,
    path: str | os.PathLike[str],
    words: Words,
    out: str | os.PathLike[str] = "out",
    *,
    options: LabelOptions | None = None,
    every: int = 1,
    overlay: OverlayStyle | None = SAVED_OVERLAY,
    compact: bool = False,
    resume: bool = False,
    stem: str | None = None,
    **changes: Unpack[LabelKeywords],
) -> VideoResult:
    """Label a video, and write an overlay video, label maps of its frames, and a report.

    Args:
        model: the model.
        path: the video.
        words: as for `Segmenter.segment`; without parts.
        out: the folder of the results.
        options: how to label (default: `LabelOptions()`).
        every: label every such frame, from the first one on; in the overlay video, the frames between keep its labels.
        overlay: what the overlay video shows; None: don't make one.
        compact: list only words that were found in the report.
        resume: go on where an earlier call with the same settings was stopped.
        stem: common name of the results, by default the video's own name without suffix.
        changes: single options of `LabelOptions`, in place of those in `options`.

    Returns:
        The statistics, and the paths of the files. A video that is damaged is labeled as far as it can be read, and
        `damage` says so.

    Raises:
        InputError: the video can't be read at all.
        UsageError: words or options don't fit together, PyAV isn't installed, or another call has left results of
            other settings.
        OutputError: a result can't be written.
    """
    labels = LabelOptions.of(options, changes)
    how = VideoOptions(labels=labels, every=every, overlay=overlay, compact=compact)
    prepared = model.encode(words, background=labels.background)
    settings = {**model_record(model), **how.settings(), **prepared.record()}
    paths = VideoPaths.below(out, stem or Path(path).stem, overlay=overlay is not None)
    return write_video(model, prepared, Path(path), out, paths, how, settings, resume=resume)


def write_video(
    model: Segmenter,
    words: PreparedVocabulary,
    path: Path,
    out: str | os.PathLike[str],
    paths: VideoPaths,
    options: VideoOptions,
    settings: Key,
    *,
    resume: bool = False,
    progress: FrameProgress = lambda done, total: None,
) -> VideoResult:
    """Do the work of `label_video`.

    Args:
        model: the model.
        words: the words, encoded by the model.
        path: the video.
        out: the folder of the results.
        paths: the files to write.
        options: how to label, and what to write.
        settings: all that the results depend on but the video.
        resume: go on with pieces that an earlier call with the same settings has done.
        progress: told how far it is.

    Raises:
        InputError: the video can't be read.
        UsageError: an earlier call has left pieces of other settings, or a package is missing.
        OutputError: a result can't be written.
    """
    refuse_overwriting([path], paths)
    if options.overlay is not None:
        require_encoder()
    stamp = stamp_of(path)
    with OpenVideo(path) as video:
        with PartialVideo(
            out, paths.stem, settings, stamp, overlay=options.overlay is not None, resume=resume
        ) as partial:
            if not partial.is_complete:
                _label(model, words, video, options, partial, progress)
            timing = Timing.of(partial.times, video.time_base, video.rate)
            sound: list[Sound] = []
            result = VideoResult(
                source=str(path),
                height=video.height,
                width=video.width,
                words=words.words,
                background=words.background,
                unsure_below=model.unsure_below,
                statistics=partial.statistics,
                timing=timing,
                every=options.every,
                smooth=options.labels.smooth,
                rotation=video.rotation,
                frames=partial.frames,
                sound=sound,
                damage=partial.damage,
                model=model.name,
                dtype=model.dtype,
                seconds=partial.seconds,
                paths=paths,
            )
            _publish(result, partial, video, sound, compact=options.compact)
            partial.remove()
    return result


def _publish(
    result: VideoResult, partial: PartialVideo, video: OpenVideo, sound: list[Sound], *, compact: bool
) -> None:
    """Put the results in their places; the report comes last, and that of an earlier call goes first."""
    paths = result.paths
    earlier = _earlier_frames(paths)
    numbers = range(0, result.number, result.every)
    with writing(paths.label_maps):
        for number in set(earlier) - set(numbers):
            (paths.label_maps / frame_name(number)).unlink(missing_ok=True)
        if paths.overlay is None and earlier:
            paths.report.with_name(f"{Path(paths.stem).name}.overlay.mp4").unlink(missing_ok=True)
        paths.report.unlink(missing_ok=True)
        paths.label_maps.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            if (made := partial.label_map(number)).is_file():  # a call that was stopped here has moved some
                made.replace(paths.label_maps / frame_name(number))
    if paths.overlay is not None:
        pieces = [partial.overlay(piece) for piece in range(partial.pieces)]
        sound += join(paths.overlay, pieces, result.timing, video.path, video.begin)
    report = json_text(result.report(compact=compact))
    write_atomically(paths.report, lambda file: file.write(report))


def _earlier_frames(paths: VideoPaths) -> range:
    """The frames whose label maps an earlier call has left, by its report."""
    try:
        about = paths.read_report()["video"]
        return range(0, int(about["frames"]), int(about["every"]))
    except (OSError, ValueError, KeyError, TypeError):
        return range(0)


def _label(
    model: Segmenter,
    words: PreparedVocabulary,
    video: OpenVideo,
    options: VideoOptions,
    partial: PartialVideo,
    progress: FrameProgress,
) -> None:
    """Label the frames that aren't done yet, piece by piece."""
    first, smoothing = len(partial.times), None
    if options.labels.smooth:
        smoothing = Smoothing(options.labels.smooth)
        if partial.pieces and (state := partial.state()) is not None:
            smoothing.restore(state)
    times = partial.times[:]

    def note(frame: Frame) -> None:
        if frame.number >= first:
            times.append(frame.time)

    total = video.expected_frames
    progress(first, total)
    most = max(2, WAITING_FRAME_PIXELS // (video.width * video.height))
    with closing(PieceWriter(video, words.words, options, partial, times)) as writer:
        results = segment_frames(model, video, words, options, smoothing=smoothing, first=first, on_frame=note)
        with closing(results):
            for frame, result in results:
                writer.add(frame.number, result, None if smoothing is None else smoothing.state)
                writer.wait(most)
                progress(min(frame.number + options.every, len(times)), total)
        writer.wait(0)
        if len(times) > len(partial.times):
            writer.finish_piece(len(times))
    progress(len(times), len(times))
    partial.complete(video.damage)
