"""Objects that connected components find in photographs, and how well trackers follow objects in videos.

    python -m benchmarks.objects components [--photos ../shared/data/photos]
    python -m benchmarks.objects tracks

`python tools/make_tables.py` then renews the tables of docs/how_to/objects.md and tracks.md.

`components`: how many objects are found, and how many there would be with perfect splits. `tiny` labels each
photograph with the words of its own objects, as a person would who looks at it: by default, where surroundings of a
few words are unlabeled, and with `background="auto"`. An object is found if one of its word has an IoU of at least 0.5
with it. "perfect" gives each pixel of a component the object that is there, as far as its word is right: no rule that
only divides labels finds many more. Nothing is drawn by chance. `tiny` has learned words from these photographs.

`tracks`: `motmetrics` (IDF1, MOTA) and `trackeval` (HOTA) compare segvoc's tracks with those of ByteTrack and SORT
(`trackers`, with its default settings) and of `norfair`, all with the same connected components: on `VIDEOS` drawn
videos, and on the pedestrians of TUD-Campus and TUD-Stadtmitte, which `motmetrics` brings, drawn as ellipses in their
boxes.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt16
from scipy.ndimage import find_objects

import segvoc
from benchmarks.machine import keep
from segvoc.evaluation.objects import compared_objects, object_scores
from segvoc.imaging.annotations import coco_mask
from segvoc.imaging.connected_regions import Region, connected_regions
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.objects import with_objects
from segvoc.inference.tracks import Tracks

SETS = ("coco-things", "coco-panoptic")
"""The data sets with an objects.json: {stem: [{"word", "size", "counts"}]}."""

BACKGROUNDS = {"default": None, "auto": "auto"}


@dataclass(frozen=True, eq=False)
class Outlined:
    """A photograph with its objects."""

    key: str
    image_file: Path
    words: tuple[str, ...]
    masks: Bool[np.ndarray, "N H W"]

    def truth(self, words: tuple[str, ...]) -> tuple[UInt16[np.ndarray, "H W"], UInt16[np.ndarray, "H W"]]:
        """Labels and objects of its pixels; small objects lie on large ones, and the rest is no object's."""
        size = self.masks.shape[1:]
        labels, objects = np.full(size, UNLABELED, np.uint16), np.zeros(size, np.uint16)
        for index in np.argsort(-self.masks.sum((1, 2)), kind="stable"):
            labels[self.masks[index]] = words.index(self.words[index])
            objects[self.masks[index]] = index + 1
        return labels, objects


def outlined_photos(root: Path) -> Iterator[Outlined]:
    """All photographs with objects, by name."""
    for name in SETS:
        for stem, found in sorted(json.loads((root / name / "objects.json").read_text()).items()):
            masks = np.stack([coco_mask(one, *one["size"]) for one in found])
            image = root / name / "images" / f"{stem}.jpg"
            yield Outlined(f"{name}-{stem}", image, tuple(one["word"] for one in found), masks)


def measured(photos: list[Outlined]) -> list[dict[str, Any]]:
    """A row for each way to label and each rule."""
    model, classes, seconds = segvoc.load("tiny"), dict[str, int](), list[float]()
    compared: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for photo in photos:
        image, words = model.encode_image(photo.image_file), sorted({*photo.words})
        for word in words:
            classes.setdefault(word, len(classes))
        for kind, background in BACKGROUNDS.items():
            result = model.segment(image, words, background=background)
            labels, objects = photo.truth(result.words)
            start = time.process_time()
            components = with_objects(result)
            if len(components.objects) >= 10:
                seconds.append(time.process_time() - start)
            perfect = replace(result, object_map=np.where(result.labels == labels, objects, 0).astype(np.uint16))
            for rule, found in (("components", components), ("perfect", perfect)):
                one = compared_objects(found, labels, objects)
                compared.setdefault((kind, rule), []).append(_renamed(one, [classes[word] for word in result.words]))
        print(photo.key, flush=True)
    time_of = {"most_seconds": max(seconds, default=0.0), "with_ten": len(seconds)}
    return [
        {"labels": kind, "rule": rule, "photographs": len(images), **object_scores(images, [*classes]), **time_of}
        for (kind, rule), images in compared.items()
    ]


