"""Words that compete on behalf of the background."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import segvoc
from segvoc.inference.background import Background, BackgroundWords
from segvoc.inference.pixel_labels import search_classes, selected_classes
from segvoc.inference.prepared_vocabulary import ClassQuery, PreparedVocabulary
from segvoc.inference.protocols import Protocol
from segvoc.inference.windows import ViewLogits
from segvoc.models.headers import TRAINING
from segvoc.models.loading import segmenter_of
from segvoc.models.spec import ModelSpec
from segvoc.vocabulary import Vocabulary
from tests.images import squares
from tests.inference.numpy_engine import NumpySegmenter

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
    background = BackgroundWords(words=("grass", "wall", "door", "sky"), similarity=0.7)
    assert background.distinct_from(Vocabulary(words), parts, _Plane()) == expected


def _query(
    words: list[str],
    background: str | None,
    threshold: float | None,
    stand_ins: BackgroundWords | None,
    *,
    learned: bool = False,
) -> ClassQuery:
    prepared = PreparedVocabulary(_Plane(), words, None, background)
    single = prepared.is_single_word
    chosen = Background.of(prepared.background, threshold, is_single_word=single, learned=learned, stand_ins=stand_ins)
    return prepared.query(chosen)[0]


@pytest.mark.parametrize("sigmoid_first", [False, True])
def test_a_stand_in_takes_the_pixels_where_it_is_likelier_than_all_words(sigmoid_first):
    # a sure word; a stand-in above a word; a word above a stand-in; nothing is likely; only a stand-in is
    cat, dog = [2.0, 1.0, 2.0, -2.0, -1.0], [0.0, -1.0, 3.0, -3.0, -1.0]
    wall, sky = [-1.0, 1.5, 1.0, -2.5, 0.5], [0.0, -3.0, 2.5, -4.0, -9.0]
    logits = torch.tensor([[[cat], [dog], [wall], [sky]]])
    stand_ins, words = BackgroundWords(words=("wall", "sky"), similarity=1.0), ["nothing", "cat", "dog"]
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
    stand_ins = BackgroundWords(words=("wall",), similarity=1.0, margin=margin)
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
        words = BackgroundWords(words=("grass", "wall"), similarity=0.7)
        query = _query(["cat", "lawn"], background, threshold, words, learned=learned)
        assert query.background.threshold == threshold
        return query.stand_ins

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
    found = Background.of(requested, threshold, is_single_word=single, learned=learned, stand_ins=None)
    assert (found.kind, found.name) == (kind, None if requested == "auto" else requested)
    decided = threshold is not None or kind in ("fill", "learned")
    assert found.threshold == (threshold if decided else 0.5)


def test_a_network_that_a_user_has_trained_decides_by_its_threshold_alone(tmp_path: Path) -> None:
    shipped = segvoc.load_network("tiny", device="cpu", dtype="float32")
    assert shipped.traits.background_words is not None
    spec = ModelSpec(name="mine", preset="tiny", record={TRAINING: {"recipe": "finetune"}})
    trained = segmenter_of(spec, shipped.network)
    assert trained.traits.background_words is None
    segvoc.save(trained, tmp_path / "mine.safetensors")
    again = segvoc.load(tmp_path / "mine.safetensors", device="cpu")
    assert again.traits.background_words is None and again.origin[TRAINING] == {"recipe": "finetune"}


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
    stand_ins = BackgroundWords(words=("wall",), similarity=1.0)
    assert _labels(logits, words, background, threshold, stand_ins) == labels


def test_a_learned_background_rejects_words_without_a_threshold() -> None:
    query = _query(["cat", "background"], "auto", None, None, learned=True)
    assert (query.words, query.none_word, query.num_words) == (("cat", "background"), "background'", 3)
    logits = torch.tensor([[[[-1.0, -1.0]], [[-2.0, -2.0]], [[-3.0, 0.5]]]])
    found = search_classes(ViewLogits(logits, None, 3), (1, 2), query, Protocol(size=1))()
    assert found.labels.tolist() == [[0, 65535]]
