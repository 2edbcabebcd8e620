"""Words as people type them, and what a call says of them."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageShow

import segvoc
from segvoc.cli.output import unquoted_hint
from segvoc.errors import UsageError
from segvoc.imaging.overlay import SAVED_OVERLAY
from segvoc.inference.exported.segmenter import open_tiny
from tests.cli.command import SAMPLES, Command, draw_photos, read_json


def test_words_file_may_be_a_list_of_classes(segment: Command) -> None:
    draw_photos("photo.png")
    Path("classes.json").write_text('["cat", "sofa, couch"]')
    done = segment("photo.png", "--words-file", "classes.json", "--json")
    assert [entry["name"] for entry in json.loads(done.out)["classes"]] == ["cat", "sofa, couch"]
    Path("classes.json").write_text("[")
    segment("photo.png", "--words-file", "classes.json").refused("isn't valid JSON")


def test_lists_of_words_add_up_and_case_or_accents_make_no_second_word(segment: Command) -> None:
    draw_photos("photo.png")
    done = segment("photo.png", "--words", "cat, sofa", "--words", "wall", "--json")
    assert [entry["name"] for entry in json.loads(done.out)["classes"]] == ["cat", "sofa", "wall"]
    segment("photo.png", "--words", "cat, sofa", "--words", "Cat").refused("'Cat' is given twice")
    segment("photo.png", "--words", "Cafe\u0301, wall, caf\xe9").refused("'café' is given twice (also as 'Café'")


def test_background_is_found_in_any_case_and_is_gray(segment: Command) -> None:
    draw_photos("photo.png")
    done = segment("photo.png", "--words", "cat, Other", "--background", "other", "--threshold", "0.9", "--json")
    cat, other = json.loads(done.out)["classes"]
    assert (other["name"], other["color"]) == ("Other", [128, 128, 128]) and cat["color"] != other["color"]


def test_list_without_quotes_is_answered_with_quotes(segment: Command) -> None:
    draw_photos("photo.png")
    for listed in (["cat,", "sofa,", "wall"], ["cat", "sofa", "wall"]):
        segment("photo.png", "--words", *listed).refused('put quotes around the list: --words "cat, sofa, wall"')
    assert unquoted_hint("cat", ["missing"]) is None and unquoted_hint("cat, sofa", ["photo.png", "gone"]) is None


def test_hints_and_warnings_go_to_standard_error_and_refuse_nothing(segvoc_command: Command) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    done = segvoc_command("segment", "moving.gif", "--words", "кошка", "--json").ok()
    assert done.out.count("\n") == 1
    assert "segvoc: hint: pixels where a single word is unlikely are unlabeled; --threshold 0 gives" in done.err
    assert "segvoc: warning: 'moving.gif' has several frames, of which only the first is labeled" in done.err
    assert 'segvoc: warning: the model was trained on English words and probably doesn\'t know "кошка"' in done.err


def test_what_was_seen_is_said(segvoc_command: Command) -> None:
    done = segvoc_command("segment", SAMPLES / "coffee.jpg", "--words", "cup, table, submarine")
    (line,) = done.out.splitlines()
    assert "confidence 0." in line and "; not found: submarine -> out/" in line
    report = read_json("out/coffee.json")
    assert (report["not_found"], report["unsure"]) == (["submarine"], False) and report["mean_confidence"] > 0.12
    done = segvoc_command("segment", SAMPLES / "coffee.jpg", "--words", "tax return, inflation")
    assert "; unsure 0.0" in done.out and "segvoc: hint: unsure nearly everywhere" in done.err
    assert read_json("out/coffee.json")["unsure"]


@pytest.fixture(scope="module")
def result() -> segvoc.Segmentation:
    return open_tiny().segment(SAMPLES / "coffee.jpg", ["cup", "floor, ground"])


def test_result_shows_itself_and_gives_masks(result: segvoc.Segmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert np.array_equal(result.mask("CUP"), result.labels == 0) and result.mask("cup").any()
    with pytest.raises(UsageError, match=r"'cupp' was not asked for \(did you mean cup\?\)"):
        result.mask("cupp")
    with pytest.raises(UsageError, match="'Ground' is a synonym in the word 'floor, ground'; give the whole word"):
        result.mask("Ground")
    assert np.array_equal(result.mask("floor, ground"), result.labels == 1)
    shown: list[Image.Image] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: not shown.append(image))
    result.show()
    assert shown[0].width >= result.width


@pytest.mark.parametrize("stem", ["../y", "/tmp/y", "a/../../y", "", ".."])
def test_results_stay_in_their_folder(result: segvoc.Segmentation, stem: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"leads out of .*; give a name like 'sub/photo'"):
        result.save(tmp_path / "out", stem)
    assert not list(tmp_path.iterdir())
    assert result.save(tmp_path / "out", "sub/y").label_map == tmp_path / "out/sub/y.png"


@pytest.mark.parametrize(("display", "why"), [("", "no display"), (":0", "no viewer for images")])
def test_an_overlay_that_cannot_be_shown_is_saved_and_no_viewer_starts(
    result, display, why, tmp_path, monkeypatch, capfd
):
    started, viewer = tmp_path / "started", tmp_path / "bin/xdg-open"  # as any desktop has it
    viewer.parent.mkdir()
    viewer.write_text(f"#!/bin/sh\ntouch {started}\n")
    viewer.chmod(0o755)
    monkeypatch.setenv("PATH", str(viewer.parent), prepend=os.pathsep)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if not display:
        monkeypatch.setattr("PIL.ImageShow._viewers", [ImageShow.XDGViewer()])
        monkeypatch.setattr("PIL.ImageShow.show", lambda image, title: ImageShow._viewers[0].show(image, title=title))
    result.show()
    (saved,) = tmp_path.glob("segvoc-*.overlay.png")
    assert capfd.readouterr() == ("", f"segvoc: there is {why}; the overlay was saved as {str(saved)!r}\n")
    with Image.open(saved) as overlay:
        assert np.array_equal(np.asarray(overlay), np.asarray(result.overlay(**asdict(SAVED_OVERLAY))))
    assert not started.exists()


def test_names_are_checked_before_pytorch_is_asked_for(
    segvoc_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("models.catalog", "models.resolving", "cli.info"):
        monkeypatch.setattr(f"segvoc.{module}.find_spec", lambda name: None)
    for command in (["segment", SAMPLES / "coffee.jpg", "--words", "cup", "--model"], ["info"]):
        segvoc_command(*command, "tinny").refused("model 'tinny' is unknown; the nearest are tiny, ")
    assert json.loads(segvoc_command("info", "tiny", "--json").out)["weights"]["status"] == "shipped"
