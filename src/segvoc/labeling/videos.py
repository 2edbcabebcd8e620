"""Labeling a video with concurrent reading, inference, drawing and encoding, in bounded memory.

The overlay video has the source's frames under colors, names and a legend, as H.264 with the source's sound.
"""

import json
import math
import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial as partial_call
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from zlib import Z_RLE

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.errors import InputError, OutputError, UsageError
from segvoc.imaging.image_formats import reason
from segvoc.imaging.label_maps import UNLABELED, label_map_image, nearest, read_label_map
from segvoc.imaging.legend import LegendEntry, draw_legend
from segvoc.imaging.overlay import (
    OverlayStyle,
    Paint,
    class_regions,
    finish_overlay,
    margin_of,
    text_sizes,
    with_object_borders,
)
from segvoc.imaging.palette import word_colors
from segvoc.imaging.result_paths import InputImage, PathLike, ResultFiles, ResultPaths, plan_files, refuse_overwriting
from segvoc.imaging.video_reading import OpenVideo, open_container, require_av
from segvoc.inference.hints import find_hints
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.reports import LabeledFile, LabelStatistics, json_text
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter, Words
from segvoc.inference.smoothing import SmoothingState
from segvoc.inference.video_frames import FrameMemory, check_every, labeled_frames
from segvoc.labeling.task import Labeled, Labeling, Planned, Task, label_files
from segvoc.labeling.track_files import SUFFIXES, TrackedVideo, TrackFormat, write_tracks
from segvoc.models.digests import model_record
from segvoc.runtime.ordered_calls import run_ordered
from segvoc.runtime.progress import print_line
from segvoc.storage.atomic_writes import check_names, write_atomically, write_bytes, writing
from segvoc.storage.files import digest_of
from segvoc.storage.resume import RESUME_FOLDER, RunSettings, Stamp, StepwiseWork, stamp_of

WAITING_FRAME_PIXELS = 30_000_000
"""Maximum number of pixels of queued frames (to draw and encode); the network waits beyond it."""

PIECE = 60
"""Approximate frames per chunk, the work lost by a kill; rounded to a multiple of `every`."""

OVERLAY, TRACKS = ".overlay.mp4", ".tracks.jsonl"
"""What is added to the video's name for the overlay video, and for the list of tracked objects."""

MOST_LISTED = 1000
"""Maximum number of labeled frames listed in a report."""


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
    partial: "PartialVideo",
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


def _publish(result: VideoResult, partial: "PartialVideo", call: Labeling) -> None:
    """Move the results into place: first remove an earlier report, and write the new report last."""
    paths, numbers = result.paths, _labeled_frames(result.video)
    try:
        earlier = _labeled_frames(paths.read_report()["video"])
    except (OSError, ValueError, KeyError, TypeError):
        earlier = range(0)
    with writing(paths.label_map):
        for number in set(earlier) - set(numbers):
            for name in (_frame_name(number), _objects_name(number)):
                (paths.label_map / name).unlink(missing_ok=True)
        for suffix in (OVERLAY, TRACKS, *SUFFIXES.values()) if earlier else ():
            if (path := paths.report.with_name(f"{Path(paths.stem).name}{suffix}")) not in [*paths]:
                path.unlink(missing_ok=True)
        paths.report.unlink(missing_ok=True)
        paths.label_map.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            _move(partial.label_map(number), paths.label_map / _frame_name(number))
            if partial.has_objects:
                _move(partial.object_map(number), paths.label_map / _objects_name(number))
            else:
                (paths.label_map / _objects_name(number)).unlink(missing_ok=True)
        if paths.overlay is not None:
            _move(partial.overlay, paths.overlay)
    if paths.tracks:
        _write_tracks(result, partial, call.track_formats)
    write_atomically(paths.report, lambda file: file.write(json_text(result.report(compact=call.compact))))


def _write_tracks(result: VideoResult, partial: "PartialVideo", formats: Sequence[TrackFormat]) -> None:
    """Write the objects of all frames, of which the maps are in place."""
    paths = result.paths

    def read(number: int) -> tuple[np.ndarray, np.ndarray]:
        labels = read_label_map(paths.label_map / _frame_name(number))
        return labels, _read_objects(paths.label_map / _objects_name(number))

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


def _frame_name(number: int) -> str:
    return f"{number:06}.png"


def _objects_name(number: int) -> str:
    return f"{number:06}.objects.png"


def _read_objects(path: Path) -> UInt16[np.ndarray, "H W"]:
    return np.array(Image.open(path), np.uint16)


