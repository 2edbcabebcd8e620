"""What becomes of a pixel: the words that compete for it, the background, and the confidence as a probability."""

import hashlib
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import segvoc
from segvoc.encoders.lexicon import Lexicon, Whole
from segvoc.errors import UsageError
from segvoc.inference.confidence import IMAGE_FIGURES, WORD_FIGURES, figures
from segvoc.inference.decision import Decision, Rules, StandIns, WordTable, competition
from segvoc.inference.pixel_labels import UNLABELED, search_classes, selected_classes
from segvoc.inference.prepared_vocabulary import ClassQuery, PreparedVocabulary
from segvoc.inference.protocols import Protocol
from segvoc.inference.windows import ViewLogits
from segvoc.models.decisions import TINY_CONFIDENCE, TINY_DECISION
from segvoc.models.headers import TRAINING
from segvoc.models.loading import segmenter_of
from segvoc.models.shipped import open_tiny
from segvoc.models.spec import ModelSpec
from segvoc.storage.files import SHIPPED
from segvoc.vocabulary import Vocabulary
from tests.images import squares
from tests.inference.kept_programs import KeptPrograms
from tests.inference.numpy_engine import NumpySegmenter

SAMPLES = Path(__file__).parents[2] / "samples"
COFFEE = SAMPLES / "coffee.jpg"
DECISION = Decision(common=(("sky",), ("grass", "lawn")), most_open=3, wholes=("person",), lead=1.0)
LEXICON = Lexicon(
    kinds={"person": ("man",), "water": ("lake",), "boat": (), "hat": (), "grass": (), "sky": ()},
    wholes=(Whole(name="person", parts=(), worn=("hat", "shirt"), other_names=("skin",)),),
    surfaces=("water", "sky", "grass", "lawn"),
)


class _Letters:
    """Words of no meaning to the tests that give the scores themselves."""

    templates = ("{}",)
    lexicon = LEXICON

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> Tensor:
        return torch.zeros(len(vocabulary), 1, 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("boat, man", {"others": "sky grass", "open": True}),
        ("boat, man, dog, cat", {}),
        ("lake, sky", {"surfaces": "lake sky", "others": "grass", "open": True}),
        ("boat, lake", {"surfaces": "lake", "others": "sky grass", "open": True}),
        ("boat, lake, dog, cat", {"surfaces": "lake", "others": "sky grass"}),
        ("boat, sky, grass", {"open": True}),
        ("boat, lawn, sky", {"surfaces": "lawn sky", "similar": "grass", "open": True}),
        ("red hat, old man", {"others": "sky grass", "parts": "red-hat", "wholes": "old-man", "open": True}),
        ("red hat, tall person", {"others": "sky grass", "parts": "red-hat", "wholes": "tall-person", "open": True}),
        ("hat, shirt", {"others": "sky grass", "parts": "hat shirt", "unnamed": "person", "open": True}),
        ("hat, shirt, dog, cat", {"others": "sky grass", "parts": "hat shirt", "unnamed": "person", "open": True}),
        ("hat, skin", {"others": "sky grass", "parts": "hat", "open": True}),
        ("hat, sky", {"surfaces": "sky", "others": "grass", "parts": "hat", "unnamed": "person", "open": True}),
    ],
)
def test_words_that_compete_follow_from_those_that_are_asked_for(words: str, expected: dict[str, object]) -> None:
    asked = Vocabulary(words).words
    found = competition(WordTable.of(asked, LEXICON, DECISION, np), DECISION.most_open)
    firsts = [group[0] for group in DECISION.common]
    columns = {"surfaces": asked, "parts": asked, "wholes": asked, "similar": firsts, "others": firsts}
    names = {
        name: " ".join(one.replace(" ", "-") for one in compress(some, getattr(found, name)))
        for name, some in {**columns, "unnamed": DECISION.wholes}.items()
    }
    assert {
        **{key: value for key, value in names.items() if value},
        **({"open": True} if found.is_open else {}),
    } == expected


