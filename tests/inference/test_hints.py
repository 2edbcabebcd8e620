"""What a call says of its words: warnings in Python, lines of the command."""

import warnings
from pathlib import Path

import pytest

import segvoc
from segvoc.cli.output import flag
from segvoc.data.labeled_images import class_names
from segvoc.inference.exported.segmenter import open_tiny
from segvoc.inference.hints import REMEMBERED, _Memory, known_word_hints, word_hints
from segvoc.vocabulary import Vocabulary
from tests.cli.command import Command, make_command

PHOTO = Path(__file__).resolve().parents[2] / "samples/coffee.jpg"


def written(words: object, **options: bool) -> list[str]:
    vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words)  # pyright: ignore
    return [hint.written(flag) for hint in word_hints(vocabulary, **options)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cat; wall; sofa"], '"cat, wall, sofa"'),
        *(([words], '"cat, wall, sofa"') for words in ("cat. wall. sofa.", "cat . wall . sofa")),
        (["cat | wall"], '"cat, wall"'),
        (["cat\uff0cwall\u3001sofa"], '"cat, wall, sofa"'),
        ("cat dog", 'use commas: "cat, dog"'),
        (["cat"], "--threshold 0 gives it the whole image"),
        (["cup", "Background"], "--background Background"),
        (["cat, wall, sofa"], "give each its own entry (in a file, its own line)"),
    ],
)
def test_words_that_were_probably_meant_otherwise_get_a_hint(words: object, said: str) -> None:
    (hint,) = written(words)
    assert said in hint


def test_plain_words_get_no_hint() -> None:
    assert written(["cat", "traffic light"]) == written(["cat"], fills_image=False) == []
    assert written(["cup", "background"], fills_image=False) == []
    assert written(class_names("ade847")) == []


def test_names_that_the_network_knows_better_are_named() -> None:
    def hints(words: list[str], known: list[str]) -> list[str]:
        return list(map(str, known_word_hints(words, known)))

    assert hints(["man", "Woman", "car"], []) == ['"man" and "woman" may be missed; "person" works better']
    assert hints(["man", "person"], []) == hints(["cat"], []) == []
    assert hints(["cat"], ["rust", "dent"]) == ["none of the words that this model was taught (rust, dent) is used"]
    assert hints(["Rust"], ["rust", "dent"]) == []


def warned(words: object, calls: int = 1, **options: object) -> list[str]:
    """What a new model's calls warn of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        model = open_tiny()
        for _ in range(calls):
            list(model.segment_many([PHOTO], words, **options))  # pyright: ignore
    assert all(issubclass(one.category, UserWarning) and one.filename == __file__ for one in caught)
    return [str(one.message) for one in caught]


def test_python_warns_once_a_kind_of_what_the_command_prints() -> None:
    assert warned("cup", calls=2) == []
    assert all("English" in line for line in warned(["кошка", "собака"])[:1])
    (single,) = warned("zebra", calls=2)
    assert single == "pixels where a single word is unlikely are unlabeled; threshold=0 gives it the whole image"
    (background,) = warned(["cup", "table", "background"])
    assert background.endswith("background='background'")
    (unsure,) = warned(["tax return", "inflation"], threshold=0.0)
    assert unsure == "low confidence everywhere; your words may not be in this image"
    assert warned(["cup", "table"]) == warned(["cup", "table"], background="other") == []


def test_words_that_leave_out_most_of_the_image_hint_at_the_background(monkeypatch, capfd, tmp_path):
    hint, _unsure = warned("dog, tree")
    assert "background='auto' leaves it unlabeled" in hint
    assert not [line for line in warned("dog, tree", parts="dog: tail") if "may not match any" in line]
    for quiet in ({"background": "auto"}, {"threshold": 0.0}, {"tile": 512}):
        assert not [line for line in warned("dog, tree", **quiet) if "may not match any" in line]
    monkeypatch.chdir(tmp_path)
    command: Command = make_command(monkeypatch, capfd)
    done = command("segment", PHOTO, "--words", "dog, tree").ok()
    line, unsure = done.err.splitlines()
    assert line.startswith("segvoc: hint: much of the image") and "--background auto leaves it unlabeled" in line
    assert unsure == "segvoc: hint: low confidence everywhere; your words may not be in this image"
    assert command("segment", PHOTO, "--words", "cup, table").ok().err == ""


def test_results_know_their_notes() -> None:
    result = open_tiny().segment(PHOTO, "cup, table, submarine")
    assert isinstance(result, segvoc.Segmentation)
    assert result.notes()[1] == "not found: submarine" and "not found: submarine" in repr(result)


def test_what_was_said_is_remembered_in_bounded_memory() -> None:
    memory = _Memory()
    assert [memory.adds(word) for word in ("a", "b", "a")] == [True, True, False]
    for number in range(REMEMBERED):
        memory.adds(number)
    assert memory.adds("b") and not memory.adds(REMEMBERED - 1)
