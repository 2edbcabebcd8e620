"""`segvoc segment` with videos, with tiles of large images, and with GeoTIFFs."""

import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from segvoc.imaging import video_reading
from segvoc.imaging.label_maps import read_label_map
from tests.cli.command import WORDS, Command, draw_photos, read_json, result_files
from tests.images import utm, write_raster
from tests.inference.small_network import small_segmenter
from tests.labeling.videos.videos import shown_frames, write_video


def _video(name: str, frames: int = 6, sound: str | None = None) -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    return write_video(Path(name), frames, sound=sound)


def test_videos_are_labeled_frame_by_frame(segment: Command) -> None:
    path = _video("video.mp4")
    done = segment("video.mp4", *WORDS, "--every", 4, "--smooth=0.5", "--json", "--compact").ok()
    report = json.loads(done.out)
    assert report == read_json("out/video.json")
    assert (report["video"]["frames"], report["video"]["labeled"], report["video"]["smooth"]) == (6, 2, 0.5)
    assert result_files() == ["video.json", "video.overlay.mp4", "video/000000.png", "video/000004.png"]
    assert not Path("out/.segvoc").exists()
    assert len(shown_frames(Path("out/video.overlay.mp4"))) == 6
    first = small_segmenter().segment(shown_frames(path)[0], ["cat", "sofa", "wall"])
    np.testing.assert_array_equal(read_label_map("out/video/000000.png"), first.labels)


def test_tracked_objects_are_written_for_other_programs(segment: Command) -> None:
    _video("video.mp4")
    formats = ("--track-format", "coco", "--track-format", "mot")
    segment("video.mp4", *WORDS, "--track", *formats, "--no-overlay").ok()
    lines = Path("out/video.tracks.jsonl").read_text().splitlines()
    files = {"video.coco.json", "video.mot.zip", "video.tracks.jsonl"}
    assert len(lines) == 6 and files <= {*result_files()}
    entries = read_json("out/video.coco.json")["annotations"]
    tracks = [one["track"] for line in lines for one in json.loads(line)["objects"]]
    assert sorted(one["track_id"] for one in entries) == sorted(tracks)
    segment("video.mp4", *WORDS, "--no-overlay").ok()  # the files of an earlier call go
    assert not files & {*result_files()}
    segment("video.mp4", *WORDS, *formats).refused("--track-format is for tracked objects; add --track")
    draw_photos("photo.png")
    segment("photo.png", *WORDS, "--track").refused("--track is for videos")


def test_several_videos_keep_a_journal_and_their_suffixes(segment: Command) -> None:
    _video("a/video.mp4")
    _video("a/video.mkv", sound="pcm_s16le")
    call = ("a/video.mp4", "a/video.mkv", *WORDS, "--no-overlay", "--every=3")
    first = segment(*call).ok()
    assert first.out.splitlines()[0].startswith("a/video.mp4: ")
    expected = {"video.mp4", "video.mp4.json", "video.mkv", "video.mkv.json"}
    assert {name.split("/")[0] for name in result_files()} == expected
    again = segment(*call, "--resume", "--json")
    assert again.err.count("was already done") == 2
    assert [json.loads(line)["image"] for line in again.out.splitlines()] == ["a/video.mp4", "a/video.mkv"]
    Path("out/video.mp4/000003.png").unlink()
    assert segment(*call, "--resume").err.count("was already done") == 1
    assert Path("out/video.mp4/000003.png").is_file()
    segment(*call, "--resume", "--smooth=0.3").refused("smooth: 0.0, now 0.3")


def test_calls_that_make_no_sense_are_refused(segment: Command) -> None:
    Path("results").mkdir()
    Path("results/video").symlink_to(_video("video.mp4").resolve())
    draw_photos("photo.png")
    _draw_scene("scene.tif")
    for arguments, said in (
        (["video.mp4", "--format=voc"], "leave it out, extract"),
        (["video.mp4", "--parts", "cat: head"], "--parts is for images only"),
        (["video.mp4", "--tile=64"], "leave out --tile"),
        (["video.mp4", "--jobs=2"], "leave out --jobs"),
        (["video.mp4", "--out=results"], "would overwrite"),
        (["video.mp4", "photo.png"], "two calls"),
        (["photo.png", "--every=2"], "--every is for videos"),
        (["photo.png", "--tile=64", "--overlap=40"], "give 0 to 32"),
        (["photo.png", "--tile=64", "--parts", "cat: head"], "leave out --parts"),
        (["photo.png", "--tile=64", "--jobs=2"], "leave out --jobs"),
        (["photo.png", "--tile=64", "--format=voc"], "leave out --format, or --tile"),
        (["scene.tif", "--bands=1,2"], "--bands '1,2'"),
        (["scene.tif", "--bands=a"], "--bands 'a'"),
        (["scene.tif", "--tile=64", "--out=."], "would overwrite the input 'scene.tif'"),
    ):
        segment(*arguments, *WORDS).refused(said)
    assert not Path("out").exists()


