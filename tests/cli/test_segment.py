"""`segvoc segment`, with and without --parts, as people and programs use it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.imaging.label_maps import UNLABELED, read_label_map
from segvoc.imaging.reading import read_image
from segvoc.models.network_segmenter import NetworkSegmenter
from tests.cli.command import SAMPLES, WORDS, Command, draw_photos, result_files
from tests.images import squares
from tests.imaging.test_color_profiles import rgb_profile

PARTS = "cat: head, leg; sofa: leg, cushion"
SEGVOC = (sys.executable, "-c", "from segvoc.cli import main; main()", "segment")


def _strict(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no strict JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_photograph_has_three_files_and_with_parts_four(segment: Command) -> None:
    draw_photos("photo.jpg")
    done = segment("photo.jpg", *WORDS).ok()
    assert done.err == ""
    assert done.labeled == ["photo.jpg"] and "out/photo.overlay.png" in done.out
    assert result_files() == ["photo.json", "photo.overlay.png", "photo.png"]
    with Image.open("out/photo.overlay.png") as overlay:
        assert overlay.mode == "RGB" and overlay.width > 60  # a small image has its legend beside it
    done = segment("photo.jpg", "--words", "wall, cat", "--parts", PARTS).ok()
    assert done.err == "" and "; parts: " in done.out
    assert result_files() == ["photo.json", "photo.overlay.png", "photo.parts.png", "photo.png"]
    report = _strict(Path("out/photo.json").read_text("utf-8"))
    assert [entry["name"] for entry in report["classes"]] == ["wall", "cat", "sofa"]
    assert [entry["name"] for entry in report["parts"]] == ["cat's head", "cat's leg", "sofa's leg", "sofa's cushion"]
    assert (read_label_map("out/photo.parts.png") != UNLABELED).any()


def test_look_of_the_overlay_can_be_chosen(segment: Command) -> None:
    draw_photos("photo.jpg")
    overlays = []
    for options in (["--no-names"], ["--no-names", "--no-legend"], ["--no-legend", "--opacity", "0.9"]):
        segment("photo.jpg", *WORDS, *options).ok()
        overlays.append(read_image("out/photo.overlay.png"))
    assert [overlay.shape == (40, 60, 3) for overlay in overlays] == [False, True, True]
    assert not np.array_equal(overlays[1], overlays[2])


def test_colors_of_a_profile_are_converted_but_not_in_official_windows(segment: Command) -> None:
    for name, profile in (("tagged.png", rgb_profile("swapped")), ("plain.png", b"")):
        Image.fromarray(squares()).save(name, icc_profile=profile)
    for tiles in ([], ["--tile", "2048"]):
        for window, changes in (("official", False), ("auto", True)):
            segment("tagged.png", "plain.png", "--words", "cat, sofa, wall", "--window", window, *tiles).ok()
            ours, plain = (read_image(f"out/{name}.overlay.png") for name in ("tagged", "plain"))
            assert np.array_equal(ours, plain) != changes
            ours, plain = (read_label_map(f"out/{name}.png") for name in ("tagged", "plain"))
            assert np.array_equal(ours, plain) != changes


def test_json_is_one_line_for_each_image_and_nothing_else(segment: Command) -> None:
    draw_photos("a.jpg", "b.jpg", "ü 猫.jpg")
    done = segment("a.jpg", "b.jpg", "missing.jpg", "ü 猫.jpg", "--words", "cat, 猫", "--json")
    assert done.code == 1
    reports = [_strict(line) for line in done.out.splitlines()]
    assert [report["image"] for report in reports] == ["a.jpg", "b.jpg", "ü 猫.jpg"]
    assert reports == [_strict(Path(f"out/{Path(r['image']).stem}.json").read_text("utf-8")) for r in reports]
    assert "missing.jpg" in done.err


def test_rest_is_done_where_some_images_fail(segment: Command) -> None:
    draw_photos("a.jpg", "z.jpg")
    Path("empty.jpg").touch()
    Path("damaged.png").write_bytes(Path("a.jpg").read_bytes()[:200])
    Path("notes.txt").write_text("no image")
    Path("folder").mkdir()
    named = ["missing.jpg", "empty.jpg", "damaged.png", "notes.txt", "folder", "none*.jpg"]
    done = segment("a.jpg", *named, "z.jpg", *WORDS)
    assert done.code == 1 and "Traceback" not in done.err
    assert all(name in line for name, line in zip(named, done.errors, strict=True))
    assert "6 of 8 images failed" in done.err and done.labeled == ["a.jpg", "z.jpg"]
    assert result_files() == [f"{stem}{end}" for stem in "az" for end in (".json", ".overlay.png", ".png")]


def test_name_that_is_no_unicode_costs_nothing(segment: Command) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    draw_photos("a.jpg")
    Path("a.jpg").rename(name)
    assert _strict(segment(name, *WORDS, "--json").ok().out)["image"] == name
    assert len(result_files()) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no words"),
        (["--words", "cat", "--words-file", "words.txt"], "both --words and --words-file"),
        (["--words", "cat", "--model", "pca-seg-b"], "pca-seg-b has no weights here"),
        (["--words", "cat", "--keep-classes", "0"], "--keep-classes 0 is invalid; give a number of classes from 1"),
        (["--words", "cat", "sub/photo.jpg"], "would both write"),
        (["--parts", PARTS, "--parts-file", "words.txt"], "both --parts and --parts-file"),
        (["--parts-file", "missing.json"], "'missing.json' can't be read"),
    ],
)
def test_wrong_call_is_refused_before_any_work(segment: Command, arguments: list[str], said: str) -> None:
    draw_photos("photo.jpg", "sub/photo.jpg")
    Path("words.txt").write_text("cat\n")
    segment("photo.jpg", *arguments).refused(said)
    assert not Path("out").exists()


def test_a_number_that_is_none_is_refused_before_any_work(segment: Command) -> None:
    for option in ("--opacity", "--overlay-megapixels", "--max-megapixels", "--threshold"):
        for number in ("nan", "inf", *["1e-9"] * option.endswith("megapixels")):
            segment("photo.jpg", *WORDS, option, number).refused(option)


def test_parts_of_a_file_with_any_names(segment: Command) -> None:
    draw_photos("photo.jpg")
    parts = {"猫": ["头", "尾巴"], "driver's seat, chair": ["back, rest"], "wall": [], "*": ["edge"]}
    Path("parts.json").write_text(json.dumps(parts, ensure_ascii=False), encoding="utf-8")
    Path("words.txt").write_text("wall\nsky\n")
    done = segment("photo.jpg", "--words-file", "words.txt", "--parts-file", "parts.json", "--json").ok()
    report = _strict(Path("out/photo.json").read_text("utf-8"))
    assert _strict(done.out) == report
    assert [entry["name"] for entry in report["classes"]] == ["wall", "sky", "猫", "driver's seat, chair"]
    assert [(entry["object"], entry["part"]) for entry in report["parts"]] == [
        *(("猫", "头"), ("猫", "尾巴"), ("driver's seat, chair", "back, rest"), (None, "edge"))
    ]


def test_interrupted_run_leaves_whole_result_files(segment: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{name}.png" for name in "abcdefgh"]
    draw_photos(*names)
    run, seen = NetworkSegmenter.encode_views, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        seen.append(arguments)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return run(*arguments, **options)

    monkeypatch.setattr(NetworkSegmenter, "encode_views", interrupted)
    done = segment(*names, *WORDS)
    assert (done.code, done.err.strip()) == (130, "segvoc: error: interrupted; results written so far are complete")
    assert 3 <= len(result_files()) <= 12
    for path in (Path("out", name) for name in result_files()):
        assert _strict(path.read_text()) if path.suffix == ".json" else read_image(path).any()


@pytest.mark.slow
def test_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    for number in range(30):
        shutil.copy(SAMPLES / "coffee.jpg", tmp_path / f"{number}.jpg")
    call = [*SEGVOC, tmp_path, "--words", "cup, table", "--json", "--out", tmp_path / "out"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as pipe:
        assert pipe.stdout is not None and pipe.stderr is not None
        _strict(pipe.stdout.readline())
        pipe.stdout.close()
        assert pipe.stderr.read() == ""
        assert pipe.wait() == 1


def test_names_with_escape_codes_never_reach_the_terminal(segment: Command, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "rocket.jpg", tmp_path / "red\x1b[31m.jpg")
    (tmp_path / "bad\x1b[2J\u202e.jpg").write_bytes(b"nothing")
    done = segment(".", "--words", "rocket, sky")
    assert done.code == 1
    assert "red\\x1b[31m" in done.out and "bad\\x1b[2J\\u202e" in done.err
    assert not set(done.out + done.err) & {"\x1b", "\u202e"}
