"""What a call says of its words: warnings in Python, lines of the command."""

import json
import re
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segvoc.cli.output import flag
from segvoc.data.labeled_images import class_names
from segvoc.errors import Hint, LabelingWarning
from segvoc.inference.hints import REMEMBERED, HintWarnings, known_word_hints, quality_hints, word_hints
from segvoc.models.presets import PRESETS
from segvoc.models.shipped import open_tiny
from segvoc.vocabulary import Vocabulary
from tests.cli.command import Command, make_command
from tests.inference.kept_programs import KeptPrograms

PHOTO = Path(__file__).resolve().parents[2] / "samples/coffee.jpg"
RESULTS = PHOTO.parents[1] / "benchmarks/results"
STREET = PHOTO.with_name("facades") / "train/images/006.jpg"


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
        ("black dog and brick wall", 'use commas: "black dog, brick wall"'),
        (["cup", "Background"], "--background Background"),
        (["cup", "blurred background"], "--background 'blurred background'"),
        (["cup", "Everything else"], "--background 'Everything else'"),
        (["cat, wall, sofa"], "give each its own entry (in a file, its own line)"),
    ],
)
def test_words_that_were_probably_meant_otherwise_get_a_hint(words: object, said: str) -> None:
    (hint,) = written(words)
    assert said in hint


def test_plain_words_get_no_hint() -> None:
    assert written(["cat", "traffic light"]) == written(["cat"]) == []
    assert written(["cup", "background"], fills_image=False) == []
    assert written(class_names("ade847")) == []


def test_words_that_a_model_was_not_taught_are_named() -> None:
    (hint,) = map(str, known_word_hints(["cat"], ["rust", "dent"]))
    assert hint == "none of the words that this model was taught (rust, dent) is used"
    assert known_word_hints(["Rust"], ["rust", "dent"]) == []


@pytest.mark.parametrize(
    ("image", "words", "comparisons"),
    [
        ("mountains.jpg", "sky, mountain, trees, grass", 1),
        ("dogs.jpg", "dog", 1),
        (STREET, "zebra, giraffe", 2),
        (STREET, "zebra, giraffe, cow, sheep, horse, dog, cat, bear, bird", 1),
    ],
)
def test_only_calls_that_may_need_a_hint_compare_other_words(monkeypatch, image, words, comparisons) -> None:
    model, runs = KeptPrograms(), list[int]()
    compare = type(model).compare
    monkeypatch.setattr(type(model), "compare", lambda *given: runs.append(1) or compare(*given))
    with warnings.catch_warnings(record=True):
        model.segment(PHOTO.parent / image, words)
    assert len(runs) == comparisons


def test_a_window_that_changes_nothing_is_named() -> None:
    model, square = KeptPrograms(), np.asarray(Image.open(PHOTO))[:160, :160]
    hint = "window='fine' has no effect on this image, which window='auto' sees in the same way"
    with pytest.warns(LabelingWarning, match=re.escape(hint)):
        assert hint in model.segment(square, "cup, table", window="fine").notes()
    assert hint not in model.segment(PHOTO, "cup, table", window="fine").notes()