def _renamed(one: dict[str, Any], numbers: list[int]) -> dict[str, Any]:
    """With the labels of all photographs in place of this one's."""
    named = {
        kind: [{**entry, "category_id": numbers[entry["category_id"] - 1] + 1} for entry in one[kind]]
        for kind in ("truth", "found")
    }
    return {**one, **named, "segments": {str(numbers[int(label)]): counts for label, counts in one["segments"].items()}}


def measure_components(photos: Path) -> None:
    """Measure, print and save."""
    rows = measured([*outlined_photos(photos)])
    for row in rows:
        print(row)
    keep("objects", rows)


Frame = tuple[UInt16[np.ndarray, "H W"], UInt16[np.ndarray, "H W"]]
"""Labels, and the numbers of the objects (0: none)."""
Box = Sequence[float]
"""Left, top, width and height [px]."""
Tracked = list[list[tuple[int, Box]]]
"""The tracks of each frame and their boxes."""

VIDEOS, FRAMES, HEIGHT, WIDTH = 20, 60, 180, 240
LEAST_AREA = 12
"""Pixels of a component or an object that counts."""
LEAST_IOU = 0.4
"""Of boxes that may be the same object's."""


def drawn_video(seed: int) -> list[Frame]:
    """Objects of two words that cross, enter and leave, hide behind a bar, and are missed for one to four frames."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    sizes, centers, speeds, labels, starts, missed = [], [], [], [], [], []
    for _ in range(int(draw.integers(4, 8))):
        sizes.append(draw.uniform(9, 22, 2))
        centers.append(np.array([draw.uniform(15, HEIGHT - 15), draw.uniform(15, WIDTH - 15)]))
        speeds.append(draw.uniform(-3.2, 3.2, 2))
        if draw.random() < 0.3:  # it enters from a side
            centers[-1][1] = -20 if draw.random() < 0.5 else WIDTH + 20
            speeds[-1][1] = (1 if centers[-1][1] < 0 else -1) * draw.uniform(1.5, 4)
        labels.append(int(draw.integers(0, 2)))
        starts.append(int(draw.integers(0, FRAMES // 3)) if draw.random() < 0.4 else 0)
        firsts = ((int(draw.integers(5, FRAMES - 5)), int(draw.integers(1, 5))) for _ in range(draw.integers(0, 4)))
        missed.append({first + more for first, count in firsts for more in range(count)})
    bar, frames = int(draw.integers(60, WIDTH - 60)), list[Frame]()
    for frame in range(FRAMES):
        found, truth = np.full((HEIGHT, WIDTH), UNLABELED, np.uint16), np.zeros((HEIGHT, WIDTH), np.uint16)
        for index, (size, label) in enumerate(zip(sizes, labels, strict=True)):
            speeds[index] = speeds[index] + draw.normal(0, 0.15, 2)
            centers[index] = centers[index] + speeds[index]
            if frame < starts[index] or frame in missed[index]:
                continue
            down, right = rows - centers[index][0], columns - centers[index][1]
            waves = 0.25 * draw.normal() * np.sin(np.arctan2(down, right) * 3 + frame)
            inside = (down / size[0]) ** 2 + (right / size[1]) ** 2 <= 1 + waves
            found[inside], truth[inside] = label, index + 1
        found[:, bar : bar + 6], truth[:, bar : bar + 6] = UNLABELED, 0
        frames.append((found, truth))
    return frames


def pedestrians(file: Path) -> list[Frame]:
    """A ground truth of MOTChallenge (640 x 480 px); those who stand lower are in front."""
    people, frames = np.loadtxt(file, delimiter=",")[:, :6], list[Frame]()
    rows, columns = np.mgrid[:480, :640]
    for number in range(1, int(people[:, 0].max()) + 1):
        found, truth = np.full(rows.shape, UNLABELED, np.uint16), np.zeros(rows.shape, np.uint16)
        shown = people[people[:, 0] == number]
        for _, index, left, top, width, height in shown[np.argsort(shown[:, 3] + shown[:, 5])]:
            across, down = (columns - left - width / 2) / (0.3 * width), (rows - top - height / 2) / (height / 2)
            inside = across**2 + down**2 <= 1
            found[inside], truth[inside] = 0, int(index)
        frames.append((found, truth))
    return frames


def components(labels: UInt16[np.ndarray, "H W"]) -> list[Region]:
    """The components that all trackers get."""
    return [region for region in connected_regions(labels, 2) if region.area >= LEAST_AREA]


def boxes_of(numbers: UInt16[np.ndarray, "H W"]) -> list[tuple[int, Box]]:
    """The boxes of all objects."""
    places = [(number, place) for number, place in enumerate(find_objects(numbers), 1) if place is not None]
    return [(number, (x.start, y.start, x.stop - x.start, y.stop - y.start)) for number, (y, x) in places]


def segvoc_tracks(video: list[Frame]) -> Tracked:
    """Those of segvoc."""
    tracks, found = Tracks(), list[list[tuple[int, Box]]]()
    for labels, _ in video:
        objects = np.zeros(labels.shape, np.uint16)
        for number, region in enumerate(components(labels), 1):
            objects[region.place][region.inside] = number
        found.append(boxes_of(tracks.follow(labels, objects)))
    return found


def library_tracks(make: Callable[[], Any], video: list[Frame]) -> Tracked:
    """Those of a tracker of `trackers`."""
    import supervision

    tracker, found = make(), list[list[tuple[int, Box]]]()
    for labels, _ in video:
        regions = components(labels)
        corners = np.array([_corners(region.box) for region in regions], float).reshape(-1, 4)
        words = np.array([region.label for region in regions], int)
        given = supervision.Detections(xyxy=corners, confidence=np.full(len(regions), 0.9), class_id=words)
        tracked = tracker.update(given)
        numbers = [] if tracked.tracker_id is None else tracked.tracker_id
        boxes = zip(numbers, tracked.xyxy, strict=True)
        found.append([(int(n), (*one[:2], *(one[2:] - one[:2]))) for n, one in boxes if n is not None and n >= 0])
    return found


def norfair_tracks(video: list[Frame]) -> Tracked:
    """Those of `norfair`, with settings that suit boxes."""
    norfair: Any = importlib.import_module("norfair")

    tracker = norfair.Tracker(
        distance_function="iou", distance_threshold=0.9, initialization_delay=0, hit_counter_max=6
    )
    found = list[list[tuple[int, Box]]]()
    for labels, _ in video:
        given = [
            norfair.Detection(np.reshape(_corners(one.box), (2, 2)).astype(float), label=str(one.label))
            for one in components(labels)
        ]
        known = [one for one in tracker.update(given) if one.live_points.any() and one.hit_counter >= 5]
        corners = [(int(one.id), *one.last_detection.points) for one in known]
        found.append([(number, (*start, *(end - start))) for number, start, end in corners])
    return found


def _corners(box: Box) -> list[float]:
    left, top, width, height = box
    return [left, top, left + width, top + height]


def overlaps(truth: Sequence[Box], found: Sequence[Box]) -> np.ndarray:
    """IoU of boxes (T F)."""
    one, other = np.reshape(truth, (-1, 1, 4)).astype(float), np.reshape(found, (1, -1, 4)).astype(float)
    start, end = np.maximum(one[..., :2], other[..., :2]), np.minimum(*(b[..., :2] + b[..., 2:] for b in (one, other)))
    both = np.maximum(end - start, 0).prod(-1)
    return both / np.maximum(one[..., 2:].prod(-1) + other[..., 2:].prod(-1) - both, 1e-9)


def scores(videos: list[list[Frame]], track: Callable[[list[Frame]], Tracked]) -> dict[str, float]:
    """HOTA, IDF1, MOTA and the number of switches over all videos."""
    motmetrics: Any = importlib.import_module("motmetrics")
    hota: Any = importlib.import_module("trackeval.metrics").HOTA()

    accumulators, sequences = [], {}
    for place, video in enumerate(videos):
        accumulators.append(accumulator := motmetrics.MOTAccumulator(auto_id=True))
        ious, numbers = list[np.ndarray](), (list[list[int]](), list[list[int]]())
        for (_, objects), tracked in zip(video, track(video), strict=True):
            is_small = np.bincount(objects.ravel()) < LEAST_AREA
            truth = boxes_of(np.where(is_small[objects], 0, objects).astype(np.uint16))
            ious.append(overlaps([box for _, box in truth], [box for _, box in tracked]))
            for listed, of_frame in zip(numbers, (truth, tracked), strict=True):
                listed.append([number for number, _ in of_frame])
            apart = np.where(ious[-1] < LEAST_IOU, np.nan, 1 - ious[-1])
            accumulator.update(*(listed[-1] for listed in numbers), apart)
        sequences[str(place)] = hota.eval_sequence(_sequence(ious, *numbers))
    names = ["idf1", "mota", "num_switches"]
    overall = motmetrics.metrics.create().compute_many(accumulators, metrics=names, generate_overall=True).iloc[-1]
    return {"hota": float(hota.combine_sequences(sequences)["HOTA"].mean())} | {
        name: float(overall[name]) for name in names
    }


def _sequence(ious: list[np.ndarray], truth: list[list[int]], found: list[list[int]]) -> dict[str, Any]:
    """A video as TrackEval takes it: numbers of objects from 0, without gaps."""
    sequence: dict[str, Any] = {"similarity_scores": ious, "num_timesteps": len(ious)}
    for name, numbers in (("gt", truth), ("tracker", found)):
        places = {number: place for place, number in enumerate(sorted({one for frame in numbers for one in frame}))}
        sequence[f"{name}_ids"] = [np.array([places[one] for one in frame], int) for frame in numbers]
        sequence |= {f"num_{name}_dets": sum(map(len, numbers)), f"num_{name}_ids": len(places)}
    return sequence


def measure_tracks() -> None:
    """Compare the trackers that are installed, print and save."""
    wanted = ("motmetrics", "trackeval", "trackers", "norfair")
    if missing := [name for name in wanted if importlib.util.find_spec(name) is None]:
        print(f"not installed: {', '.join(missing)}; `pip install {' '.join(wanted)}` compares all", file=sys.stderr)
    if {"motmetrics", "trackeval"} & {*missing}:
        sys.exit(1)
    motmetrics: Any = importlib.import_module("motmetrics")

    by_name: dict[str, Callable[[list[Frame]], Tracked]] = {"segvoc": segvoc_tracks}
    named = {name: f"`{name}` {importlib.metadata.version(name)}" for name in wanted if name not in missing}
    if "trackers" in named:
        trackers: Any = importlib.import_module("trackers")

        by_name[f"ByteTrack ({named['trackers']})"] = partial(library_tracks, trackers.ByteTrackTracker)
        by_name[f"SORT ({named['trackers']})"] = partial(library_tracks, trackers.SORTTracker)
    if "norfair" in named:
        by_name[named["norfair"]] = norfair_tracks
    shipped = Path(str(motmetrics.__file__)).parent / "data"
    videos = {
        "drawn": [drawn_video(seed) for seed in range(VIDEOS)],
        "real": [pedestrians(shipped / name / "gt.txt") for name in ("TUD-Campus", "TUD-Stadtmitte")],
    }
    rows = list[dict[str, object]]()
    for name, track in by_name.items():
        found = {kind: scores(some, track) for kind, some in videos.items()}
        rows.append({"tracker": name, **{f"{kind}_{n}": x for kind, one in found.items() for n, x in one.items()}})
    keep("tracks", rows)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    kinds.add_parser("components").add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    kinds.add_parser("tracks")
    chosen = parser.parse_args()
    if chosen.what == "components":
        measure_components(chosen.photos)
    else:
        measure_tracks()


if __name__ == "__main__":
    main()