def test_a_missing_library_is_named_with_its_extra(segment: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    _video("video.mp4")
    _draw_scene("scene.tif")
    for module in ("av", "rasterio"):
        monkeypatch.setitem(sys.modules, module, None)
    segment("video.mp4", *WORDS).refused("PyAV", "[video]")
    segment("scene.tif", *WORDS, "--tile=64").refused("rasterio", "[geo]")
    assert not Path("out").exists()


def test_videos_that_cannot_be_read_fail_alone_in_one_line(segment: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _video("whole.mp4").read_bytes()
    Path("truncated.mp4").write_bytes(whole[: len(whole) // 2])
    Path("empty.mp4").touch()
    Path("text.mkv").write_text("#EXTM3U\nfilm.mp4\n")
    Image.new("RGB", (20, 20)).save("image.mp4", "PNG")
    _video("no_frames.mkv", frames=0)
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    named = ["truncated.mp4", "empty.mp4", "text.mkv", "image.mp4", "no_frames.mkv", "missing.mp4", "sound.mp4"]
    done = segment("whole.mp4", *named, *WORDS, "--no-overlay")
    assert done.code == 1 and "7 of 8 videos failed" in done.err
    assert all(repr(name) in line for name, line in zip(named, done.errors, strict=True))
    assert "no video stream" in done.errors[-1] and Path("out/whole.json").is_file()
    monkeypatch.setattr(video_reading, "MAX_FRAME_PIXELS", 1000)
    segment("whole.mp4", *WORDS).failed(1, "64 × 48 pixels")


def test_a_name_too_long_for_the_results_of_a_video_fails_alone(segment: Command) -> None:
    long = 246 * "n"
    Path(f"{long}.mp4").write_bytes(_video("a.mp4").read_bytes())
    for resumed in ((), ("--resume",)):
        done = segment("a.mp4", f"{long}.mp4", *WORDS, *resumed)
        done.failed(1, long, "File name too long; give the input a shorter name")
        assert "1 of 2 videos failed, the others are done" in done.err
    assert Path("out/a.json").is_file()


def _draw_scene(name: str) -> None:
    values = np.random.default_rng(0).integers(1, 4000, (3, 90, 130)).astype(np.uint16)
    write_raster(Path(name), values, photometric="rgb", **utm())


def test_images_are_labeled_in_tiles(segment: Command) -> None:
    draw_photos("photo.png")
    done = segment("photo.png", *WORDS, "--tile", 40, "--overlap", 10, "--json").ok()
    expected = small_segmenter().segment("photo.png", ["cat", "sofa", "wall"], tile=40, overlap=10)
    np.testing.assert_array_equal(read_label_map("out/photo.png"), expected.labels)
    report = json.loads(done.out)
    assert report["tiles"] == {"tile": 40, "overlap": 10, "wrap": False}
    assert report == read_json("out/photo.json")
    assert result_files() == ["photo.json", "photo.overlay.png", "photo.png"]
    assert not Path("out/.segvoc").exists()


def test_tiffs_have_tiffs_and_other_images_fail_alone(segment: Command) -> None:
    _draw_scene("scene.tif")
    draw_photos("photo.jpg")
    done = segment("scene.tif", "photo.jpg", "missing.tif", *WORDS, "--bands=3,2,1", "--no-overlay")
    assert (done.code, done.labeled) == (1, ["scene.tif"])
    for said in ("'photo.jpg' is not a TIFF", "'missing.tif' does not exist", "2 of 3 images failed"):
        assert said in done.err
    assert result_files() == ["scene.json", "scene.tif"]


def test_the_limit_of_sizes_names_its_option(segment: Command) -> None:
    Image.new("RGB", (200, 100)).save("photo.png")
    segment("photo.png", *WORDS, "--tile=64", "--max-megapixels=0.01").failed(1, "too large", "--max-megapixels")
    assert segment("photo.png", *WORDS, "--tile=64", "--max-megapixels=0.02").code == 0


@pytest.mark.parametrize("name", ["geojson", "gpkg"])
@pytest.mark.parametrize("tiles", [(), ("--tile", 80, "--no-overlay")], ids=["whole", "tiles"])
def test_maps_are_written_beside_the_label_map(segment: Command, name: str, tiles: tuple[Any, ...]) -> None:
    pyogrio = pytest.importorskip("pyogrio", reason="needs the extra geo")
    pytest.importorskip("shapely", reason="needs the extra geo")
    values = np.random.default_rng(0).integers(0, 256, (3, 100, 120), dtype=np.uint8)
    write_raster(Path("scene.tif"), values, photometric="rgb", **utm())
    segment("scene.tif", *WORDS, *tiles, "--format", name, "--simplify", 1).ok()
    assert {"scene.tif", f"scene.{name}", "scene.json"} <= {*result_files()}
    _, _, _, (words, _, areas) = pyogrio.raw.read(f"out/scene.{name}")
    report = read_json("out/scene.json")
    for entry in report["classes"]:
        assert areas[words == entry["name"]].sum() == pytest.approx(entry["pixels"] / 4)


def test_maps_need_coordinates_and_their_options_a_map(segment: Command) -> None:
    pytest.importorskip("shapely", reason="needs the extra geo")
    draw_photos("photo.png")
    segment("photo.png", *WORDS, "--format", "geojson").refused("'photo.png' has no coordinates, which maps need")
    segment("photo.png", *WORDS, "--tile", 80, "--format", "geojson").refused("has no coordinates, which maps need")
    segment("photo.png", *WORDS, "--simplify", 2).refused(
        "--simplify is for maps; leave it out, or add --format geojson"
    )
    call = ("photo.png", *WORDS, "--format", "geojson", "--no-copy-images")
    segment(*call).refused("--no-copy-images is for datasets")
    _video("video.mp4")
    segment("video.mp4", *WORDS, "--format", "geojson").refused("need images with coordinates; leave out --format")