def labels_of(words: str, scores: list[list[float]], decision: Decision = DECISION) -> list[int]:
    """The labels of pixels, whose scores of the words and then of the unasked ones are given (words x pixels)."""
    rules = Rules.of(decision, None, None, window="single", is_single_word=False)
    query, _ = PreparedVocabulary(_Letters(), words, None, None).query(rules)
    assert len(query.queried) == len(scores), query.queried
    output = ViewLogits(np.array(scores, np.float32)[None, :, None], None, len(scores))
    return search_classes(output, (1, len(scores[0])), query, Protocol(size=1))().labels[0].tolist()


CLOSED = replace(DECISION, most_open=0)


def test_what_other_surroundings_win_goes_to_those_that_are_named() -> None:
    assert labels_of("boat, water", [[3, 3, 1], [0, 0, 2], [2, 4, 5], [0, 0, 0]], CLOSED) == [0, 1, 1]


def test_what_other_surroundings_win_by_far_stays_unlabeled_with_few_words() -> None:
    none = [-9.0] * 3
    assert labels_of("boat, water", [[3, 3, 1], [0, 0, 2], [2, 3.9, 5], none]) == [0, 1, UNLABELED]
    # grass is much like the lawn that is named, and holds the sky off
    assert labels_of("boat, lawn", [[3, 3, 1], [0, 0, 2], [2, 3.9, 5], none]) == [0, 1, 1]
    assert labels_of("boat, lawn", [[1, 1], [0, 0], [5, 3], [5.9, 5.9]]) == [1, UNLABELED]
    assert labels_of("boat, dog", [[3, 3], [0, 0], [3.9, 4.1], none[:2]]) == [0, UNLABELED]


def test_a_part_takes_pixels_from_its_whole_unless_that_is_far_ahead() -> None:
    assert labels_of("hat, man, dog, cat", [[0, 0, 0], [0.9, 1.1, 0.5], [-1, -1, 2], [-9, -9, -9]]) == [0, 1, 2]


def test_pixels_of_a_whole_that_nobody_named_get_no_part() -> None:
    sky, grass, person = [0, 0, 4, 0], [-9] * 4, [2.9, 3.1, 0, 9]
    assert labels_of("hat, boat", [[2, 2, 2, 0], [0, 0, 0, 1], sky, grass, person]) == [0, UNLABELED, UNLABELED, 1]


def half(name: str) -> np.ndarray:
    """A photograph with half its sides."""
    return np.asarray(Image.open(SAMPLES / name).convert("RGB").reduce(2))


def test_unasked_words_take_nobodys_place() -> None:
    kept, every = (
        KeptPrograms().segment(half("mountains.jpg"), "rock, lake, hiker, tent", keep_classes=keep)
        for keep in (4, "all")
    )
    assert kept.selected.tolist() == [True] * 4
    np.testing.assert_array_equal(kept.labels, every.labels)


def test_parts_leave_the_rules_of_their_words_as_they_are() -> None:
    model = KeptPrograms()
    for words in ("person", "person, ball"):
        alone = model.segment(half("dogs.jpg"), words)
        with_parts = model.segment(half("dogs.jpg"), words, parts={"person": ["head"]}, edges=True)
        assert (alone.labels == with_parts.labels).mean() > 0.99, words


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


def test_quality_is_the_mean_of_the_confidence_and_low_for_words_that_are_not_there() -> None:
    model = KeptPrograms()
    good, bad = (model.segment(COFFEE, words) for words in ("cup, table", "inflation, tax return"))
    assert good.quality is not None and bad.quality is not None
    assert good.quality == pytest.approx(good.confidence.mean(), abs=1e-4) and good.quality > 0.6 > 0.3 > bad.quality
    assert good.report()["quality"] == good.quality and bad.unsure and not good.unsure
    rejected = model.segment(COFFEE, "cup, table", background="auto")
    labeled = rejected.labels != UNLABELED
    assert rejected.quality == pytest.approx(rejected.confidence[labeled].mean(), abs=1e-4)


