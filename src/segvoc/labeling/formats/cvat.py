"""CVAT's XML ("CVAT for images 1.1", "CVAT for video 1.1"): masks, polygons, boxes and ellipses."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain, groupby, pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from segvoc.errors import UsageError
from segvoc.imaging.connected_regions import Region, connected_regions, polygon_of
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.base import NO_XML, DatasetEntry, DatasetFormat, Facts, FormatWriter, write_lines
from segvoc.labeling.formats.parsed import AnnotatedImage, DatasetSource, ParsedDataset, annotated, unique_stems
from segvoc.labeling.formats.shapes import NoArea, Patch, Polygons, Shape, Shapes, check_box, ellipse, rectangle
from segvoc.labeling.formats.untrusted_files import finite, inner_path, naming_damage, read_xml
from segvoc.storage.files import safe_path


def find_xml(folder: Path) -> dict[str, Path]:
    """Find the XML files of a folder, by set name."""
    files = {file.stem: file for file in sorted(folder.glob("*.xml")) if file.name != "label_config.xml"}
    return {"annotations": files["annotations"]} if "annotations" in files else files


def read_cvat(source: DatasetSource) -> ParsedDataset:
    """Read CVAT's XML file, of images or of a video; shapes of a higher z order are in front, then later ones.

    Images of a subset are in the folder of that name, as CVAT exports them. Frames of a video are
    `images/frame_000000.PNG` and so on, or in a folder of the file's name; objects have the numbers of their tracks.
    """
    path, split = source.path, source.split
    if not path.is_file():
        files = find_xml(path)
        if not files:
            raise UsageError(f"{str(path)!r} has no CVAT XML file; give the file itself as --dataset")
        if len(files) == 1:  # a split selects a subset
            path = next(iter(files.values()))
        else:
            path, split = source.chosen(files, "files"), None
    with naming_damage(path):
        root = read_xml(path)
        if root.tag != "annotations":
            raise ValueError(f"it begins with <{root.tag[:40]}>, not with <annotations>")
        # labels with a parent are the points of a skeleton
        labels = [label for label in root.iterfind("meta//labels/label") if label.find("parent") is None]
        names = [name for label in labels if (name := (label.findtext("name") or "").strip())]
        if not names:
            raise ValueError("it lists no labels")
    label_of = {name: label for label, name in reversed(list(enumerate(names)))}
    elements = root.findall("image")
    is_video = root.findtext("meta/task/mode") == "interpolation" and not elements
    if is_video or root.find("track") is not None:
        return ParsedDataset(names=names, images=_frames(source, path, root, label_of))
    subsets = {_subset(element): None for element in elements}
    if split is not None:
        source.chosen(subsets, "subsets")
        elements = [element for element in elements if _subset(element) == split]
    files = [inner_path(element.get("name", "")) for element in elements]
    often = Counter(files)
    pairs = list(zip(elements, files, strict=True))
    stems = unique_stems([file if often[file] == 1 else Path(_subset(element)) / file for element, file in pairs])
    images = [
        annotated(
            path,
            stem,
            partial(_image, source, path.parent, element, subsets.keys(), is_alone=often[file] == 1),
            partial(_annotation, element, label_of),
            name=f"image {element.get('name', '')[:60]!r}",
        )
        for (element, file), stem in zip(pairs, stems, strict=True)
    ]
    return ParsedDataset(names=names, images=images)


def _image(source: DatasetSource, folder: Path, element: Element, subsets: Set[str], *, is_alone: bool) -> Path:
    """The file of an image: in the folder of its subset, or anywhere if the name is unique."""
    name = element.get("name", "")
    roots = [folder / "images", folder]
    if source.images is not None:
        roots = [source.images, *([source.images.parent] if source.images.name in subsets else [])]
    with suppress(ValueError):
        inside = safe_path(f"{_subset(element)}/{name}")
        candidates = [root / inside for root in roots if not is_alone or (root / inside).is_file()]
        if candidates:
            return next((file for file in candidates if file.is_file()), candidates[0])
    return source.image(name, [folder / "images", folder])


def _subset(element: Element) -> str:
    return element.get("subset") or "default"


def _annotation(element: Element, labels: Mapping[str, int]) -> Shapes:
    # a <tag> labels the whole image and isn't a shape
    shapes = sorted((shape for shape in element if shape.tag != "tag"), key=_z_order)
    height, width = element.get("height"), element.get("width")
    size = (_whole(height, "the heights"), _whole(width, "the widths")) if height and width else None
    return Shapes.of(shapes, lambda shape: _shape(shape, labels), size=size)


def _z_order(shape: Element) -> int:
    return _whole(shape.get("z_order") or "0", "the z orders")


class _TrackedShape(NamedTuple):
    """A shape of a track."""

    number: int
    """The number of its object, from 1."""
    track: Element
    shape: Element


def _frames(source: DatasetSource, path: Path, root: Element, labels: Mapping[str, int]) -> list[AnnotatedImage]:
    """The frames of a video that have an image or a shape; of a track, CVAT writes the shapes of all its frames."""
    with naming_damage(path):
        shapes = _tracked_shapes(root)
    places = [path.parent / "images", path.parent] if source.images is None else [source.images]
    files = _frame_files([folder for place in places for folder in (place / path.stem, place)])

    def image(number: int) -> Path:
        if number in files:
            return files[number]
        raise ValueError("it isn't there; export the video with its images, which are named frame_000000.PNG")

    def annotation(number: int) -> Shapes:
        ordered = sorted(shapes[number], key=lambda one: _z_order(one.shape))
        return Shapes.of(ordered, lambda one: replace(_shape(one.shape, labels, one.track), number=one.number))

    video = root.findtext("meta/task/name") or path.stem
    frames = {number: f"{path.stem}/frame_{number:06}" for number in sorted({*files, *shapes})}
    return [
        replace(
            annotated(path, stem, partial(image, number), partial(annotation, number), name=f"frame {number}"),
            frame=(video, number),
        )
        for number, stem in frames.items()
    ]


def _tracked_shapes(root: Element) -> defaultdict[int, list[_TrackedShape]]:
    """The shapes of tracks by the number of their frame; a `ValueError` if a number is damaged."""
    tracks = root.findall("track")
    numbers = [_whole(track.get("id", ""), "the ids of tracks") for track in tracks]
    first = max(0, 1 - min(numbers, default=1))  # CVAT counts from 0, objects from 1
    if len(set(numbers)) < len(numbers) or max(numbers, default=0) + first >= UNLABELED:
        raise ValueError("two tracks have the same id, or one is above 65,000")
    shapes = defaultdict[int, list[_TrackedShape]](list)
    for number, track in zip(numbers, tracks, strict=True):
        for shape in track:
            if shape.get("outside") != "1":
                frame = _whole(shape.get("frame", ""), "the frames of tracks")
                shapes[frame].append(_TrackedShape(number + first, track, shape))
    return shapes


def _frame_files(folders: Sequence[Path]) -> dict[int, Path]:
    """The images of frames by their number, in the first folder that has them."""
    files = dict[int, Path]()
    for folder in folders:
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            name = re.fullmatch(r"frame_(\d{6,18})", file.stem)
            if name is not None and file.suffix.lower() in IMAGE_SUFFIXES:
                files.setdefault(int(name[1]), file)
    return files


def _shape(element: Element, labels: Mapping[str, int], track: Element | None = None) -> Shape:
    """A shape, which has its word from its track, if it is one of a track."""

    def numbers(*names: str) -> Sequence[float]:
        return [finite(element.get(name), f"{name!r} of a {kind}") for name in names]

    owner = element if track is None else track
    kind, word, group = element.tag, owner.get("label", "").strip(), element.get("group_id", "0")
    center = (0.0, 0.0)
    if kind not in ("mask", "polygon", "box", "ellipse"):
        raise NoArea(kind)
    if word not in labels:
        raise ValueError(f"a {kind} has the unlisted label {word[:60]!r}")
    if kind == "box":
        left, top, right, bottom = numbers("xtl", "ytl", "xbr", "ybr")
        corners, center = rectangle(left, top, right, bottom), ((left + right) / 2, (top + bottom) / 2)
    elif kind == "ellipse":
        x, y, *radii = numbers("cx", "cy", "rx", "ry")
        corners, center = ellipse(x, y, *radii), (x, y)
    elif kind == "polygon":
        points = [point.split(",") for point in element.get("points", "").split(";")]
        if any(len(point) != 2 for point in points):
            raise ValueError("a polygon has a point that isn't x and y")
        corners = [finite(value, "a coordinate of a polygon") for point in points for value in point]
    else:
        left, top, width, height = (
            _whole(element.get(name, ""), f"{name!r} of a mask") for name in ("left", "top", "width", "height")
        )
        mask = partial(_runs, element.get("rle", ""), (left, top, width, height))
        return Shape(label=labels[word], patch=mask, group=None if group == "0" else group)
    patch = Polygons([corners], degrees=finite(element.get("rotation", "0"), "a rotation"), about=center)
    return Shape(label=labels[word], patch=patch, group=None if group == "0" else group)


def _whole(text: str, place: str) -> int:
    if not re.fullmatch(r"\s*-?\d{1,18}\s*", text):
        raise ValueError(f"{place} have {text[:40]!r} where a whole number is expected")
    return int(text)


def _runs(text: str, box: tuple[int, int, int, int], height: int, width: int) -> Patch:
    """Decodes run lengths in a box (left, top, width, height), row by row: outside, inside, outside, ..."""
    left, top, columns, rows = box
    check_box(left, top, columns, rows, height, width)
    lengths = np.array([_whole(length, "a mask's run lengths") for length in text.split(",")], np.int64)
    if (lengths < 0).any() or (lengths > rows * columns).any() or lengths.sum() != rows * columns:
        raise ValueError(f"run lengths that don't fill the {rows * columns} pixels of their box")
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return Patch(top, left, inside.reshape(rows, columns))


class _CvatWriter(FormatWriter):
    """`annotations.xml`, and the images."""

    lost = NO_XML

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        regions = self.regions(result)
        masks = [{"label": region.label, "box": region.box, "rle": _box_runs(region)} for region in regions]
        return {"size": [result.height, result.width], "masks": masks}

    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        write_lines(folder / "annotations.xml", self._lines(entries))

    def _lines(self, entries: Iterable[DatasetEntry]) -> Iterator[str]:
        yield '<?xml version="1.0" encoding="utf-8"?>'
        yield "<annotations><version>1.1</version><meta><task><labels>"
        for word, color in self.hex_colors():
            name = escape(word)
            yield f"<label><name>{name}</name><color>{color}</color><type>mask</type><attributes></attributes></label>"
        yield "</labels></task></meta>"
        words = [quoteattr(word) for word in self.words]
        for number, entry in enumerate(entries):
            height, width = entry.facts["size"]
            # CVAT matches the uploaded image by this name
            name = quoteattr(re.sub(NO_XML, "\ufffd", entry.image.removeprefix("images/")))
            yield f'<image id="{number}" name={name} width="{width}" height="{height}">'
            for mask in entry.facts["masks"]:
                left, top, columns, rows = mask["box"]
                place = f'left="{left}" top="{top}" width="{columns}" height="{rows}" z_order="0"'
                yield f'<mask label={words[mask["label"]]} source="auto" occluded="0" rle="{mask["rle"]}" {place}/>'
            yield "</image>"
        yield "</annotations>"


def _box_runs(region: Region) -> str:
    """The lengths of the runs in a region's bounding box, row by row: outside, inside, outside, ..."""
    pixels = region.inside.ravel()
    bounds = np.flatnonzero(np.diff(pixels, prepend=False))
    return ", ".join(map(str, np.diff(bounds, prepend=0, append=pixels.size).tolist()))


# ---- the outlines of tracked objects, a file for each video

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


CVAT = DatasetFormat(
    name="cvat", read=read_cvat, writer=_CvatWriter, marks=find_xml, is_file=lambda path: path.suffix.lower() == ".xml"
)
CVAT_VIDEO = DatasetFormat(name="cvat-video", read=read_cvat, writer=_CvatVideoWriter)
