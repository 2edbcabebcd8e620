"""Pieces of recordings: what their containers say of time."""

from pathlib import Path

import pytest

from segvoc.imaging.video_reading import OpenVideo
from tests.labeling.videos.videos import write_video


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4"])
@pytest.mark.parametrize("begin", [0, 2000])
def test_a_piece_of_a_recording_is_whole(tmp_path: Path, suffix: str, begin: int) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    times = [begin + 100 * number for number in range(10)]
    path = write_video(tmp_path / f"video{suffix}", 10, rate=10, times=times, codec=codec)
    with OpenVideo(path) as video:
        assert len(list(video.frames())) == 10
        assert video.damage is None


@pytest.mark.parametrize("begin", [0, 2000])
def test_a_piece_that_was_cut_off_is_damaged(tmp_path: Path, begin: int) -> None:
    times = [begin + 100 * number for number in range(60)]
    path = write_video(tmp_path / "video.mkv", 60, rate=10, times=times, options={"cluster_time_limit": "500"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with OpenVideo(path) as video:
        assert 0 < len(list(video.frames())) < 60
        assert video.damage is not None and "of 6.0 s" in video.damage