def test_a_single_word_has_the_score_as_its_confidence_and_no_quality() -> None:
    result = KeptPrograms().segment(COFFEE, "cup")
    assert result.quality is None and not result.unsure and 0.3 < result.confidence[result.mask("cup")].mean() < 0.95


def test_a_threshold_is_one_of_the_confidence() -> None:
    middle = float(np.median(KeptPrograms().segment(COFFEE, "cup, table").confidence))
    result = KeptPrograms().segment(COFFEE, "cup, table", threshold=middle)
    below = result.labels == UNLABELED
    assert 0.3 < below.mean() < 0.7
    assert result.confidence[below].max() < middle <= result.confidence[~below].min()


def test_the_shipped_decision_is_that_of_the_shipped_weights() -> None:
    weights = (SHIPPED / "tiny.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == TINY_DECISION.weights, "fit the decision again: tools/tiny"
    assert open_tiny().traits.decision == TINY_DECISION


@pytest.mark.parametrize("wrong", [{"word": (1.0,)}, {"slope": float("nan")}, {"image": (1.0,) * 99}])
def test_a_model_of_other_figures_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="confidence"):
        replace(TINY_CONFIDENCE, **wrong)


# ---- the background


PLANE = {"cat": 0.0, "dog": 0.5, "lawn": 1.0, "grass": 1.1, "wall": 2.0, "Door": 3.0, "door": 3.0, "sky": 4.0}
"""Directions of words in a plane [rad]."""


class _Plane:
    templates = ("{}",)

    def __call__(self, vocabulary: Vocabulary, none: str | None = None) -> Tensor:
        angle = torch.tensor([PLANE.get(word, 5.0) for word in vocabulary.words])
        return torch.stack([angle.cos(), angle.sin()], dim=1)[:, None]


@pytest.mark.parametrize(
    ("words", "parts", "expected"),
    [
        (["cat"], [], ("grass", "wall", "door", "sky")),
        (["cat", "lawn"], [], ("wall", "door", "sky")),
        (["cat", "Door"], [], ("grass", "wall", "sky")),
        (["cat"], ["door"], ("grass", "wall", "sky")),
        (["grass", "wall", "door", "sky"], [], ()),
    ],
)
def test_what_is_requested_is_no_background(words: list[str], parts: list[str], expected: tuple[str, ...]) -> None:
    stand_ins = StandIns(words=("grass", "wall", "door", "sky"), similarity=0.7, threshold=0.3)
    with_parts = {words[0]: parts} if parts else None
    prepared = PreparedVocabulary(_Plane(), words, with_parts, "nothing")
    rules = Rules.of(Decision(stand_ins=stand_ins), "nothing", None, window="single", is_single_word=False)
    assert prepared.query(rules)[0].unasked == expected


def _query(words, background, threshold, stand_ins, *, learned: bool = False) -> ClassQuery:
    prepared = PreparedVocabulary(_Plane(), words, None, background)
    call: dict[str, Any] = {"window": "single", "is_single_word": prepared.is_single_word}
    decision = Decision(stand_ins=stand_ins)
    rules = Rules.of(decision, prepared.background, threshold, **call, learned_background=learned)
    return prepared.query(rules)[0]


