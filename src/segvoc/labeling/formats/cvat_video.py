"""CVAT's XML of videos ("CVAT for video 1.1"): the outlines of tracked objects, a file for each video."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, pairwise
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import escape, quoteattr

from segvoc.errors import UsageError
from segvoc.imaging.connected_regions import Region, connected_regions, polygon_of
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.base import NO_XML, DatasetEntry, DatasetFormat, Facts, FormatWriter, write_lines
from segvoc.labeling.formats.cvat import read_cvat

Outlines = Mapping[int, tuple[int, Sequence[tuple[int, str]]]]
"""By the number of a track: its label, and its outline in each frame that it is in, in order."""


def outline_of(region: Region) -> str:
    """The polygon of an object, which includes holes and crosses over to other pieces: CVAT tracks no masks."""
    return ";".join(f"{x:g},{y:g}" for x, y in polygon_of(region, tolerance=0.2).round(2).tolist())


def track_lines(
    name: str, words: Sequence[str], size: tuple[int, int], frames: int, labeled: Sequence[int], tracks: Outlines
) -> Iterator[str]:
    """The lines of the file of a video.

    Args:
        name: the name of the video.
        words: the words, in label order.
        size: height and width [px].
        frames: number of frames of the video.
        labeled: the numbers of the labeled frames, in order.
        tracks: the outlines.
    """
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield "<annotations><version>1.1</version><meta><task>"
    yield f"<name>{escape(name)}</name><size>{frames}</size><mode>interpolation</mode>"
    yield f"<start_frame>0</start_frame><stop_frame>{frames - 1}</stop_frame><labels>"
    for word in words:
        yield f"<label><name>{escape(word)}</name><type>polygon</type><attributes></attributes></label>"
    height, width = size
    yield f"</labels><original_size><width>{width}</width><height>{height}</height></original_size></task></meta>"
    following = dict(pairwise(labeled))
    for track, (label, outlines) in sorted(tracks.items()):
        yield f'<track id="{track}" label={quoteattr(words[label])} source="auto">'
        for (number, points), then in zip(outlines, chain((one for one, _ in outlines[1:]), [None]), strict=True):
            yield _polygon(number, points, is_outside=False)
            if (left := following.get(number)) not in (None, then):  # else it would stay where it was seen last
                yield _polygon(left, points, is_outside=True)
        yield "</track>"
    yield "</annotations>"


def _polygon(frame: int | None, points: str, *, is_outside: bool) -> str:
    how = f'keyframe="1" outside="{int(is_outside)}" occluded="0" z_order="0"'
    return f'<polygon frame="{frame}" {how} points="{points}"/>'


class _CvatVideoWriter(FormatWriter):
    """`clip.xml` for the frames `clip/frame_000000` and so on, and these as images; only tracked objects are in it."""

    lost = NO_XML
    of_videos = True

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        if result.frame is None or not result.is_tracked:
            raise UsageError(f"{stem!r} is no frame of a video with tracks, which cvat-video has; write it as cvat")
        regions = connected_regions(result.labels, len(self.words), result.object_map)
        shapes = [[region.number, region.label, outline_of(region)] for region in regions if region.number]
        return {"frame": result.frame, "size": [result.height, result.width], "shapes": shapes}

    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        for video, of_video in groupby(entries, lambda entry: PurePosixPath(entry.stem).parent):
            frames = sorted((entry.facts for entry in of_video), key=lambda facts: facts["frame"])
            tracks = dict[int, tuple[int, list[tuple[int, str]]]]()
            for facts in frames:
                for number, label, points in facts["shapes"]:
                    tracks.setdefault(number, (label, []))[1].append((facts["frame"], points))
            labeled, height, width = [facts["frame"] for facts in frames], *frames[0]["size"]
            name = re.sub(NO_XML, "\ufffd", video.name) or "annotations"
            lines = track_lines(name, self.words, (height, width), labeled[-1] + 1, labeled, tracks)
            write_lines(folder / video.parent / f"{video.name or 'annotations'}.xml", lines)


CVAT_VIDEO = DatasetFormat(name="cvat-video", read=read_cvat, writer=_CvatVideoWriter)