class PartialVideo(StepwiseWork):
    """The finished frames of a video, in a folder below `.segvoc` until the results are written.

    A step is a chunk of frames: their label maps, times and statistics, and the mean after them if labels are smoothed.
    The last step marks the end of the video and of the overlay video. See `StepwiseWork` for arguments and errors.
    """

    def __init__(self, labeling: Labeling, stem: str, settings: RunSettings, video: Stamp) -> None:
        self.folder = Path(labeling.out, RESUME_FOLDER, f"video-{digest_of(stem)[:16]}")
        self.overlay = self.folder / "overlay.mp4"
        self.has_objects, self.has_tracks = labeling.options.objects, labeling.options.track
        self.pieces, self.seconds, self.statistics = 0, 0.0, LabelStatistics.none()
        self.times, self.frames = array("q"), list[dict[str, Any]]()
        self.sound: list[dict[str, Any]] = []
        self.damage: str | None = None
        self.is_complete = False
        self.started = Counter[int]()
        """Number of tracks, by label."""
        self._new, self._mean, self._start = list[dict[str, Any]](), None, time.perf_counter()
        self._new_tracks, self._new_started = bytearray(), Counter[int]()
        super().__init__(self.folder, settings, video, out=labeling.out, resume=labeling.resume)

    def label_map(self, number: int) -> Path:
        """Path of a frame's label map."""
        return self.folder / "frames" / _frame_name(number)

    def object_map(self, number: int) -> Path:
        """Path of the map of a frame's objects."""
        return self.folder / "frames" / _objects_name(number)

    def objects(self, number: int) -> UInt16[np.ndarray, "H W"] | None:
        """The objects of a finished frame; None without objects."""
        return _read_objects(self.object_map(number)) if self.has_objects else None

    def memory(self, options: LabelOptions, every: int) -> FrameMemory:
        """The state after the last chunk, to continue."""
        memory, path = FrameMemory.of(options), self._state(self.pieces - 1)
        if (tracks := memory.tracks) is not None:
            numbers = range(0, len(self.times), every)[-tracks.remembered :]
            maps = [(read_label_map(self.label_map(number)), self.objects(number)) for number in numbers]
            tracks.restore(self.started.copy(), [(labels, found) for labels, found in maps if found is not None])
        if (smoothing := memory.smoothing) is not None and path.is_file():
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    state = SmoothingState(arrays["classes"], arrays["probabilities"], arrays["frame"])
            except (OSError, ValueError, KeyError) as error:
                problem = f"{str(path)!r} can't be read ({error}); label the video without --resume"
                raise OutputError(problem) from None
            smoothing.restore(state)
        return memory

    def add_frame(
        self,
        number: int,
        result: Segmentation,
        colors: UInt8[np.ndarray, "K 3"],
        state: SmoothingState | None,
        started: Counter[int],
    ) -> None:
        """Store the labels of the next labeled frame, and the mean and the number of tracks after it.

        They count from the end of the chunk.
        """
        image = label_map_image(result.labels, colors)
        # run-length compression suits label maps: a tenth of the default's time, at about the same size
        options = {"compress_level": 1, "compress_type": Z_RLE}
        write_atomically(self.label_map(number), lambda file: image.save(file, "PNG", **options))
        labels = LabelStatistics.of(result.labels, result.confidence).by_label()
        frame: dict[str, Any] = {"number": number, "labels": labels}
        if result.object_map is not None:
            numbers = Image.fromarray(result.object_map)
            write_atomically(self.object_map(number), lambda file: numbers.save(file, "PNG", **options))
            counted = zip(result.words, result.object_counts or (), strict=True)
            frame["objects"] = {word: count for word, count in counted if count}
        if self.has_tracks:
            objects = [
                {"track": one.track, "word": one.word, "box": one.box, "area": one.area, "score": round(one.score, 6)}
                for one in sorted(result.objects, key=lambda one: one.track or 0)
            ]
            line = {"frame": result.frame, "time": result.time, "objects": objects}
            self._new_tracks += json.dumps(line, allow_nan=False).encode() + b"\n"
        self._new.append(frame)
        self._mean, self._new_started = state, started

    def write_tracks(self, file: BinaryIO) -> None:
        """Write a line of JSON for each labeled frame."""
        for piece in range(self.pieces):
            file.write(self._tracks(piece).read_bytes())

    def end_piece(self, times: Sequence[int]) -> None:
        """Record the frames since the last chunk as one, given the times of all frames of the video so far."""
        if len(times) == len(self.times):
            return
        if self._mean is not None:
            state = vars(self._mean)
            write_atomically(self._state(self.pieces), lambda file: np.savez(file, **state))
        if self.has_tracks:
            write_bytes(self._tracks(self.pieces), bytes(self._new_tracks))
            self._new_tracks.clear()
        now = time.perf_counter()
        piece = {"times": list(times[len(self.times) :]), "frames": self._new, "seconds": now - self._start}
        self.add({**piece, "state": self._mean is not None, "tracks": sorted(self._new_started.items())})
        self._new, self._start = [], now
        self._state(self.pieces - 2).unlink(missing_ok=True)

    def complete(self, damage: str | None, sound: list[dict[str, Any]]) -> None:
        """Record the end of the video, and its damage, if any."""
        self.add({"complete": True, "damage": damage, "sound": sound})

    def timeline(self, words: Sequence[str], video: OpenVideo) -> list[dict[str, Any]]:
        """See `VideoResult.timeline`."""
        return [
            {
                "frame": frame["number"],
                "time": round(float(self.times[frame["number"]] * video.time_base), 6),
                "fractions": {
                    words[int(label)]: round(pixels / (video.width * video.height), 6)
                    for label, (pixels, _) in frame["labels"].items()
                    if int(label) < len(words)
                },
                **({"objects": frame["objects"]} if "objects" in frame else {}),
            }
            for frame in self.frames
        ]

    def _state(self, piece: int) -> Path:
        return self.folder / f"{piece:06}.npz"

    def _tracks(self, piece: int) -> Path:
        return self.folder / f"{piece:06}.tracks.jsonl"

    def usable(self, values: list[Any]) -> list[Any]:
        """The steps before the first with missing files; files of a complete video may already be in place."""
        if values and "complete" in values[-1]:
            return values
        for piece, value in enumerate(values):
            of_piece = [self.label_map(frame["number"]) for frame in value["frames"]]
            of_piece += [self.object_map(frame["number"]) for frame in value["frames"] if "objects" in frame]
            of_piece += [self._tracks(piece)] if self.has_tracks else []
            if not all(file.is_file() for file in of_piece):
                has_state = not piece or not values[piece - 1]["state"] or self._state(piece - 1).is_file()
                return values[:piece] if has_state else []
        return values

    def replay_step(self, value: dict[str, Any]) -> None:
        """See `StepwiseWork.replay_step`."""
        if "complete" in value:
            self.is_complete, self.damage, self.sound = True, value["damage"], value["sound"]
            return
        self.times.extend(value["times"])
        self.started = Counter(dict(value["tracks"]))
        self.frames.extend(value["frames"][: MOST_LISTED - len(self.frames)])
        for frame in value["frames"]:
            self.statistics.add(frame["labels"])
        self.pieces, self.seconds = self.pieces + 1, self.seconds + value["seconds"]


