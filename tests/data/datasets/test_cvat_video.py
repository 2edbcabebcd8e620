"""Tracks of CVAT for video: shapes of each frame, between frames, behind each other, and gone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.errors import SkippedShapesWarning, UsageError
from segvoc.imaging.label_maps import UNLABELED
from tests.images import one_line_error

XML = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task>
<labels><label><name>car</name></label><label><name>road</name></label></labels>
<original_size><width>16</width><height>8</height></original_size></task></meta>
<track id="0" label="car">
<box frame="10" outside="0" keyframe="1" xtl="0" ytl="0" xbr="4" ybr="4" z_order="1"></box>
<box frame="14" outside="0" keyframe="1" xtl="8" ytl="0" xbr="12" ybr="4" z_order="1"></box>
<box frame="15" outside="1" keyframe="1" xtl="8" ytl="0" xbr="12" ybr="4" z_order="1"></box>
</track>
<track id="1" label="road">
<polygon frame="10" outside="0" keyframe="1" points="0,2;16,2;16,6;0,6" z_order="0"></polygon>
</track>
<track id="2" label="road">
<mask frame="14" outside="0" keyframe="1" rle="0, 4" left="12" top="7" width="4" height="1" z_order="0"></mask>
<mask frame="15" outside="1" keyframe="1" rle="0, 4" left="12" top="7" width="4" height="1" z_order="0"></mask>
</track>
<track id="3" label="car"><points frame="10" outside="0" keyframe="1" points="1,1" z_order="0"></points></track>
</annotations>
"""


def test_frames_have_the_shapes_of_their_tracks(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(XML)
    with one_line_error(UsageError, "is of a video", "--images"):
        segvoc.read_dataset(tmp_path)
    (tmp_path / "images").mkdir()
    for frame in (9, 10, 12, 14, 15):
        Image.new("RGB", (16, 8)).save(tmp_path / "images" / f"frame_{frame:06}.png")
    for name, said in (("cover.png", "no number of a frame"), ("other_000012.png", "the number of 'frame_000012.png'")):
        Image.new("RGB", (16, 8)).save(tmp_path / "images" / name)
        with one_line_error(UsageError, name, said, "rename or move it"):
            segvoc.read_dataset(tmp_path)
        (tmp_path / "images" / name).unlink()
    with pytest.warns(SkippedShapesWarning, match="1; draw"):
        dataset = segvoc.read_dataset(tmp_path)
    assert dataset.vocabulary.words == ("car", "road")
    assert [image.stem for image in dataset.images] == [f"frame_{frame:06}" for frame in (9, 10, 12, 14, 15)]
    expected = np.full((5, 8, 16), UNLABELED, np.uint16)
    expected[1:, 2:6] = 1
    for place, left in ((1, 0), (2, 4), (3, 8)):
        expected[place, :4, left : left + 4] = 0
    expected[3, 7, 12:] = 1
    for place in range(5):
        np.testing.assert_array_equal(dataset.read(place).labels, expected[place])
