"""`segvoc suggest`: images to label next."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from segvoc.inference import suggesting
from segvoc.inference.read_ahead import ReadImage
from segvoc.models import loading
from tests.cli.command import Command, result_files
from tests.inference.small_network import small_segmenter
from tests.teaching.drawn_examples import drawn_examples

WORDS = ("--words", "grass, sky, brick")


@pytest.fixture
def command(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`segvoc` with a small random network in place of `tiny`'s."""
    small = small_segmenter()
    monkeypatch.setattr(loading, "load_network", lambda name, **rest: small)
    return segvoc_command


@pytest.fixture
def options() -> list[str]:
    """Images in set/images; the options that name them and their labels."""
    return drawn_examples(5).write(Path("set"))


def test_a_table(command, options):
    done = command("suggest", "set/images", *WORDS, "--count", 2)
    assert done.code == 0, done.err
    title, head, *rows = done.out.splitlines()
    assert title.startswith("2 of 5 images") and head.split() == ["rank", "image", "why"]
    assert [row.split()[0] for row in rows] == ["1", "2"] and all("uncertain " in row for row in rows)


def test_json_and_again(command, options):
    done = command("suggest", "set/images", *WORDS, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["rank"] for line in lines] == [1, 2, 3, 4, 5]
    assert {"image", "distance", "uncertainty", "regions", "width", "height"} <= set(lines[0])
    assert "only 5 images" in done.err and done.code == 0
    assert command("suggest", "set/images", *WORDS, "--json").out == done.out


def test_a_folder_that_is_resumed(command, options, monkeypatch):
    call = ("suggest", "set/images", *WORDS, "--count", 2, "--out", "next")
    assert command(*call).code == 0
    assert result_files("next") == ["001.png", "002.png", "suggestions.json"]
    written = Path("next/suggestions.json").read_bytes()
    assert len(json.loads(written)["suggestions"]) == 2
    with Image.open("next/001.png") as drawn:
        assert drawn.width == 64
    seen: list[str] = []
    summarize = suggesting.Summarizer.__call__

    def counted(self: suggesting.Summarizer, image: ReadImage, name: str) -> object:
        seen.append(name)
        return summarize(self, image, name)

    monkeypatch.setattr(suggesting.Summarizer, "__call__", counted)
    shutil.copy("set/images/0.png", "set/images/more.png")
    done = command(*call, "--resume")
    assert done.code == 0 and [Path(name).name for name in seen] == ["more.png"]
    assert "5 of 6 images were compared before" in done.err
    Path("set/images/more.png").unlink()
    assert command(*call, "--resume").code == 0
    assert Path("next/suggestions.json").read_bytes() == written
    seen.clear()
    assert command(*call, "--count", 1).code == 0 and len(seen) == 5
    assert result_files("next") == ["001.png", "suggestions.json"]
    command("suggest", "set/images", "--words", "a, b", "--out", "next", "--resume").refused("another call", "words")


def test_words_of_a_taught_file(command, options):
    assert command("teach", *options, "--out", "a.words.safetensors").code == 0
    done = command("suggest", "set/images", "--taught", "a.words.safetensors", "--out", "next")
    assert done.code == 0, done.err
    assert json.loads(Path("next/suggestions.json").read_text())["words"] == ["grass", "sky", "brick"]


def test_images_that_cannot_be_read_are_passed_over(command, options):
    Path("set/images/bad.jpg").write_bytes(b"no image")
    done = command("suggest", "set/images", "none.png", *WORDS, "--json")
    assert done.code == 1 and len(done.out.splitlines()) == 5
    assert "bad.jpg" in done.err and "none.png" in done.err and "2 of 7 images failed" in done.err


def test_wrong_calls(command, options):
    Path("empty").mkdir()
    command("suggest", "empty", *WORDS).refused("has no images")
    command("suggest", "set/images").refused("no words are given", "--taught")
    command("suggest", "set/images", "--words", "sky").refused("only one word")
    shutil.copy("set/images/0.png", "set/images/002.png")
    command("suggest", "set/images/002.png", *WORDS, "--out", "set/images").refused("would overwrite the input")
    command("suggest", "set/images", *WORDS, "--count", 0).refused("--count")
    command("suggest", "set/images", *WORDS, "--resume").refused("--resume", "--out")
    command("suggest", "set/images", *WORDS, "--taught", "none").refused("can't be read")


def test_a_network_that_takes_no_examples(command, options, monkeypatch):
    small = small_segmenter()
    monkeypatch.setattr(loading, "load_network", lambda name, **rest: small)
    monkeypatch.delattr(type(small), "find_features")
    command("suggest", "set/images", *WORDS).refused("can't be taught")
