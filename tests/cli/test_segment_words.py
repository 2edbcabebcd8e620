"""Words of `segvoc segment` as people type them, and what a call says of them."""

import json
from pathlib import Path

import pytest
from PIL import Image

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
    for words, images in (("cat", ["missing"]), ("cat, sofa", ["photo.png", "gone"])):
        assert "put quotes" not in segment(*images, "--words", words).err


def test_hints_and_warnings_go_to_standard_error_and_refuse_nothing(segvoc_command: Command) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    done = segvoc_command("segment", "moving.gif", "--words", "кошка мышка", "--json").ok()
    assert done.out.count("\n") == 1
    assert 'segvoc: hint: "кошка мышка" is taken as a single word; for separate words, use commas' in done.err
    assert "segvoc: warning: 'moving.gif' has several frames, of which only the first is labeled" in done.err
    assert (
        'segvoc: warning: the model was trained on English words and probably doesn\'t know "кошка мышка"' in done.err
    )


def test_what_was_seen_is_said(segvoc_command: Command) -> None:
    done = segvoc_command("segment", SAMPLES / "coffee.jpg", "--words", "cup, table, submarine")
    (line,) = done.out.splitlines()
    assert "confidence 0." in line and "; not found: submarine -> out/" in line
    report = read_json("out/coffee.json")
    assert (report["not_found"], report["unsure"]) == (["submarine"], False) and report["mean_confidence"] > 0.12
    done = segvoc_command("segment", SAMPLES / "coffee.jpg", "--words", "tax return, inflation")
    assert "; unsure 0." in done.out and "segvoc: hint: low confidence everywhere" in done.err
    assert read_json("out/coffee.json")["unsure"]


def test_names_are_checked_before_pytorch_is_asked_for(
    segvoc_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("models.catalog", "models.resolving", "cli.info"):
        monkeypatch.setattr(f"segvoc.{module}.find_spec", lambda name: None)
    for command in (["segment", SAMPLES / "coffee.jpg", "--words", "cup", "--model"], ["info"]):
        segvoc_command(*command, "tinny").refused("model 'tinny' is unknown; the nearest is tiny")
    assert json.loads(segvoc_command("info", "tiny", "--json").out)["weights"]["status"] == "shipped"
