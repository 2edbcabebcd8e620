"""`segvoc segment` with films."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.films import reading
from segvoc.imaging.label_maps import read_label_map
from tests.cli.command import Command, draw_photos, result_files
from tests.films.films import shown_frames, write_film
from tests.inference.small_network import small_segmenter

WORDS = ("--words", "cat, sofa, wall")


def _film(name: str, frames: int = 6, sound: str | None = None) -> Path:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    return write_film(Path(name), frames, sound=sound)


def test_films_are_labelled_frame_by_frame(segment: Command) -> None:
    path = _film("film.mp4")
    done = segment("film.mp4", *WORDS, "--every", 4, "--smooth=0.5", "--json", "--compact")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report == json.loads(Path("out/film.json").read_text())
    assert (report["film"]["frames"], report["film"]["labelled"], report["film"]["smooth"]) == (6, 2, 0.5)
    assert result_files() == ["film.json", "film.overlay.mp4", "film/000000.png", "film/000004.png"]
    assert not Path("out/.segvoc").exists()
    assert len(shown_frames(Path("out/film.overlay.mp4"))) == 6
    first = small_segmenter().segment(shown_frames(path)[0], ["cat", "sofa", "wall"])
    np.testing.assert_array_equal(read_label_map("out/film/000000.png"), first.labels)


def test_several_films_keep_a_journal_and_their_suffixes(segment: Command) -> None:
    _film("a/film.mp4")
    _film("a/film.mkv", sound="pcm_s16le")
    call = ("a/film.mp4", "a/film.mkv", *WORDS, "--no-overlay", "--every=3")
    first = segment(*call)
    assert first.code == 0, first.err
    assert first.out.splitlines()[0].startswith("a/film.mp4: ")
    assert {name.split("/")[0] for name in result_files()} == {"film.mp4", "film.mp4.json", "film.mkv", "film.mkv.json"}
    again = segment(*call, "--resume", "--json")
    assert again.err.count("was done before") == 2
    assert [json.loads(line)["image"] for line in again.out.splitlines()] == ["a/film.mp4", "a/film.mkv"]
    Path("out/film.mp4/000003.png").unlink()
    assert segment(*call, "--resume").err.count("was done before") == 1
    assert Path("out/film.mp4/000003.png").is_file()
    segment(*call, "--resume", "--smooth=0.3").refused("smooth: 0.0, now 0.3")


def test_sound_that_is_left_out_is_named(segment: Command) -> None:
    _film("film.mkv", sound="pcm_s16le")
    done = segment("film.mkv", *WORDS)
    assert done.code == 0
    assert "pcm_s16le sound" in done.err


def test_calls_that_make_no_sense_are_refused(segment: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    _film("film.mp4")
    draw_photos("photo.png")
    segment("film.mp4", *WORDS, "--format=voc").refused("leave out --format")
    segment("film.mp4", *WORDS, "--parts", "cat: head").refused("leave out --parts")
    segment("film.mp4", *WORDS, "--tile=64").refused("leave out --tile")
    segment("film.mp4", *WORDS, "--jobs=2").refused("leave out --jobs")
    segment("film.mp4", "photo.png", *WORDS).refused("two calls")
    segment("photo.png", *WORDS, "--every=2").refused("--every is for films")
    segment("photo.png", *WORDS, "--smooth=0.2").refused("--smooth is for films")
    segment("film.mp4", *WORDS, "--every=0").refused("--every")
    segment("film.mp4", *WORDS, "--smooth=1").refused("--smooth")
    Path("results").mkdir()
    Path("results/film").symlink_to(Path("film.mp4").resolve())
    segment("film.mp4", *WORDS, "--out=results").refused("would overwrite")
    monkeypatch.setitem(sys.modules, "av", None)
    segment("film.mp4", *WORDS).refused("PyAV", "segvoc[video]")
    assert not Path("out").exists()


def test_films_that_cannot_be_read_fail_alone_in_one_line(segment: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _film("whole.mp4").read_bytes()
    Path("truncated.mp4").write_bytes(whole[: len(whole) // 2])
    Path("empty.mp4").touch()
    Path("text.mkv").write_text("#EXTM3U\nfilm.mp4\n")
    Image.new("RGB", (20, 20)).save("image.png")
    Path("image.png").rename("image.mp4")
    _film("no_frames.mkv", frames=0)
    _only_sound(Path("sound.mp4"))
    bad = ["truncated.mp4", "empty.mp4", "text.mkv", "image.mp4", "no_frames.mkv", "sound.mp4", "missing.mp4"]
    for name in bad:
        segment(name, *WORDS).failed(1, repr(name))
    segment("sound.mp4", *WORDS).failed(1, "no video stream")
    done = segment("whole.mp4", "empty.mp4", *WORDS, "--no-overlay")
    assert done.code == 1
    assert "1 of 2 films failed" in done.err
    assert Path("out/whole.json").is_file()
    monkeypatch.setattr(reading, "MAX_FRAME_PIXELS", 1000)
    segment("whole.mp4", *WORDS).failed(1, "64 × 48 pixels")


def test_a_film_that_ends_early_is_labelled_as_far_as_it_goes(segment: Command) -> None:
    content = write_film(Path("film.mkv"), 60).read_bytes()
    Path("film.mkv").write_bytes(content[: len(content) * 2 // 3])
    done = segment("film.mkv", *WORDS, "--json", "--every=10")
    done.failed(1, "'film.mkv' is damaged", "frames that can be read are labelled")
    report = json.loads(done.out)
    assert 0 < report["film"]["frames"] < 60
    assert report["film"]["damage"].startswith("it ends after")
    assert len(shown_frames(Path("out/film.overlay.mp4"))) == report["film"]["frames"]


def _only_sound(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