@pytest.mark.parametrize("sigmoid_first", [False, True])
def test_a_stand_in_takes_the_pixels_where_it_is_likelier_than_all_words(sigmoid_first):
    # a sure word; a stand-in above a word; a word above a stand-in; nothing is likely; only a stand-in is
    cat, dog = [2.0, 1.0, 2.0, -2.0, -1.0], [0.0, -1.0, 3.0, -3.0, -1.0]
    wall, sky = [-1.0, 1.5, 1.0, -2.5, 0.5], [0.0, -3.0, 2.5, -4.0, -9.0]
    logits = torch.tensor([[[cat], [dog], [wall], [sky]]])
    stand_ins, words = StandIns(words=("wall", "sky"), similarity=1.0, threshold=0.3), ["nothing", "cat", "dog"]
    query, protocol = _query(words, "nothing", 0.5, stand_ins), Protocol(size=1, sigmoid_first=sigmoid_first)
    found = search_classes(ViewLogits(logits, None, 4), (1, 5), query, protocol, return_probabilities=True)()
    assert found.labels.tolist() == [[1, 0, 2, 0, 0]]
    np.testing.assert_array_equal(found.probabilities.argmax(axis=0), found.labels)
    np.testing.assert_allclose(found.probabilities.max(axis=0), found.confidence)
    likely = torch.tensor([2.0, 1.5, 3.0, 2.0, 1.0]).sigmoid()  # of the last two, 1 - sigmoid(-2) and 1 - sigmoid(-1)
    np.testing.assert_allclose(found.confidence[0], likely, atol=1e-6)
    scores = torch.tensor([[2.0, 1.0, 3.0, -2.0, -1.0]])
    assert torch.allclose(found.strongest, scores.sigmoid() if sigmoid_first else scores)


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_word_as_likely_as_a_stand_in_with_its_margin_keeps_the_pixel(margin: float) -> None:
    stand_ins = StandIns(words=("wall",), similarity=1.0, threshold=0.3, margin=margin)
    maps = {"cat": [1.0, 1.0], "wall": [1.0 - margin, 1.25 - margin]}
    assert _labels(maps, ["cat", "nothing"], "nothing", 0.5, stand_ins) == [0, 1]


def _labels(maps: dict[str, list[float]], words: list[str], background: str | None, threshold: float | None, stand_ins):
    """Labels of pixels with these logits of the words that are asked for."""
    query = _query(words, background, threshold, stand_ins)
    logits = torch.tensor([[[maps[word]] for word in query.queried.words]])
    output, size = ViewLogits(logits, None, len(query.queried)), (1, logits.shape[3])
    found = search_classes(output, size, query, Protocol(size=1), return_probabilities=True)()
    assert found.probabilities is not None and len(found.probabilities) == len(query.words)
    assert selected_classes(None, query).tolist() == [True] * len(query.words)
    return found.labels.tolist()[0]


def test_only_a_background_that_a_threshold_decides_has_stand_ins() -> None:
    def stand_ins(background: str | None, *, learned: bool, threshold: float | None) -> tuple[str, ...]:
        words = StandIns(words=("grass", "wall"), similarity=0.7, threshold=0.3)
        query = _query(["cat", "lawn"], background, threshold, words, learned=learned)
        assert query.background.threshold == threshold
        return query.unasked

    assert stand_ins(None, learned=False, threshold=0.5) == ()
    assert stand_ins("sky", learned=False, threshold=None) == ("wall",)
    assert stand_ins("sky", learned=True, threshold=None) == ()
    assert stand_ins("sky", learned=True, threshold=0.5) == ("wall",)


@pytest.mark.parametrize("requested", ["AUTO", " Auto "])
def test_auto_is_no_name_in_any_case(requested: str) -> None:
    model = NumpySegmenter()
    for words in ("cat, wall", model.encode("cat, wall", background=requested)):
        background = None if not isinstance(words, str) else requested
        result = model.segment(squares(), words, background=background)
        assert result.words == ("cat", "wall") and result.background is None
        np.testing.assert_array_equal(result.labels, model.segment(squares(), "cat, wall", background="auto").labels)


