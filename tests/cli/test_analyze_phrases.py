"""`segvoc analyze phrases` as people use it."""

import csv
import json
import tarfile

import pytest
from PIL import Image

from segvoc import progress


def captions_of(tmp_path, captions):
    (tmp_path / "images").mkdir()
    for name in captions:
        Image.new("RGB", (2, 2)).save(tmp_path / f"images/{name}.png")
    (tmp_path / "captions.json").write_text(json.dumps(captions))


def test_it_shows_what_is_kept_and_why_not_the_others(segvoc_command, tmp_path):
    captions_of(tmp_path, {"a": ["A dog in the background.", "A brown dog"], "b": ["The dog and his laptop"]})
    call = ("analyze", "phrases", tmp_path / "captions.json", "--images", tmp_path / "images")
    outcome = segvoc_command(*call, "--out", tmp_path / "phrases.csv")
    assert outcome.code == 0
    assert "2 images, 3 captions, 0 images without a phrase" in outcome.out
    assert "4 phrases kept (2.0 per image, 3 distinct), 1 dropped" in outcome.out
    assert "       2  dog\n" in outcome.out
    assert "       1  excluded: background (background)" in outcome.out
    rows = list(csv.DictReader((tmp_path / "phrases.csv").read_text().splitlines()))
    assert [(row["image"], row["phrase"], row["cleaned"], row["result"]) for row in rows] == [
        ("a", "A dog", "dog", "kept"),
        ("a", "the background", "background", "excluded: background"),
        ("a", "A brown dog", "brown dog", "kept"),
        ("b", "The dog", "dog", "kept"),
        ("b", "his laptop", "laptop", "kept"),
    ]
    assert "excluded: top (laptop)" in segvoc_command(*call, "--match", "substring").out
    assert "same noun (brown dog)" in segvoc_command(*call, "--same-head", "drop").out
    assert "more than 1" in segvoc_command(*call, "--most", "1").out


def test_skipped_captions_are_named_and_counted(segvoc_command, tmp_path):
    captions_of(tmp_path, {"a": ["A dog"], "b": [""]})
    outcome = segvoc_command("analyze", "phrases", tmp_path / "captions.json", "--images", tmp_path / "images")
    assert outcome.code == 1 and "1 images, 1 captions" in outcome.out
    assert "'b'" in outcome.err and "2 captions or images were skipped" in outcome.err


def test_wrong_calls_are_one_line(segvoc_command, tmp_path):
    captions_of(tmp_path, {"a": ["A dog"]})
    call = ("analyze", "phrases", tmp_path / "captions.json", "--images", tmp_path / "images")
    segvoc_command("analyze", "phrases", tmp_path / "gone.json").refused("gone.json")
    segvoc_command(*call, "--extractor", "nltk").refused("'nltk'", "rules, spacy")
    segvoc_command(*call, "--match", "letters").refused("--match")


@pytest.mark.parametrize(("tars", "line"), [(False, "1 of 2 images, "), (True, "0 of 1 tars, 1 images\n")])
def test_long_work_shows_its_progress(segvoc_command, tmp_path, monkeypatch, tars, line):
    monkeypatch.setattr(progress, "FIRST_LINE", 0.0)
    captions_of(tmp_path, {"a": ["A dog"], "b": ["A cat"]})
    captions = tmp_path / "captions.json"
    if tars:
        captions = tmp_path / "set.tar"
        with tarfile.open(captions, "w") as archive:
            for name in "ab":
                archive.add(tmp_path / f"images/{name}.png", f"{name}.png")
                (tmp_path / "caption.txt").write_text("A dog")
                archive.add(tmp_path / "caption.txt", f"{name}.txt")
    outcome = segvoc_command("analyze", "phrases", captions, "--images", tmp_path / "images")
    assert outcome.code == 0
    assert f"segvoc: extracting noun phrases: {line}" in outcome.err
    assert "done in 0:00" in outcome.err
