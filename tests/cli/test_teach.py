"""`segvoc teach`, and --taught of other commands."""

import json
from pathlib import Path
from typing import Any

import pytest

from segvoc.models import loading
from segvoc.teaching.taught_words import TaughtWords
from tests.cli.command import Command
from tests.inference.small_network import small_segmenter
from tests.teaching.drawn_examples import drawn_examples


@pytest.fixture
def command(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`segvoc` with a small random network in place of `tiny`'s."""
    small = small_segmenter()
    monkeypatch.setattr(loading, "load_network", lambda name, **rest: small)
    return segvoc_command


def segmented(command: Command, *more: object) -> list[dict[str, Any]]:
    done = command("segment", "set/images/0.png", "--words", "grass, sky, brick", "--json", *more)
    assert done.code == 0, done.err
    return json.loads(done.out)["classes"]


def test_teach_and_use(command):
    options = drawn_examples(4).write(Path("set"))
    done = command("teach", *options, "--out", "drawn.words.safetensors")
    assert done.code == 0, done.err
    title, head, *rows, last = done.out.splitlines()
    assert "learned from 4 images" in title and head.split()[:3] == ["word", "images", "pixels"]
    assert rows[0].startswith("grass") and rows[-1].startswith("pixels right")
    assert last == "-> drawn.words.safetensors"
    assert TaughtWords.load("drawn.words.safetensors").record.images == 4
    assert segmented(command) != segmented(command, "--taught", "drawn.words.safetensors")
    done = command("evaluate", "tiny", *options, "--taught", "drawn.words.safetensors", "--out", "report")
    assert done.code == 0, done.err
    command("evaluate", "tiny", *options, "--out", "report").refused("taught")  # another evaluation than before


def test_json(command):
    options = drawn_examples(3).write(Path("set"))
    done = command("teach", *options, "--out", "a.words.safetensors", "--json")
    record = json.loads(done.out)
    assert record["images"] == 3 and {word["name"] for word in record["words"]} == {"grass", "sky", "brick"}


def test_wrong_calls(command):
    options = drawn_examples(3).write(Path("set"))
    command("teach", *options[:2], "--out", "a").refused("--classes is missing")
    command("teach", "--dataset", "set", *options[1:], "--out", "a").refused("leave out --labels, --classes")
    command("segment", "set/images/0.png", "--words", "a, b", "--taught", "none").refused("can't be read")
    assert not Path("a").exists()