@pytest.mark.parametrize(
    ("requested", "threshold", "single", "learned", "kind"),
    [
        (None, None, False, False, "fill"),
        (None, None, True, False, "unlabeled"),
        (None, 0.2, True, True, "unlabeled"),
        ("auto", None, False, False, "unlabeled"),
        ("auto", None, False, True, "learned"),
        ("rest", None, False, False, "class"),
        ("rest", 0.2, False, True, "class"),
        ("rest", None, False, True, "learned"),
    ],
)
def test_a_background_is_of_one_of_four_kinds(requested, threshold, single, learned, kind) -> None:
    rules = Rules.of(Decision(), requested, threshold, window="auto", is_single_word=single, learned_background=learned)
    found = rules.background
    assert (found.kind, found.name) == (kind, None if requested == "auto" else requested)
    decided = threshold is not None or kind in ("fill", "learned")
    assert found.threshold == (threshold if decided else 0.5)


def test_nothing_that_was_fitted_holds_for_taught_words_and_other_windows() -> None:
    def decision(**call: object) -> Decision:
        given = {"window": "auto", "is_single_word": False} | call
        return Rules.of(TINY_DECISION, None, None, **given).decision  # type: ignore[arg-type]

    assert decision() == replace(TINY_DECISION, stand_ins=None)
    assert decision(window="tcl") == replace(TINY_DECISION, stand_ins=None, confidence=None)
    taught = decision(is_taught=True)
    assert (taught.unasked, taught.confidence, taught.margin) == ((), None, 0)


def test_a_network_with_other_weights_decides_by_its_scores_alone(tmp_path: Path) -> None:
    shipped = segvoc.load_network("tiny", device="cpu", dtype="float32")
    assert shipped.traits.decision == TINY_DECISION
    spec = ModelSpec(name="mine", preset="tiny", record={TRAINING: {"recipe": "finetune"}})
    # words that were tuned leave the weights as they are
    assert segmenter_of(spec, shipped.network).traits.decision == TINY_DECISION
    with torch.no_grad():
        next(iter(shipped.network.aggregation.parameters())).mul_(1.01)
    trained = segmenter_of(spec, shipped.network)
    assert trained.traits.decision == Decision(parts_against="contrast")
    segvoc.save(trained, tmp_path / "mine.safetensors")
    again = segvoc.load(tmp_path / "mine.safetensors", device="cpu")
    assert again.traits.decision == trained.traits.decision and again.origin[TRAINING] == {"recipe": "finetune"}
    result = again.segment(COFFEE, "cup, table")
    assert result.quality is None and not result.unsure


@pytest.mark.parametrize(
    ("words", "background", "threshold", "labels"),
    [
        (["cat"], None, None, [0, 65535, 65535]),  # the wall wins the second, and the third is below 0.3
        (["cat"], "auto", None, [0, 65535, 65535]),
        (["cat"], None, 0.0, [0, 0, 0]),  # a threshold is the call's own rule
        (["cat"], None, 0.7, [0, 0, 65535]),
        (["cat", "dog"], None, None, [0, 0, 1]),
        (["cat", "dog"], "auto", None, [0, 65535, 65535]),
        (["cat", "dog"], "auto", 0.05, [0, 65535, 1]),
        (["cat", "dog"], "other", None, [0, 2, 2]),
    ],
)
def test_pixels_where_no_word_is_likely_stay_unlabeled(words, background, threshold, labels) -> None:
    logits = {"cat": [2.0, 1.0, -3.0], "dog": [-3.0, -3.0, -2.0], "wall": [1.0, 1.5, -4.0]}
    stand_ins = StandIns(words=("wall",), similarity=1.0, threshold=0.3)
    assert _labels(logits, words, background, threshold, stand_ins) == labels


def test_a_learned_background_rejects_words_without_a_threshold() -> None:
    query = _query(["cat", "background"], "auto", None, None, learned=True)
    assert (query.words, query.unasked, query.none_index) == (("cat", "background"), ("background'",), 2)
    logits = torch.tensor([[[[-1.0, -1.0]], [[-2.0, -2.0]], [[-3.0, 0.5]]]])
    found = search_classes(ViewLogits(logits, None, 3), (1, 2), query, Protocol(size=1))()
    assert found.labels.tolist() == [[0, 65535]]
