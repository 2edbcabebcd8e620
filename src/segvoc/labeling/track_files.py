"""The tracked objects of a video in other programs' formats: COCO with track ids, CVAT for video, and MOT."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from jaxtyping import UInt16

from segvoc.imaging.annotations import categories, region_annotations
from segvoc.imaging.connected_regions import Region, connected_regions
from segvoc.labeling.formats.base import list_lines
from segvoc.labeling.formats.cvat import outline_of, track_lines

TrackFormat = Literal["coco", "cvat", "mot"]

TRACK_FORMATS: tuple[TrackFormat, ...] = get_args(TrackFormat)


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
    read: Callable[[int], tuple[UInt16[np.ndarray, "H W"], UInt16[np.ndarray, "H W"]]]
    """Reads the labels of a labeled frame, and the number of each pixel's track, 0 for none."""

    def __iter__(self) -> Iterator[tuple[int, list[Region]]]:
        """The number of each labeled frame, and its objects, in the order of their tracks."""
        for number in self.labeled:
            labels, tracks = self.read(number)
            regions = connected_regions(labels, len(self.words), tracks)
            yield number, sorted((one for one in regions if one.number), key=lambda one: one.number or 0)


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
        yield f'{"," if place else "{"}"{name}":\n'
        yield from (f"{line}\n" for line in list_lines(entries))
    yield "}\n"


def _cvat(video: TrackedVideo) -> Iterator[str]:
    outlines = dict[int, tuple[int, list[tuple[int, str]]]]()
    for number, regions in video:
        for region in regions:
            outlines.setdefault(region.number or 0, (region.label, []))[1].append((number, outline_of(region)))
    size = video.height, video.width
    lines = track_lines(video.name, video.words, size, video.frames, video.labeled, outlines)
    return (f"{line}\n" for line in lines)


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
