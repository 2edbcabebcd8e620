"""`segvoc segment --parts` as people and programs use it."""

import json
from pathlib import Path
from typing import Any

import pytest

from segvoc.imaging.label_maps import UNLABELED, read_label_map
from tests.cli.command import Command, draw_photos, result_files

LINE = "cat: head, leg; sofa: leg, cushion"


@pytest.fixture
def segment(segment: Command) -> Command:
    """`segvoc segment photo.jpg` with a small random network in place of the embedded model."""
    draw_photos("photo.jpg")
    return lambda *arguments: segment("photo.jpg", *arguments)


def _report() -> dict[str, Any]:
    return json.loads(Path("out/photo.json").read_text(encoding="utf-8"))


def test_four_files_for_a_photograph(segment: Command) -> None:
    done = segment("--words", "wall, cat", "--parts", LINE)
    assert (done.code, done.err) == (0, "")
    assert "; parts: " in done.out
    assert result_files() == ["photo.json", "photo.overlay.png", "photo.parts.png", "photo.png"]
    report = _report()
    assert [entry["name"] for entry in report["classes"]] == ["wall", "cat", "sofa"]
    assert [entry["name"] for entry in report["parts"]] == ["cat's head", "cat's leg", "sofa's leg", "sofa's cushion"]
    labels, part_labels = read_label_map("out/photo.png"), read_label_map("out/photo.parts.png")
    for entry in report["parts"]:
        here = part_labels == entry["id"]
        assert here.sum() == entry["pixels"]
        owner = next(found["id"] for found in report["classes"] if found["name"] == entry["object"])
        assert (labels[here] == owner).all()
        assert (entry["mean_confidence"] is None) == (entry["pixels"] == 0)
        assert entry["fraction"] == pytest.approx(entry["pixels"] / 2400, abs=1e-6)
    assert (part_labels != UNLABELED).any()


def test_parts_of_a_file_with_any_names(segment: Command) -> None:
    parts = {"猫": ["头", "尾巴"], "driver's seat, chair": ["back, rest"], "wall": [], "*": ["edge"]}
    Path("parts.json").write_text(json.dumps(parts, ensure_ascii=False), encoding="utf-8")
    Path("words.txt").write_text("wall\nsky\n")
    done = segment("--words-file", "words.txt", "--parts-file", "parts.json", "--json").ok()
    assert json.loads(done.out) == _report()
    assert [entry["name"] for entry in _report()["classes"]] == ["wall", "sky", "猫", "driver's seat, chair"]
    assert [(entry["object"], entry["part"]) for entry in _report()["parts"]] == [
        *(("猫", "头"), ("猫", "尾巴"), ("driver's seat, chair", "back, rest"), (None, "edge"))
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parts", "cat:"], "the part '' of 'cat' is empty"),
        (["--parts", "*: head"], "no object is named; give words too"),
        (["--parts", LINE, "--parts-file", "good.json"], "both --parts and --parts-file"),
        (["--parts-file", "missing.json"], "'missing.json' can't be read"),
        (["--parts", LINE, "--words", ""], "no words"),
        (["--parts", LINE, "--words", "cat, cat's head"], "both a word and a part"),
        (["--parts", LINE, "--background", "sofa"], "'sofa' is the background"),
    ],
)
def test_malformed_list_is_refused_in_one_line(segment: Command, arguments: list[str], said: str) -> None:
    Path("good.json").write_text('{"cat": ["head"]}')
    segment(*arguments).refused(said)
    assert not Path("out").exists()