# ---- the overlay video

ENCODER = "libx264"
"""H.264 plays in all browsers."""

X264_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0"}
"""Without B-frames, the first frame is shown at time zero."""

MP4_SOUND = frozenset(("aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"))
"""FFmpeg's names of audio codecs to copy: those that MP4 can hold and players expect in it."""

BT709, LIMITED_RANGE = 1, 1
"""FFmpeg's numbers of the colors of HD television, and of its range of values."""

SMALLEST_LISTED = 0.001
"""Minimum share of a frame for a class to be in the legend, so that flickering pixels don't move its lines."""


def require_encoder() -> None:
    """Raise `UsageError` if PyAV isn't installed, or its FFmpeg can't encode H.264."""
    av = require_av()
    try:
        av.codec.Codec(ENCODER, "w")
    except av.codec.codec.UnknownCodecError:
        raise UsageError(
            "this FFmpeg has no libx264, which encodes overlay videos; leave them out (--no-overlay)"
        ) from None


class OverlayVideo:
    """Reads a source, and draws and encodes its overlay video; not thread-safe. Call `close`.

    Frames keep their times. Odd sides are padded by a pixel, since H.264 halves the resolution of color. The legend in
    the lower left corner lists the classes of a frame in the order of the vocabulary, without shares, which would
    change in every frame. It is omitted from videos without enough room.
    """

    def __init__(
        self, path: Path, source: Path, words: Sequence[str], colors: UInt8[np.ndarray, "K 3"], style: OverlayStyle
    ) -> None:
        av = require_av()
        self.path, self._video, self._heard = path, OpenVideo(source), open_container(source)
        self.sound: list[dict[str, Any]] = []
        self._frames = self._video.frames()
        self._words, self._colors, self._style = words, colors, style
        height, width = self._video.height, self._video.width
        if (scale := math.sqrt((style.max_pixels or math.inf) / (height * width))) < 1:
            height, width = max(2, round(height * scale)), max(2, round(width * scale))
        self._size, self._odd = (height, width), (height % 2, width % 2)
        self._legend: tuple[list[int], Image.Image | None] = [], None
        with self._writing():
            self._container = av.open(str(path), "w", format="mp4", container_options={"movflags": "faststart"})
            self._stream = stream = self._container.add_stream(ENCODER, rate=self._video.rate, options=X264_OPTIONS)
            stream.height, stream.width = height + self._odd[0], width + self._odd[1]
            stream.pix_fmt = "yuv420p"
            stream.time_base = stream.codec_context.time_base = self._video.time_base
            stream.codec_context.sample_aspect_ratio = self._video.pixel_shape
            stream.codec_context.colorspace = stream.codec_context.color_primaries = BT709
            stream.codec_context.color_trc, stream.codec_context.color_range = BT709, LIMITED_RANGE
            self._played = self._packets()
            self._next_played = next(self._played, None)

    def show(
        self, labels: UInt16[np.ndarray, "H W"], frames: int, objects: UInt16[np.ndarray, "H W"] | None = None
    ) -> None:
        """Draw a label map, and the borders of objects, over the next `frames` frames, or all that remain."""
        av = require_av()
        regions = class_regions(nearest(labels, self._size), self._words, self._colors)
        if objects is not None:
            regions = with_object_borders(regions, self._words, nearest(objects, self._size))
        paint = Paint.of(regions)
        for read in islice(self._frames, frames):
            assert read.pixels is not None
            pixels = read.pixels
            if pixels.shape[:2] != self._size:
                pixels = np.asarray(
                    Image.fromarray(pixels).resize((self._size[1], self._size[0]), Image.Resampling.BOX)
                )
            overlay = paint.over(pixels, self._style.alpha)
            panel = self._panel(regions.entries) if self._style.legend else None
            margin = margin_of(overlay)
            corner = (margin, 0 if panel is None else overlay.height - panel.height - margin)
            finish_overlay(overlay, regions, self._style, panel, corner)
            pixels = np.asarray(overlay)
            if any(self._odd):
                pixels = np.pad(pixels, ((0, self._odd[0]), (0, self._odd[1]), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = read.time, self._video.time_base
            with self._writing():
                self._play(float(read.time * self._video.time_base))
                self._container.mux(self._stream.encode(frame))

    def _panel(self, entries: Sequence[LegendEntry]) -> Image.Image | None:
        """The legend, redrawn only when it changes."""
        listed = [entry for entry in entries if entry.fraction >= SMALLEST_LISTED]
        listed.sort(key=lambda entry: (entry.region == UNLABELED, entry.region))
        shown = [entry.region for entry in listed]
        if shown != self._legend[0]:
            height, width = self._size
            size = text_sizes(width, height)[1]
            self._legend = shown, draw_legend(listed, round(0.4 * width), round(0.6 * height), size, shares=False)
        return self._legend[1]

    def finish(self) -> None:
        """Finish the file on disk."""
        with self._writing():
            self._container.mux(self._stream.encode(None))
            self._play(math.inf)
            self._container.close()
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close all files."""
        for file in (self._container, self._heard, self._video):
            file.close()

    def _play(self, until: float) -> None:
        """Copy the sound up to a time [s]."""
        while self._next_played is not None and self._next_played[0] <= until:
            self._container.mux_one(self._next_played[1])
            self._next_played = next(self._played, None)

    def _packets(self) -> Iterator[tuple[float, Any]]:
        """The packets of the audio streams that MP4 can hold, as far as they can be read."""
        copied = {}
        for stream in self._heard.streams.audio:
            decoder = stream.codec_context  # its own name can be another than the codec's: mp3float decodes mp3
            codec = "unknown" if decoder is None else decoder.codec.canonical_name
            self.sound.append({"codec": codec, "copied": codec in MP4_SOUND})
            if codec in MP4_SOUND:
                copied[stream.index] = self._container.add_stream_from_template(stream)
        if not copied:
            return
        packets = self._heard.demux([self._heard.streams[index] for index in copied])
        while True:
            try:
                packet = next(packets)
            except (StopIteration, require_av().error.FFmpegError):
                return
            if packet.dts is None or not packet.size:
                continue
            shift = round(self._video.begin / packet.time_base)
            packet.dts -= shift
            if packet.pts is not None:
                packet.pts -= shift
            packet.stream = copied[packet.stream_index]
            yield float(packet.dts * Fraction(packet.time_base)), packet

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Convert FFmpeg's errors to ours."""
        try:
            yield
        except require_av().error.FFmpegError as error:
            raise OutputError(f"{str(self.path)!r} can't be written: {reason(error)}; check the disk") from None
