"""Videos from file to files: frames, times, sound, smoothing, and going on after a stop."""

import itertools
import json
import threading
from collections import Counter
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from segvoc.errors import OutputError, UsageError
from segvoc.imaging.label_maps import read_label_map
from segvoc.imaging.overlay import OverlayStyle, class_regions, draw_overlay
from segvoc.imaging.palette import class_colors
from segvoc.imaging.video_reading import OpenVideo
from segvoc.inference.label_options import LabelOptions
from segvoc.labeling import videos
from segvoc.labeling.task import Labeling
from segvoc.labeling.videos import label_video
from segvoc.models.network_segmenter import NetworkSegmenter
from tests.inference.small_network import small_segmenter
from tests.labeling.videos.videos import CLOCKWISE, shown_frames, shown_times, write_video

WORDS = ["cat", "sofa", "wall", "tree"]


@pytest.fixture(scope="module")
def model() -> NetworkSegmenter:
    return small_segmenter()


@pytest.fixture(autouse=True)
def _short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "PIECE", 4)


def _contents(folder: Path) -> dict[str, Any]:
    """The content of each result; of the report all but the time that it took."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: json.loads(path.read_text()) | {"seconds": 0} if name.endswith(".json") else path.read_bytes()
        for name, path in paths.items()
    }


def _assert_same_results(folder: Path, whole: Path) -> None:
    """Videos as shown: x264 encodes equal frames differently once in a thousand times on a busy machine."""
    found, expected = _contents(folder), _contents(whole)
    overlay = "video.overlay.mp4"
    assert found.pop(overlay) and expected.pop(overlay)
    assert found == expected
    assert shown_times(folder / overlay) == shown_times(whole / overlay)
    for ours, theirs in zip(shown_frames(folder / overlay), shown_frames(whole / overlay), strict=True):
        assert np.abs(ours.astype(float) - theirs).mean() < 1


def test_a_video_has_labels_overlay_and_report(model: NetworkSegmenter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", 10, rate=Fraction(30_000, 1001))
    result = label_video(model, path, WORDS, Labeling(out=tmp_path / "out"))
    with OpenVideo(path) as video:
        frames = [frame.pixels for frame in video.frames()]
    expected = list(model.segment_many([pixels for pixels in frames if pixels is not None], WORDS))
    label_maps = [f"video/{number:06}.png" for number in range(10)]
    assert sorted(_contents(tmp_path / "out")) == ["video.json", "video.overlay.mp4", *label_maps]
    for number, one in enumerate(expected):
        np.testing.assert_array_equal(read_label_map(tmp_path / f"out/video/{number:06}.png"), one.labels)
    report = json.loads((tmp_path / "out/video.json").read_text())
    assert report == result.report()
    about = report["video"]
    assert (about["frames"], about["labeled"], about["fps"]) == (10, 10, 29.97003)
    assert about["duration"] == pytest.approx(10 * 1001 / 30_000)
    assert sum(entry["pixels"] for entry in report["classes"]) == 10 * 64 * 48
    assert report["timeline"][3]["time"] == pytest.approx(0.1001)
    shares = expected[3].report(compact=True)["classes"]
    assert report["timeline"][3]["fractions"] == {entry["name"]: entry["fraction"] for entry in shares}
    with av.open(str(tmp_path / "out/video.overlay.mp4")) as overlay:
        stream = overlay.streams.video[0]
        assert (stream.frames, stream.average_rate) == (10, Fraction(30_000, 1001))
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    assert shown_times(tmp_path / "out/video.overlay.mp4") == shown_times(path)


def test_the_overlay_video_shows_the_labels_over_each_frame(model: NetworkSegmenter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", 6, codec="ffv1")
    style = OverlayStyle(alpha=0.6, names=False, legend=False)
    label_video(model, path, WORDS, Labeling(out=tmp_path / "out", overlay=style, every=3))
    assert sorted(file.name for file in (tmp_path / "out/video").iterdir()) == ["000000.png", "000003.png"]
    shown, frames = shown_frames(tmp_path / "out/video.overlay.mp4"), shown_frames(path)
    assert len(shown) == len(frames) == 6
    for number, (drawn, pixels) in enumerate(zip(shown, frames, strict=True)):
        labels = read_label_map(tmp_path / f"out/video/{number // 3 * 3:06}.png")
        expected = draw_overlay(pixels, class_regions(labels, WORDS, class_colors(len(WORDS))), style)
        # H.264 keeps the brightness of each pixel, but colors of 2 x 2 pixels
        gray = [np.asarray(Image.fromarray(one).convert("L"), float) for one in (drawn, np.asarray(expected), pixels)]
        assert np.abs(gray[0] - gray[1]).mean() < 10
        assert np.abs(gray[0] - gray[2]).mean() > 15


def test_each_frame_has_objects_of_its_own(model: NetworkSegmenter, tmp_path: Path) -> None:
    path, options = write_video(tmp_path / "video.mkv", 4, codec="ffv1"), LabelOptions(objects=True)
    result = label_video(model, path, WORDS, Labeling(out=tmp_path / "out", options=options, every=3))
    with OpenVideo(path) as video:
        frames = {frame.number: frame.pixels for frame in video.frames()}
    assert result.timeline is not None
    for entry in result.timeline:
        pixels = frames[entry["frame"]]
        assert pixels is not None
        expected = model.segment(pixels, WORDS, options=options)
        stored = np.array(Image.open(tmp_path / f"out/video/{entry['frame']:06}.objects.png"))
        np.testing.assert_array_equal(stored, expected.object_map)
        counts = zip(WORDS, expected.object_counts or (), strict=True)
        assert entry["objects"] == {word: count for word, count in counts if count}
    label_video(model, path, WORDS, Labeling(out=tmp_path / "out", every=3))  # those of an earlier call go
    assert sorted(file.name for file in (tmp_path / "out/video").iterdir()) == ["000000.png", "000003.png"]


@pytest.mark.parametrize(
    ("stop", "settings"),
    [
        (5, {}),
        (9, {"every": 2, "options": LabelOptions(smooth=0.7)}),
        (5, {"options": LabelOptions(track=True, least_object=20, smooth=0.5)}),
    ],
    ids=["plain", "smooth", "tracks"],
)
def test_a_stopped_video_goes_on_and_ends_the_same(model, tmp_path, monkeypatch, stop, settings):
    path = write_video(tmp_path / "video.mp4", 11)
    label_video(model, path, WORDS, Labeling(out=tmp_path / "whole", **settings))
    seen: list[int] = []
    inner = model.encode_views

    def run(*arguments: Any, **options: Any) -> Any:
        seen.append(len(seen))
        if len(seen) * settings.get("every", 1) > stop:
            raise KeyboardInterrupt
        return inner(*arguments, **options)

    monkeypatch.setattr(model, "encode_views", run)
    with pytest.raises(KeyboardInterrupt):
        label_video(model, path, WORDS, Labeling(out=tmp_path / "out", **settings))
    monkeypatch.setattr(model, "encode_views", inner)
    assert not (tmp_path / "out/video.json").exists()
    label_video(model, path, WORDS, Labeling(out=tmp_path / "out", resume=True, **settings))
    _assert_same_results(tmp_path / "out", tmp_path / "whole")


def test_tracked_objects_are_listed_frame_by_frame(model: NetworkSegmenter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", 6)
    options = LabelOptions(track=True, track_gap=2)
    result = label_video(model, path, WORDS, Labeling(out=tmp_path / "out", options=options, every=2, overlay=None))
    lines = [json.loads(line) for line in (tmp_path / "out/video.tracks.jsonl").read_text().splitlines()]
    frames = list(model.segment_video(path, WORDS, every=2, options=options))
    tracks = dict[int, str]()
    for line, frame in zip(lines, frames, strict=True):
        objects = np.array(Image.open(tmp_path / f"out/video/{line['frame']:06}.objects.png"))
        np.testing.assert_array_equal(objects, frame.object_map)
        assert (line["frame"], line["time"]) == (frame.frame, frame.time)
        listed = {one.track: (one.word, list(one.box), one.area) for one in frame.objects}
        assert {one["track"]: (one["word"], one["box"], one["area"]) for one in line["objects"]} == listed
        assert all((objects == track).sum() == area for track, (_, _, area) in listed.items())
        assert list(frame.to_dataframe(objects=True)["track"]) == [one.track for one in frame.objects]
        for track, (word, *_) in listed.items():
            assert track is not None and tracks.setdefault(track, word) == word
    assert [line["frame"] for line in lines] == [0, 2, 4]
    assert result.video["tracks"] == dict(Counter(tracks.values())) and sorted(tracks) == [*range(1, len(tracks) + 1)]
    for images in (model.segment, model.start):
        with pytest.raises(UsageError, match="track is for the frames of a video"):
            images([np.zeros((8, 8, 3), np.uint8)], WORDS, options=options)
    with pytest.raises(UsageError, match="track_gap=3 is about tracks"):
        model.segment_video(path, WORDS, track_gap=3)


def test_no_thread_reads_a_video_that_is_closed_after_an_error(model, tmp_path, monkeypatch):
    def fail(*_: Any) -> None:
        raise OutputError("the disk is full")

    readers: list[str] = []
    close = OpenVideo.close

    def closed(video: OpenVideo) -> None:
        readers.extend(one.name for one in threading.enumerate() if one.name.startswith("segvoc-video-reader"))
        close(video)

    path = write_video(tmp_path / "video.mp4", 40)
    monkeypatch.setattr(videos.OverlayVideo, "show", fail)
    monkeypatch.setattr(OpenVideo, "close", closed)
    with pytest.raises(OutputError, match="full"):
        label_video(model, path, WORDS, Labeling(out=tmp_path / "out"))
    assert not readers


def test_a_stop_while_results_are_written_loses_nothing(model, tmp_path, monkeypatch):
    def move_some(made: Path, place: Path) -> None:
        if place.name == "000003.png":
            raise KeyboardInterrupt
        made.replace(place)

    path = write_video(tmp_path / "video.mp4", 6)
    label_video(model, path, WORDS, Labeling(out=tmp_path / "whole"))
    with monkeypatch.context() as patched:
        patched.setattr(videos, "_move", move_some)
        with pytest.raises(KeyboardInterrupt):
            label_video(model, path, WORDS, Labeling(out=tmp_path / "out"))
    assert (tmp_path / "out/video/000002.png").exists() and not (tmp_path / "out/video/000003.png").exists()
    monkeypatch.setattr(model, "encode_views", _interrupt)  # nothing is left to label
    label_video(model, path, WORDS, Labeling(out=tmp_path / "out", resume=True))
    _assert_same_results(tmp_path / "out", tmp_path / "whole")


def _interrupt(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_other_settings_are_refused_and_other_results_replaced(model: NetworkSegmenter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", 6)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(videos, "_move", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            label_video(model, path, WORDS, Labeling(out=tmp_path / "out"))
    with pytest.raises(UsageError, match="every=0"):
        label_video(model, path, WORDS, Labeling(every=0))
    with pytest.raises(UsageError, match="parts or groups"):
        model.segment_many([], WORDS, parts={WORDS[0]: ["head"]}, smooth=0.5)
    with pytest.raises(UsageError, match="every: 1, now 2"):
        label_video(model, path, WORDS, Labeling(out=tmp_path / "out", resume=True, every=2))
    for words in (model.encode(WORDS, background="nothing"), model.encode([*WORDS, "nothing"])):
        with pytest.raises(UsageError, match=r"(words|background): "):
            label_video(model, path, words, Labeling(out=tmp_path / "out", resume=True))
    with pytest.raises(UsageError, match="encoded words include parts and background"):
        label_video(model, path, words, Labeling(out=tmp_path / "out", options=LabelOptions(background="nothing")))
    label_video(model, path, WORDS, Labeling(out=tmp_path / "out"))
    label_video(model, path, WORDS, Labeling(out=tmp_path / "out", overlay=None, every=4))
    assert sorted(_contents(tmp_path / "out")) == ["video.json", "video/000000.png", "video/000004.png"]


def test_times_that_vary_are_kept(model: NetworkSegmenter, tmp_path: Path) -> None:
    times = [0, 40, 50, 200, 201, 1000]
    path = write_video(tmp_path / "video.mkv", 6, times=times)
    label_video(model, path, WORDS, Labeling(out=tmp_path / "out"))
    assert [round(1000 * time) for time in shown_times(tmp_path / "out/video.overlay.mp4")] == times


def test_sides_may_be_odd_and_frames_are_turned_upright(model: NetworkSegmenter, tmp_path: Path) -> None:
    path = write_video(tmp_path / "odd.mkv", 3, size=(63, 41), codec="ffv1")
    label_video(model, path, WORDS, Labeling(out=tmp_path / "out"))
    assert read_label_map(tmp_path / "out/odd/000000.png").shape == (41, 63)
    assert shown_frames(tmp_path / "out/odd.overlay.mp4")[0].shape == (42, 64, 3)
    plain = write_video(tmp_path / "plain.mp4", 3)
    turned = write_video(tmp_path / "turned.mp4", 3, matrix=CLOCKWISE)
    with OpenVideo(plain) as one, OpenVideo(turned) as other:
        first, second = next(one.frames()).pixels, next(other.frames()).pixels
    np.testing.assert_array_equal(second, np.rot90(first, -1))
    result = label_video(model, turned, WORDS, Labeling(out=tmp_path / "out"))
    assert (result.height, result.width, result.video["rotation"]) == (64, 48, 270)
    assert shown_frames(tmp_path / "out/turned.overlay.mp4")[0].shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("suffix", "encoder", "codec", "copied"),
    [("mp4", "libmp3lame", "mp3", True), ("mkv", "pcm_s16le", "pcm_s16le", False)],
)
def test_sound_is_copied_where_mp4_can_hold_it(model, tmp_path, suffix, encoder, codec, copied):
    path = write_video(tmp_path / f"video.{suffix}", 10, sound=encoder)
    result = label_video(model, path, WORDS, Labeling(out=tmp_path / "out", every=5))
    assert result.video["audio"] == [{"codec": codec, "copied": copied}]
    with av.open(str(path)) as source, av.open(str(tmp_path / "out/video.overlay.mp4")) as overlay:
        assert len(overlay.streams.audio) == copied
        packets = [
            [(bytes(packet), packet.pts) for packet in video.demux(audio=0) if packet.size]
            for video in ((source, overlay) if copied else ())
        ]
    assert not copied or packets[0] == packets[1] != []


def test_smoothing_calms_labels(model: NetworkSegmenter, tmp_path: Path) -> None:
    def noisy(number: int, width: int, height: int) -> np.ndarray:
        still = np.full((height, width, 3), 128.0)
        return np.clip(still + np.random.default_rng(number).normal(0, 40, still.shape), 0, 255).astype(np.uint8)

    path = write_video(tmp_path / "video.mkv", 8, codec="ffv1", image=noisy)

    def changes(smooth: float) -> float:
        options = LabelOptions(smooth=smooth)
        found = [frame.labels for frame in model.segment_video(path, WORDS, options=options)]
        return float(np.mean([(one != two).mean() for one, two in itertools.pairwise(found)]))

    assert 0 < changes(0.8) < 0.8 * changes(0.0)


def test_a_mean_ends_at_a_cut(model: NetworkSegmenter) -> None:
    draw = np.random.default_rng(0)
    frames = [draw.integers(100, 110, (48, 64, 3), dtype=np.uint8) for _ in range(4)]
    other = draw.integers(200, 256, (48, 64, 3), dtype=np.uint8)
    *_, last = model.segment_many([*frames, other], WORDS, smooth=0.8, return_probabilities=True)
    alone = model.segment(other, WORDS, return_probabilities=True)
    np.testing.assert_allclose(last.probabilities, alone.probabilities, atol=1e-4)


def test_classes_that_come_and_go_are_averaged_as_absent(model: NetworkSegmenter) -> None:
    frames = [np.full((48, 64, 3), 100, np.uint8)] * 3
    one = list(model.segment_many(frames, WORDS, keep_classes=2, smooth=0.5))
    alone = model.segment(frames[0], WORDS, keep_classes=2)
    np.testing.assert_array_equal(one[2].labels, alone.labels)
    assert one[2].selected.sum() == 2


@pytest.mark.parametrize(("streams", "seconds"), [(1, 3.0), (2, None)])
def test_a_file_lasts_as_long_as_its_video_if_it_has_nothing_else(streams: int, seconds: float | None) -> None:
    """Sound may be longer."""
    video = OpenVideo.__new__(OpenVideo)
    video._stream = SimpleNamespace(duration=None, metadata={})
    video._container = SimpleNamespace(duration=3_000_000, streams=[None] * streams)
    assert video._declared_seconds() == seconds


# ---- pieces of recordings: what their containers say of time


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4"])
@pytest.mark.parametrize("begin", [0, 2000])
def test_a_piece_of_a_recording_is_whole(tmp_path: Path, suffix: str, begin: int) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    times = [begin + 100 * number for number in range(10)]
    path = write_video(tmp_path / f"video{suffix}", 10, rate=10, times=times, codec=codec)
    with OpenVideo(path) as video:
        assert len(list(video.frames())) == 10
        assert video.damage is None and video.begin == begin / 1000


@pytest.mark.parametrize("begin", [0, 2000])
def test_a_piece_that_was_cut_off_is_damaged(tmp_path: Path, begin: int) -> None:
    times = [begin + 100 * number for number in range(60)]
    path = write_video(tmp_path / "video.mkv", 60, rate=10, times=times, options={"cluster_time_limit": "500"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with OpenVideo(path) as video:
        assert 0 < len(list(video.frames())) < 60
        assert video.damage is not None and "of 6.0 s" in video.damage
