"""Hints about calls that work, but probably don't do what the user meant."""

import pytest
from PIL import Image

from segvoc.cli.output import word_hints
from segvoc.data.labeled_images import class_names
from tests.cli.command import Command


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("cat; wall; sofa", '"cat, wall, sofa"'),
        ("cat;", '"cat"'),
        ("cat | wall", '"cat, wall"'),
        ("cat\twall", '"cat, wall"'),
        ("cat\uff0cwall\u3001sofa", '"cat, wall, sofa"'),
    ],
)
def test_another_separator_gets_a_hint_with_the_words_as_they_are_probably_meant(text: str, listed: str) -> None:
    (hint,) = word_hints([text])
    assert "separate words with commas" in hint
    assert hint.endswith(listed)


def test_a_line_of_a_file_with_several_classes_gets_a_hint() -> None:
    (hint,) = word_hints(["cat; wall", "sofa"], from_file=True)
    assert hint == '"cat; wall" is taken as a single class; write one class a line'
    (hint,) = word_hints(["cat, wall, sofa"], from_file=True)
    assert "one a line" in hint


def test_one_word_alone_gets_a_hint_unless_pixels_can_go_without() -> None:
    (hint,) = word_hints(["cat"])
    assert "--background" in hint
    assert "--threshold" in hint
    assert word_hints(["cat"], fills_image=False) == []
    assert word_hints(["cat", "wall"]) == []


@pytest.mark.parametrize("name", ["ade150", "ade847", "coco", "pc59", "pc459"])
@pytest.mark.parametrize("from_file", [True, False])
def test_class_lists_get_no_hints(name: str, from_file: bool) -> None:
    assert word_hints(class_names(name), from_file=from_file) == []


def test_hints_and_warnings_go_to_standard_error_and_refuse_nothing(segvoc_command: Command) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    done = segvoc_command("segment", "moving.gif", "--words", "Katze; Hund")
    assert done.code == 0
    assert 'segvoc: hint: "Katze; Hund" is taken as a single word' in done.err
    assert "segvoc: warning: 'moving.gif' has several frames, of which only the first is labeled" in done.err
    done = segvoc_command("segment", "moving.gif", "--words", "кошка", "--json")
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert 'segvoc: hint: "кошка" is the only word' in done.err
    assert 'segvoc: warning: the model was trained on English words and probably doesn\'t know "кошка"' in done.err
