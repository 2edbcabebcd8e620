"""Labeling a video with concurrent reading, inference, drawing and encoding, in bounded memory."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial as partial_call
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from segvoc.errors import InputError, OutputError, UsageError
from segvoc.imaging.label_maps import read_label_map
from segvoc.imaging.palette import word_colors
from segvoc.imaging.result_paths import InputImage, PathLike, ResultFiles, ResultPaths, plan_files, refuse_overwriting
from segvoc.imaging.video_reading import OpenVideo, require_av
from segvoc.inference.hints import find_hints
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.reports import LabeledFile, json_text
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter, Words
from segvoc.inference.smoothing import SmoothingState
from segvoc.inference.video_frames import check_every, labeled_frames
from segvoc.labeling.overlay_video import OverlayVideo, require_encoder
from segvoc.labeling.partial_video import PartialVideo, frame_name, objects_name, read_objects
from segvoc.labeling.task import Labeled, Labeling, Planned, Task, label_files
from segvoc.labeling.track_files import SUFFIXES, TrackedVideo, TrackFormat, write_tracks
from segvoc.models.digests import model_record
from segvoc.runtime.ordered_calls import run_ordered
from segvoc.runtime.progress import print_line
from segvoc.storage.atomic_writes import check_names, write_atomically, writing
from segvoc.storage.resume import RunSettings, stamp_of

PIECE = 60
"""Approximate frames per chunk, the work lost by a kill; rounded to a multiple of `every`."""

WAITING_FRAME_PIXELS = 30_000_000
"""Maximum number of pixels of queued frames (to draw and encode); the network waits beyond it."""

OVERLAY, TRACKS = ".overlay.mp4", ".tracks.jsonl"
"""What is added to the video's name for the overlay video, and for the list of tracked objects."""


def _paths(stem: str, labeling: Labeling) -> ResultPaths:
    """The files of a labeled video: `video/000000.png`, ... (label maps), `video.overlay.mp4` and `video.json`."""
    label_map, report = (Path(labeling.out, f"{stem}{suffix}") for suffix in ("", ".json"))
    overlay = None if labeling.overlay is None else Path(labeling.out, f"{stem}{OVERLAY}")
    suffixes = [TRACKS, *map(SUFFIXES.__getitem__, labeling.track_formats)] if labeling.options.track else []
    tracks = tuple(Path(labeling.out, f"{stem}{suffix}") for suffix in suffixes)
    return ResultPaths(stem=stem, label_map=label_map, overlay=overlay, tracks=tracks, report=report)


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoResult(LabeledFile):
    """The result for a video; its labels are in files."""

    video: Mapping[str, Any]
    """The number of "frames", the number "labeled", "every", "smooth", the average "fps", the "duration" [s], the
    counterclockwise "rotation" that made frames upright [degrees], "audio", "damage", and the number of "tracks" of
    each word (None if objects aren't tracked).

    "audio" has the "codec" of each stream, and whether it is "copied" to the overlay video; it is empty without one.
    "damage" is why the video ends early, or what is missing; None if it is whole.
    """
    timeline: Sequence[Mapping[str, Any]] | None
    """For each labeled frame its number ("frame"), "time" [s], the share of each word in it ("fractions"), and with
    objects their number of each word ("objects"); None for videos with more than `MOST_LISTED` labeled frames."""
    paths: ResultPaths

    def report(self, *, compact: bool = False) -> dict[str, Any]:
        """The contents of `video.json`: as `Segmentation.report`, plus "video" and "timeline"."""
        return super().report(compact=compact) | {"video": self.video, "timeline": self.timeline}


