"""Confidence as a probability, and words that compete though nobody asked for them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segvoc.encoders.word_kinds import WordKinds
from segvoc.errors import UsageError
from segvoc.inference.background import NO_RIVALS, Background, BackgroundWords, Rivals, Whole
from segvoc.inference.confidence import IMAGE_FIGURES, WORD_FIGURES, figures
from segvoc.inference.exported.segmenter import open_tiny
from segvoc.inference.pixel_labels import UNLABELED, search_classes
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.windows import ViewLogits
from segvoc.models.presets import TINY_CONFIDENCE
from segvoc.vocabulary import Vocabulary

SAMPLES = Path(__file__).parents[2] / "samples"
COFFEE = SAMPLES / "coffee.jpg"
WORDS = BackgroundWords(
    words=("water", "sky", "grass", "lawn"),
    common=(("sky",), ("grass", "lawn")),
    most_open=3,
    wholes=(Whole(name="person", parts=("hat", "shirt"), other_names=("skin",)),),
    lead=1.0,
)
BACKGROUND = Background(kind="fill", stand_ins=WORDS)
KINDS = WordKinds({"person": ["man"], "water": ["lake"], "boat": [], "hat": []})
BOTH = Rivals(others=("sky", "grass"), is_open=True)


@pytest.mark.parametrize(
    ("words", "rivals"),
    [
        ("boat, man", BOTH),
        ("boat, man, dog, cat", NO_RIVALS),
        ("lake, sky", Rivals(surroundings=(0, 1), others=("grass",), is_open=True)),
        ("boat, lake", replace(BOTH, surroundings=(1,))),
        ("boat, lake, dog, cat", Rivals(surroundings=(1,), others=("sky", "grass"))),
        ("boat, sky, grass", Rivals(is_open=True)),
        ("boat, lawn, sky", Rivals(surroundings=(1, 2), alike=("grass",), is_open=True)),
        ("red hat, old man", replace(BOTH, parts=(0,), wholes=(1,))),
        ("red hat, tall person", replace(BOTH, parts=(0,), wholes=(1,))),
        ("hat, shirt", replace(BOTH, parts=(0, 1), unnamed_wholes=("person",))),
        ("hat, shirt, dog, cat", replace(BOTH, parts=(0, 1), unnamed_wholes=("person",))),
        ("hat, skin", replace(BOTH, parts=(0,))),
        (
            "hat, sky",
            Rivals(surroundings=(1,), others=("grass",), is_open=True, parts=(0,), unnamed_wholes=("person",)),
        ),
    ],
)
def test_words_that_compete_follow_from_those_that_are_asked_for(words: str, rivals: Rivals) -> None:
    assert WORDS.rivals(Vocabulary(words), KINDS) == rivals


def labels_of(rivals: Rivals, words: str, scores: list[list[float]]) -> list[int]:
    """The labels of pixels, whose scores of the words and then of the stand-ins are given (words x pixels)."""
    query, _ = PreparedVocabulary(open_tiny().encode_words, words, None, None).query(
        replace(BACKGROUND, stand_ins=None)
    )
    stand_ins = rivals.stand_ins
    query = replace(
        query,
        background=BACKGROUND,
        queried=Vocabulary([*query.words, *stand_ins]),
        num_words=len(query.words) + len(stand_ins),
        stand_ins=stand_ins,
        rivals=rivals,
    )
    maps = np.array(scores, np.float32)[None, :, None]
    output = ViewLogits(maps, None, len(scores))
    return search_classes(output, (1, len(scores[0])), query, open_tiny().protocols["single"])().labels[0].tolist()


def test_what_other_surroundings_win_goes_to_those_that_are_named() -> None:
    rivals = Rivals(surroundings=(1,), others=("sky",))
    assert labels_of(rivals, "boat, water", [[3, 3, 1], [0, 0, 2], [2, 4, 5]]) == [0, 1, 1]


def test_what_other_surroundings_win_by_far_stays_unlabeled_with_few_words() -> None:
    rivals = Rivals(surroundings=(1,), others=("sky",), is_open=True)
    assert labels_of(rivals, "boat, water", [[3, 3, 1], [0, 0, 2], [2, 3.9, 5]]) == [0, 1, UNLABELED]
    alike = replace(rivals, alike=("sea",), others=())
    assert labels_of(alike, "boat, water", [[3, 3, 1], [0, 0, 2], [2, 3.9, 5]]) == [0, 1, 1]
    # what is much like the named surroundings holds others off
    both = replace(rivals, alike=("sea",))
    assert labels_of(both, "boat, water", [[1, 1], [0, 0], [5, 3], [5.9, 5.9]]) == [1, UNLABELED]
    assert labels_of(Rivals(others=("sky",), is_open=True), "boat, man", [[3, 3], [0, 0], [3.9, 4.1]]) == [0, UNLABELED]


def test_a_part_takes_pixels_from_its_whole_unless_that_is_far_ahead() -> None:
    rivals = Rivals(parts=(0,), wholes=(1,))
    assert labels_of(rivals, "hat, man, wall", [[0, 0, 0], [0.9, 1.1, 0.5], [-1, -1, 2]]) == [0, 1, 2]


def test_pixels_of_a_whole_that_nobody_named_get_no_part() -> None:
    rivals = Rivals(others=("sky",), is_open=True, parts=(0,), unnamed_wholes=("person",))
    assert labels_of(rivals, "hat, boat", [[2, 2, 2, 0], [0, 0, 0, 1], [0, 0, 4, 0], [2.9, 3.1, 0, 9]]) == [
        0, UNLABELED, UNLABELED, 1,
    ]  # fmt: skip


def test_figures_are_what_they_say() -> None:
    maps = np.array([[[2.0, 0.0]], [[1.8, 1.0]], [[-9.0, -9.0]]], np.float32)
    facts = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0]], np.float32)
    of_words, of_image = figures(maps, facts)
    first, second = dict(zip(WORD_FIGURES, of_words[0], strict=True)), dict(zip(WORD_FIGURES, of_words[1], strict=True))
    assert (first["is trained"], first["share"], first["mean logit"]) == (1, 0.5, 2) and second["is a part"] == 1
    image = dict(zip(IMAGE_FIGURES, of_image, strict=True))
    assert image["mean logit"] == pytest.approx(1.5) and image["mean lead"] == pytest.approx(0.6)
    assert (image["close"], image["parts"], image["absent"]) == (0.5, 0.5, 0)
    assert image["words"] == pytest.approx(np.log(3)) and image["found"] == pytest.approx(2 / 3)
    assert figures(maps - 9, facts)[1][-1] > 2


def test_quality_is_the_mean_confidence_and_low_for_words_that_are_not_there() -> None:
    model = open_tiny()
    good, bad = (model.segment(COFFEE, words) for words in ("cup, table", "inflation, tax return"))
    assert good.quality is not None and bad.quality is not None
    assert good.quality == pytest.approx(good.confidence.mean(), abs=1e-4) and good.quality > 0.6 > 0.3 > bad.quality
    assert good.report()["quality"] == good.quality and bad.is_unsure and not good.is_unsure
    rejected = model.segment(COFFEE, "cup, table", background="auto")
    labeled = rejected.labels != UNLABELED
    assert rejected.quality == pytest.approx(rejected.confidence[labeled].mean(), abs=1e-4)


def test_a_single_word_has_the_score_as_its_confidence_and_no_quality() -> None:
    result = open_tiny().segment(COFFEE, "cup")
    assert result.quality is None and not result.is_unsure and 0.3 < result.confidence[result.mask("cup")].mean() < 0.95


def test_a_threshold_is_one_of_the_confidence() -> None:
    middle = float(np.median(open_tiny().segment(COFFEE, "cup, table").confidence))
    result = open_tiny().segment(COFFEE, "cup, table", threshold=middle)
    below = result.labels == UNLABELED
    assert 0.3 < below.mean() < 0.7
    assert result.confidence[below].max() < middle <= result.confidence[~below].min()


@pytest.mark.parametrize("wrong", [{"word": (1.0,)}, {"slope": float("nan")}, {"image": (1.0,) * 99}])
def test_a_model_of_other_figures_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="confidence"):
        replace(TINY_CONFIDENCE, **wrong)
