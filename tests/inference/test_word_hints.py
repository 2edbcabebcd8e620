"""What a call says of its words: warnings in Python, lines of the command."""

import warnings
from pathlib import Path

import pytest

import segvoc
from segvoc.cli.output import flag
from segvoc.data.labeled_images import class_names
from segvoc.errors import LabelingWarning
from segvoc.inference.exported.segmenter import open_tiny
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.word_hints import model_hints, word_hints
from tests.cli.command import Command, make_command

PHOTO = Path(__file__).resolve().parents[2] / "samples/coffee.jpg"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cat; wall; sofa"], '"cat, wall, sofa"'),
        *(([words], '"cat, wall, sofa"') for words in ("cat. wall. sofa.", "cat . wall . sofa")),
        (["cat | wall"], '"cat, wall"'),
        (["cat\uff0cwall\u3001sofa"], '"cat, wall, sofa"'),
        (["cat dog"], 'use commas: "cat, dog"'),
        (["cat"], "--threshold 0 gives it the whole image"),
        (["cup", "Background"], "--background Background"),
    ],
)
def test_words_that_were_probably_meant_otherwise_get_a_hint(words: list[str], said: str) -> None:
    (hint,) = word_hints(words, option=flag)
    assert said in hint


def test_lines_of_a_file_with_several_classes_get_a_hint() -> None:
    assert [hint.split("; ")[-1] for hint in word_hints(["cat; wall", "sofa"], "file")] == ["write one class per line"]
    (hint,) = word_hints(["cat, wall, sofa"], "file")
    assert "one per line" in hint
    (hint,) = word_hints(["cat, wall, sofa"], "list")
    assert "its own entry" in hint


def test_plain_words_get_no_hint() -> None:
    assert word_hints(["cat", "traffic light"]) == word_hints(["cat"], fills_image=False) == []
    assert word_hints(["cup", "background"], fills_image=False) == []
    assert word_hints(class_names("ade847"), "file") == []


def test_names_that_the_network_knows_better_are_told() -> None:
    assert model_hints(["man", "Woman", "car"], ()) == ['"man" and "woman" may be missed; "person" works better']
    assert model_hints(["man", "person"], ()) == model_hints(["cat"], ()) == []
    assert model_hints(["cat"], ["rust", "dent"]) == [
        "none of the words that this model was taught (rust, dent) is used"
    ]
    assert model_hints(["Rust"], ["rust", "dent"]) == []


def warned(words: object, calls: int = 1, **options: object) -> list[str]:
    """What a new model's calls warn of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        model = open_tiny()
        for _ in range(calls):
            list(model.segment_many([PHOTO] * calls, words, **options))  # pyright: ignore
    assert all(one.category is LabelingWarning for one in caught)
    return [str(one.message) for one in caught]


@pytest.mark.usefixtures("second_look")
def test_python_warns_once_a_kind_of_what_the_command_prints() -> None:
    (single,) = warned("cup", calls=2)
    assert single == "pixels where a single word is unlikely are unlabeled; threshold=0 gives it the whole image"
    (background,) = warned(["cup", "table", "background"])
    assert background.endswith("background='background'")
    (unsure,) = warned(["tax return", "inflation"], threshold=0.0)
    assert unsure == "unsure nearly everywhere: perhaps none of the words is in the image"
    assert warned(["cup", "table"]) == warned(["cup", "table"], background="other") == []


@pytest.mark.usefixtures("second_look")
def test_words_that_leave_out_most_of_the_image_hint_at_the_background(monkeypatch, capfd, tmp_path):
    hint, _unsure = warned("dog, tree")
    assert "background='auto' leaves it unlabeled" in hint
    assert not [line for line in warned("dog, tree", parts="dog: tail") if "looks like none" in line]
    for quiet in (LabelOptions(background="auto"), LabelOptions(threshold=0.0), LabelOptions(tile=512)):
        assert open_tiny().share_of_surroundings(PHOTO, ["dog", "tree"], quiet) == 0.0
    monkeypatch.chdir(tmp_path)
    command: Command = make_command(monkeypatch, capfd)
    done = command("segment", PHOTO, "--words", "dog, tree").ok()
    (line,) = done.err.splitlines()
    assert line.startswith("segvoc: hint: much of the image") and "--background auto leaves it unlabeled" in line
    assert command("segment", PHOTO, "--words", "cup, table").ok().err == ""


def test_results_know_their_notes() -> None:
    result = open_tiny().segment(PHOTO, "cup, table, submarine")
    assert isinstance(result, segvoc.Segmentation)
    assert result.notes()[1] == "not found: submarine" and "not found: submarine" in repr(result)
