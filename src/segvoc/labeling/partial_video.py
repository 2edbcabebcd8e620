"""The finished frames of a video that is being labeled, with which an interrupted call goes on."""

import json
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO
from zlib import Z_RLE

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from segvoc.errors import OutputError
from segvoc.imaging.label_maps import label_map_image, read_label_map
from segvoc.imaging.video_reading import OpenVideo
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.reports import LabelStatistics
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.smoothing import SmoothingState
from segvoc.inference.video_frames import FrameMemory
from segvoc.labeling.task import Labeling
from segvoc.storage.atomic_writes import write_atomically, write_bytes
from segvoc.storage.files import digest_of
from segvoc.storage.resume import RESUME_FOLDER, RunSettings, Stamp, StepwiseWork

MOST_LISTED = 1000
"""Maximum number of labeled frames listed in a report."""


def frame_name(number: int) -> str:
    """Name of a frame's label map."""
    return f"{number:06}.png"


def objects_name(number: int) -> str:
    """Name of the map of a frame's objects."""
    return f"{number:06}.objects.png"


def read_objects(path: Path) -> UInt16[np.ndarray, "H W"]:
    """A map of objects."""
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
        return self.folder / "frames" / frame_name(number)

    def object_map(self, number: int) -> Path:
        """Path of the map of a frame's objects."""
        return self.folder / "frames" / objects_name(number)

    def objects(self, number: int) -> UInt16[np.ndarray, "H W"] | None:
        """The objects of a finished frame; None without objects."""
        return read_objects(self.object_map(number)) if self.has_objects else None

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
