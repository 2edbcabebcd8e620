"""The tracked objects of a video in other programs' formats: COCO with track ids, CVAT for video, and MOT."""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain
from typing import Any, BinaryIO, Literal, NamedTuple, get_args
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from jaxtyping import UInt16

from segvoc.imaging.annotations import categories, region_annotations
from segvoc.imaging.connected_regions import Region, connected_regions, polygon_of

TrackFormat = Literal["coco", "cvat", "mot"]

TRACK_FORMATS: tuple[TrackFormat, ...] = get_args(TrackFormat)


class TrackedFrame(NamedTuple):
    """A labeled frame."""

    number: int
    labels: UInt16[np.ndarray, "H W"]
    tracks: UInt16[np.ndarray, "H W"]
    """The number of each pixel's track, 0 for none."""

    def regions(self, classes: int) -> list[Region]:
        """The objects, in the order of their tracks."""
        regions = connected_regions(self.labels, classes, self.tracks)
        return sorted((region for region in regions if region.number), key=lambda region: region.number or 0)


@dataclass(frozen=True, kw_only=True)
class TrackedVideo:
    """A video whose objects are tracked."""

    name: str
    """The name of its file."""
    words: Sequence[str]
    height: int
    width: int
    rate: float
    """Frames per second."""
    frames: int
    labeled: range
    """The numbers of the labeled frames."""
    read: Callable[[int], TrackedFrame]
    """Reads a labeled frame."""

    def __iter__(self) -> Iterator[tuple[int, list[Region]]]:
        """The number of each labeled frame, and its objects."""
        return ((number, self.read(number).regions(len(self.words))) for number in self.labeled)


def _coco(video: TrackedVideo) -> Iterator[str]:
    """Frames are named as CVAT names those of its videos; the ids of videos and frames are those of COCO-VID."""
    size = {"width": video.width, "height": video.height}
    images = (
        {"id": number + 1, "file_name": f"frame_{number:06}.PNG", **size, "video_id": 1, "frame_id": number}
        for number in video.labeled
    )

    def annotations() -> Iterator[dict[str, Any]]:
        for number, regions in video:
            for region, entry in region_annotations(regions, (video.height, video.width)):
                track = {"track_id": region.number, "attributes": {"track_id": region.number, "occluded": False}}
                yield {"image_id": number + 1, "video_id": 1, **entry, **track}

    listed: Mapping[str, Iterable[Any]] = {
        "videos": [{"id": 1, "name": video.name, **size}],
        "categories": categories(video.words, frozenset()),
        "images": images,
        "annotations": ({"id": number, **entry} for number, entry in enumerate(annotations(), 1)),
    }
    for place, (name, entries) in enumerate(listed.items()):
        yield f"{'{' if place == 0 else ','}\n{json.dumps(name)}: ["
        for number, entry in enumerate(entries):
            yield f"{',' if number else ''}\n{json.dumps(entry, allow_nan=False)}"
        yield "]"
    yield "}\n"


def _cvat(video: TrackedVideo) -> Iterator[str]:
    """CVAT tracks no masks: objects are polygons, which include holes and cross over to other pieces."""
    tracks = dict[int, tuple[int, list[tuple[int, str]]]]()
    for number, regions in video:
        for region in regions:
            corners = polygon_of(region, tolerance=0.2).round(2).tolist()
            points = ";".join(f"{x:g},{y:g}" for x, y in corners)
            tracks.setdefault(region.number or 0, (region.label, []))[1].append((number, points))
    size = f"<width>{video.width}</width><height>{video.height}</height>"
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
    yield f"<name>{escape(video.name)}</name><size>{video.frames}</size><mode>interpolation</mode>"
    yield f"<start_frame>0</start_frame><stop_frame>{video.frames - 1}</stop_frame><labels>\n"
    for word in video.words:
        yield f"<label><name>{escape(word)}</name><type>polygon</type><attributes></attributes></label>\n"
    yield f"</labels><original_size>{size}</original_size></task></meta>\n"
    for track, (label, shapes) in sorted(tracks.items()):
        yield f'<track id="{track}" label={quoteattr(video.words[label])} source="auto">\n'
        following = chain((number for number, _ in shapes[1:]), [None])
        for (number, points), then in zip(shapes, following, strict=True):
            yield _polygon(number, points, is_outside=False)
            left = number + video.labeled.step
            if left != then and left < video.frames:  # else it would stay where it was seen last
                yield _polygon(left, points, is_outside=True)
        yield "</track>\n"
    yield "</annotations>\n"


def _polygon(frame: int, points: str, *, is_outside: bool) -> str:
    how = f'keyframe="1" outside="{int(is_outside)}" occluded="0" z_order="0"'
    return f'<polygon frame="{frame}" {how} points="{points}"/>\n'


def _mot(video: TrackedVideo, file: BinaryIO) -> None:
    """MOTChallenge's ground truth, which counts frames and classes from 1; boxes have no confidence there, but 1."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("gt/gt.txt", "w", force_zip64=True) as lines:
            for number, regions in video:
                for region in regions:
                    row = [number + 1, region.number, *region.box, 1, region.label + 1, 1]
                    lines.write(f"{','.join(map(str, row))}\n".encode())
        archive.writestr("gt/labels.txt", "".join(f"{word}\n" for word in video.words))
        facts = {"name": video.name, "frameRate": f"{video.rate:g}", "seqLength": video.frames}
        facts |= {"imWidth": video.width, "imHeight": video.height, "imDir": "img1", "imExt": ".png"}
        archive.writestr("seqinfo.ini", "[Sequence]\n" + "".join(f"{key}={value}\n" for key, value in facts.items()))


SUFFIXES: Mapping[TrackFormat, str] = {"coco": ".coco.json", "cvat": ".cvat.xml", "mot": ".mot.zip"}
"""What is added to the video's name."""


def write_tracks(video: TrackedVideo, format: TrackFormat, file: BinaryIO) -> None:
    """Write the objects of a video, frame by frame in constant memory; for CVAT, their outlines are in memory."""
    if format == "mot":
        return _mot(video, file)
    text = TextIOWrapper(file, "utf-8", errors="replace", newline="\n")
    text.writelines((_coco if format == "coco" else _cvat)(video))
    text.flush()
    text.detach()
    return None
