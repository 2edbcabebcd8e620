"""Tracked videos in other programs' formats, read back by these programs' own tools where there are any."""

import json
import zipfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO

from segvoc.imaging.annotations import coco_mask
from segvoc.imaging.label_maps import UNLABELED
from segvoc.labeling.track_files import TRACK_FORMATS, TrackedVideo, TrackFormat, write_tracks

WORDS = ["cat & <dog>", "road", "été"]
EVERY, FRAMES = 2, 9


def _read(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A ring that moves and is missing from a frame, an object in two pieces, and a surface without objects."""
    labels, tracks = np.full((40, 60), 1, np.uint16), np.zeros((40, 60), np.uint16)
    labels[:3] = UNLABELED
    if number != 4:
        place = slice(5 + number, 15 + number), slice(10, 22)
        labels[place], tracks[place] = 0, 7
        labels[8 + number : 11 + number, 13:17], tracks[8 + number : 11 + number, 13:17] = 1, 0
    if number > 3:
        for place in ((slice(20, 25), slice(40, 44)), (slice(27, 30), slice(48, 55))):
            labels[place], tracks[place] = 2, 12
    return labels, tracks


VIDEO = TrackedVideo(
    name="street & co.mp4",
    words=WORDS,
    height=40,
    width=60,
    rate=29.97,
    frames=FRAMES,
    labeled=range(0, FRAMES, EVERY),
    read=_read,
)


def written(format: TrackFormat, path: Path, video: TrackedVideo = VIDEO) -> Path:
    with path.open("wb") as file:
        write_tracks(video, format, file)
    return path


def test_coco_has_the_masks_with_their_tracks(tmp_path: Path) -> None:
    dataset = COCO(str(written("coco", tmp_path / "video.json")))
    assert [one["name"] for one in dataset.loadCats(dataset.getCatIds())] == WORDS
    for image in dataset.loadImgs(dataset.getImgIds()):
        labels, tracks = _read(image["frame_id"])
        found = np.zeros_like(tracks)
        for entry in dataset.loadAnns(dataset.getAnnIds(image["id"])):
            mask = coco.decode(entry["segmentation"]).astype(bool)
            found[mask] = entry["track_id"]
            assert (labels[mask] == entry["category_id"] - 1).all() and entry["area"] == mask.sum()
            assert entry["attributes"]["track_id"] == entry["track_id"]
        np.testing.assert_array_equal(found, tracks)
        assert image["file_name"] == f"frame_{image['frame_id']:06}.PNG"
    assert len(dataset.getImgIds()) == len(VIDEO.labeled)


def test_cvat_has_outlines_that_end_where_an_object_leaves(tmp_path: Path) -> None:
    root = ElementTree.parse(written("cvat", tmp_path / "video.xml")).getroot()
    assert [label.findtext("name") for label in root.iterfind("meta/task/labels/label")] == WORDS
    assert root.findtext("meta/task/mode") == "interpolation" and root.findtext("meta/task/size") == str(FRAMES)
    outside = defaultdict[int, list[int]](list)
    found = {number: np.zeros((40, 60), np.uint16) for number in VIDEO.labeled}
    for track in root.iterfind("track"):
        number = int(track.get("id", ""))
        for polygon in track:
            frame = int(polygon.get("frame", ""))
            if polygon.get("outside") == "1":
                outside[number].append(frame)
                continue
            corners = [float(value) for value in polygon.get("points", "").replace(";", ",").split(",")]
            found[frame][coco_mask([corners], 40, 60)] = number
            assert track.get("label") == WORDS[0 if number == 7 else 2]
    for number, tracks in found.items():
        np.testing.assert_array_equal(tracks, _read(number)[1])
    assert outside == {7: [4]}


def test_mot_has_boxes_counted_from_1(tmp_path: Path) -> None:
    with zipfile.ZipFile(written("mot", tmp_path / "video.zip")) as archive:
        rows = [[int(value) for value in line.split(",")] for line in archive.read("gt/gt.txt").decode().splitlines()]
        assert archive.read("gt/labels.txt").decode().splitlines() == WORDS
        facts = dict(line.split("=") for line in archive.read("seqinfo.ini").decode().splitlines()[1:])
    assert rows[0] == [1, 7, 10, 5, 12, 10, 1, 1, 1]
    assert [row for row in rows if row[0] == 5] == [[5, 12, 40, 20, 15, 10, 1, 3, 1]]
    assert (facts["seqLength"], facts["frameRate"], facts["imWidth"]) == ("9", "29.97", "60")


@pytest.mark.parametrize("format", TRACK_FORMATS)
def test_a_video_without_objects_is_written_too(tmp_path: Path, format: TrackFormat) -> None:
    nothing = np.zeros((40, 60), np.uint16)
    video = replace(VIDEO, read=lambda number: (nothing, nothing))
    path = written(format, tmp_path / "video", video)
    if format == "coco":
        assert json.loads(path.read_text())["annotations"] == []
    if format == "cvat":
        assert ElementTree.parse(path).find("track") is None