def label_video(
    model: Segmenter,
    path: PathLike,
    words: Words,
    labeling: Labeling | None = None,
    *,
    stem: str | None = None,
    progress: Callable[[int, int | None], object] = lambda done, total: None,
) -> VideoResult:
    """Label a video, and write an overlay video, label maps of its frames (and maps of objects), and a report.

    Objects are numbered anew in each frame, or by their tracks (`track=True`), which are written frame by frame, too.

    Args:
        model: the model.
        path: the video.
        words: as for `Segmenter.segment`; without parts.
        labeling: `options`, `every`, and what to write.
        stem: common name of the results (default: the video's name without suffix).
        progress: called with the number of finished frames, and the total if the file declares it.

    Returns:
        The statistics, and the paths of the files. A damaged video is labeled as far as it can be read.

    Raises:
        InputError: the video can't be read at all.
        UsageError: words or options conflict, PyAV isn't installed, or an earlier call left results with other
            settings.
        OutputError: a result can't be written.
    """
    path, call = Path(path), labeling or Labeling()
    how, every = call.options, 1 if call.every is None else call.every
    check_every(every)
    if call.overlay is not None:
        require_encoder()
    av = require_av()
    prepared = model.encode(words, background=how.background)
    versions = {"PyAV": av.__version__, "FFmpeg": av.ffmpeg_version_info}
    settings = {**model_record(model), **how.record(), **prepared.record(), "every": every, **versions}
    paths = _paths(stem or path.stem, call)
    refuse_overwriting([path], paths)
    check_names(paths)
    stamp = stamp_of(path)
    with OpenVideo(path) as video, PartialVideo(call, paths.stem, settings, stamp) as partial:
        if not partial.is_complete:
            _label_frames(model, video, prepared, call, partial, progress)
        times, labeled = partial.times, -(-len(partial.times) // every)
        facts = {
            "frames": len(times),
            "labeled": labeled,
            "every": every,
            "smooth": how.smooth,
            "fps": round(float(video.rate), 6),
            "duration": round(float((times[-1] - times[0]) * video.time_base + 1 / video.rate), 6),
            "rotation": video.rotation,
            "audio": partial.sound,
            "damage": partial.damage,
            "tracks": {prepared.words[label]: count for label, count in sorted(partial.started.items())}
            if how.track
            else None,
        }
        job = model.job(prepared, how)
        result = VideoResult(
            source=str(path),
            height=video.height,
            width=video.width,
            statistics=partial.statistics,
            video=facts,
            timeline=partial.timeline(prepared.words, video) if labeled == len(partial.frames) else None,
            seconds=partial.seconds,
            paths=paths,
            hints=find_hints(partial.statistics, job),
            **job.result_metadata,
        )
        _publish(result, partial, call)
        partial.remove()
    return result


class VideoTask(Task):
    """Videos, labeled frame by frame."""

    kind = "videos"
    is_stream = False
    refused: ClassVar[Mapping[str, str]] = {
        "--format": "--format needs images; leave it out, extract the video's frames first, or see --track-format",
        "--format geojson": "--format geojson and gpkg need images with coordinates; leave out --format",
        "--parts": "--parts is for images only; leave it out, or the video",
        "--tile": "videos have no tiles; leave out --tile and its relatives",
        "--stretch": "videos have no tiles; leave out --tile and its relatives",
        "--jobs": "frames go through the network one after the other; leave out --jobs",
    }

    def plan(self, images: Sequence[InputImage]) -> list[ResultFiles | None]:
        """See `Task.plan`; `UsageError` also without PyAV, and for formats of tracks without tracks."""
        require_av()
        if self.labeling.track_formats and not self.labeling.options.track:
            raise UsageError("--track-format is for tracked objects; add --track, or leave it out")
        call = self.labeling
        return plan_files(images, call.out, lambda _, stem: _paths(stem, call))

    def settings(self, model: Segmenter) -> RunSettings:
        """See `Task.settings`."""
        return {**super().settings(model), "every": self.labeling.every or 1}

    def label(self, model: Segmenter, planned: Iterable[Planned]) -> Iterator[LabeledFile | InputError | OutputError]:
        """See `Task.label`; the results are written, too."""
        label = partial_call(label_video, model, words=self.labeling.encoded(model), labeling=self.labeling)
        return label_files(planned, "frame", label)

    def write(self, result: VideoResult, files: ResultFiles) -> Labeled:
        """See `Task.write`; prints what is lost of a video."""
        for sound in result.video["audio"]:
            if not sound["copied"]:
                print_line(f"segvoc: {result.source!r}: MP4 can't hold its {sound['codec']} sound, which is left out")
        if (damage := result.video["damage"]) is not None:
            print_line(
                f"segvoc: error: {result.source!r} is damaged ({damage}); "
                f"its {result.video['frames']} frames that can be read are labeled"
            )
        return Labeled(self.labeling.line(result, files), is_whole=damage is None)


def _label_frames(
    model: Segmenter,
    video: OpenVideo,
    words: PreparedVocabulary,
    call: Labeling,
    partial: PartialVideo,
    progress: Callable[[int, int | None], object],
) -> None:
    """Label the frames that an earlier call left; a thread stores them and draws the overlay video, from the start."""
    every, style, memory = call.every or 1, call.overlay, partial.memory(call.options, call.every or 1)
    first, total = len(partial.times), video.expected_frames
    colors, times = word_colors(words.words, words.background), partial.times[:]

    def store(number: int, result: Segmentation, state: SmoothingState | None, started: Counter[int]) -> None:
        if number % (every * max(1, PIECE // every)) == 0:
            partial.end_piece(times[:number])
        partial.add_frame(number, result, colors, state, started)
        if overlay is not None:
            overlay.show(result.labels, every, result.object_map)

    def calls() -> Generator[tuple[Callable[[], object], int], None, None]:
        if overlay is not None:
            for number in range(0, first, every):
                yield (
                    partial_call(
                        overlay.show, read_label_map(partial.label_map(number)), every, partial.objects(number)
                    ),
                    1,
                )
        label = partial_call(model.segment_many, words=words, options=call.options, memory=memory)
        results = labeled_frames(video, label, every=every, first=first, on_frame=lambda one: times.append(one.time))
        with closing(results):
            for result in results:
                assert result.frame is not None
                state = None if memory.smoothing is None else memory.smoothing.state
                started = Counter[int]() if memory.tracks is None else memory.tracks.started.copy()
                yield partial_call(store, result.frame, result, state, started), 1
                progress(min(result.frame + every, len(times)), total)

    about = partial.overlay, video.path, words.words, colors
    with ExitStack() as stack:
        overlay = None if style is None else stack.enter_context(closing(OverlayVideo(*about, style)))
        thread = ThreadPoolExecutor(1, thread_name_prefix="segvoc-video-writer")
        stack.callback(thread.shutdown, cancel_futures=True)
        progress(first, total)
        for _ in run_ordered(thread, calls(), max(2, WAITING_FRAME_PIXELS // (video.width * video.height))):
            pass
        partial.end_piece(times)
        if overlay is not None:
            overlay.finish()
        partial.complete(video.damage, [] if overlay is None else overlay.sound)
    progress(len(partial.times), len(partial.times))


def _publish(result: VideoResult, partial: PartialVideo, call: Labeling) -> None:
    """Move the results into place: first remove an earlier report, and write the new report last."""
    paths, numbers = result.paths, _labeled_frames(result.video)
    try:
        earlier = _labeled_frames(paths.read_report()["video"])
    except (OSError, ValueError, KeyError, TypeError):
        earlier = range(0)
    with writing(paths.label_map):
        for number in set(earlier) - set(numbers):
            for name in (frame_name(number), objects_name(number)):
                (paths.label_map / name).unlink(missing_ok=True)
        for suffix in (OVERLAY, TRACKS, *SUFFIXES.values()) if earlier else ():
            if (path := paths.report.with_name(f"{Path(paths.stem).name}{suffix}")) not in [*paths]:
                path.unlink(missing_ok=True)
        paths.report.unlink(missing_ok=True)
        paths.label_map.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            _move(partial.label_map(number), paths.label_map / frame_name(number))
            if partial.has_objects:
                _move(partial.object_map(number), paths.label_map / objects_name(number))
            else:
                (paths.label_map / objects_name(number)).unlink(missing_ok=True)
        if paths.overlay is not None:
            _move(partial.overlay, paths.overlay)
    if paths.tracks:
        _write_tracks(result, partial, call.track_formats)
    write_atomically(paths.report, lambda file: file.write(json_text(result.report(compact=call.compact))))


def _write_tracks(result: VideoResult, partial: PartialVideo, formats: Sequence[TrackFormat]) -> None:
    """Write the objects of all frames, of which the maps are in place."""
    paths = result.paths

    def read(number: int) -> tuple[np.ndarray, np.ndarray]:
        labels = read_label_map(paths.label_map / frame_name(number))
        return labels, read_objects(paths.label_map / objects_name(number))

    video = TrackedVideo(
        name=Path(result.source or "").name,
        words=result.words,
        height=result.height,
        width=result.width,
        rate=result.video["fps"],
        frames=result.video["frames"],
        labeled=_labeled_frames(result.video),
        read=read,
    )
    write_atomically(paths.tracks[0], partial.write_tracks)
    for path, format in zip(paths.tracks[1:], formats, strict=True):
        write_atomically(path, partial_call(write_tracks, video, format))


def _move(partial: Path, place: Path) -> None:
    if partial.is_file():  # a call that was interrupted here has moved some
        partial.replace(place)


def _labeled_frames(video: Mapping[str, Any]) -> range:
    return range(0, int(video["frames"]), int(video["every"]))