def warned(words: object, calls: int = 1, **options: object) -> list[str]:
    """What a new model's calls warn of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        model = KeptPrograms()
        for _ in range(calls):
            list(model.segment_many([PHOTO], words, **options))  # pyright: ignore
    assert all(issubclass(one.category, UserWarning) and one.filename == __file__ for one in caught)
    return [str(one.message) for one in caught]


def test_python_warns_of_what_the_command_prints() -> None:
    assert warned("cup", calls=2) == []
    assert all("English" in line for line in warned(["кошка", "собака"])[:1])
    (phrase,) = warned("zebra crossing", calls=2)
    assert phrase.endswith('for separate words, use commas: "zebra, crossing"')
    (background,) = warned(["cup", "table", "background"])
    assert background.endswith("background='background'")
    (unsure,) = warned(["tax return", "inflation"], threshold=0.0)
    assert unsure.startswith(
        "low confidence everywhere; your words may not be in this image; if they are, what helps is"
    )
    assert warned(["cup", "table"]) == warned(["cup", "table"], background="other") == []


def test_every_result_has_its_hints_and_a_list_is_warned_of_once_with_counts(monkeypatch, capfd, tmp_path) -> None:
    model, photos = KeptPrograms(), [PHOTO, PHOTO.with_name("dogs.jpg"), PHOTO]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = model.segment(photos, "zebra crossing")
    said = '"zebra crossing" is taken as a single word'
    assert all(any(said in note for note in result.notes()) for result in results)
    (only,) = (str(one.message) for one in caught)
    assert only.startswith(f"3 of 3 images: {said}")
    for name in ("coffee.jpg", "dogs.jpg"):
        shutil.copy(PHOTO.with_name(name), tmp_path)
    monkeypatch.chdir(tmp_path)
    done = make_command(monkeypatch, capfd)("segment", ".", "--words", "dog, tree").ok()
    hints = [line for line in done.err.splitlines() if line.startswith("segvoc: hint: ")]
    assert len([line for line in hints if "what none of your words names is unlabeled, probably" in line]) >= 1


def test_what_is_unlabeled_is_named_where_the_words_leave_it_out(monkeypatch, capfd, tmp_path):
    unsure, hint = warned("dog, cat")
    assert unsure.startswith("low confidence everywhere; your words may not be in this image; if they are, what helps")
    said = "what none of your words names is unlabeled, probably "
    assert hint == f'{said}"floor"; add words for it'
    quiet_options: list[dict[str, Any]] = [{"background": "auto"}, {"threshold": 0.0}, {"parts": "dog: tail"}]
    for quiet in quiet_options:
        assert not [line for line in warned("dog, cat", **quiet) if said in line]
    assert not [line for line in warned("dog, cat, bus, train, horse, cow, sheep, bird, bear") if said in line]
    monkeypatch.chdir(tmp_path)
    command: Command = make_command(monkeypatch, capfd)
    assert command("segment", PHOTO, "--words", "dog, cat").ok().err.splitlines()[1] == f"segvoc: hint: {hint}"
    assert command("segment", PHOTO, "--words", "cup, table").ok().err == ""


def test_a_model_that_hardly_tells_colors_apart_says_so() -> None:
    (hint,) = warned("red cup, table")
    assert hint == '"red cup": this model hardly tells colors apart; "cup" is found better'
    said = "hardly tells colors apart"
    assert f'"old red cup": this model {said}; "old cup" is found better' in warned("old red cup, table")
    assert not [line for line in warned("orange juice, red zork, black, car") if said in line]
    assert not [line for line in warned("red cup, white cup, table") if said in line], "pixels decide between them"


@pytest.mark.parametrize(
    ("quality", "is_unsure", "said"),
    [
        (0.1, True, "your words may not be in this image; if they are, what helps is the network cat-seg-b"),
        (0.5, False, "many of these labels may be wrong; what helps is the network cat-seg-b (0.8 GB once"),
        (None, True, "low confidence everywhere; your words may not be in this image"),
    ],
)
def test_what_labels_better_is_proposed_in_order(quality: float | None, is_unsure: bool, said: str) -> None:
    (hint,) = quality_hints(quality, open_tiny().traits.decision.better, is_unsure=is_unsure)
    assert said in str(hint)
    assert quality is None or str(hint).index("cat-seg-b") < str(hint).index("segvoc teach") < str(hint).index("click")
    assert quality_hints(0.7, None, is_unsure=False) == []


def test_the_better_network_is_as_large_and_as_fast_as_listed() -> None:
    text = str(open_tiny().traits.decision.better)
    found = re.fullmatch(r"(\S+) \((.*) GB once, 1 to (\d) seconds an image on two cores\)", text)
    assert found is not None
    name, size, slowest = found.groups()
    published = PRESETS[name].published
    assert published is not None and f"{(published.size or 0) / 1e9:.1f}" == size
    rows = [row for file in RESULTS.glob("against_official_*.json") for row in json.loads(file.read_text())["rows"]]
    here = [row for row in rows if (row["model"], row["kind"], row["dtype"]) == (name, "network", "float32")]
    assert max(row["seconds"] for row in here if row.get("device", "cpu") == "cpu") < int(slowest) + 0.5


def test_what_was_said_is_remembered_in_bounded_memory() -> None:
    said = HintWarnings()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("a", "b", "a", *range(REMEMBERED), "b", REMEMBERED - 1):
            said.warn(Counter([Hint((f"{name}",))]), 1)
    assert [str(one.message) for one in caught] == ["a", "b", *map(str, range(REMEMBERED)), "b"]
