"""Classifiers on drawn cells: words fall back to their text as if they had never been taught, in linear time."""

from dataclasses import replace

import numpy as np
import pytest

from segvoc.inference.taught import learning
from segvoc.inference.taught.examples import Cells
from segvoc.inference.taught.learning import Classifiers, _HeldOutCells

WORDS = 12


def drawn_cells(count: int = 600, words: int = WORDS) -> Cells:
    random = np.random.default_rng(0)
    labels = random.integers(words, size=count)
    text, regions = (random.standard_normal((count, words)) + 2 * np.eye(words)[labels] for _ in range(2))
    return Cells(
        features=random.standard_normal((count, 8)).astype(np.float16),
        zero_shot=text.astype(np.float16),
        mixed=regions[None].astype(np.float16),
        labels=labels,
        weights=random.random(count).astype(np.float32),
        images=np.arange(count) % 4,
    )


def classifiers(words: int, unknown: int | None) -> Classifiers:
    """Random ones; one fold has no example of a word, which then counts as untaught."""
    random = np.random.default_rng(1)
    known = np.setdiff1d(np.arange(words), [] if unknown is None else [unknown])
    weights = random.standard_normal((len(known), 8)).astype(np.float32)
    return Classifiers(known, weights, random.standard_normal(len(known)).astype(np.float32))


def without(one: Classifiers, dropped: list[int]) -> Classifiers:
    rest = ~np.isin(one.words, dropped)
    return Classifiers(one.words[rest], one.weights[rest], one.bias[rest])


@pytest.mark.parametrize("share", [0, 1])
def test_falling_back_labels_cells_as_labeling_them_anew_does(share):
    cells = drawn_cells()
    components = cells.features.astype(np.float32)
    held, fitted = [cells.images == fold for fold in range(2)], [classifiers(WORDS, None), classifiers(WORDS, 5)]
    labeled = _HeldOutCells(cells, held, share, [(one, components) for one in fitted])
    dropped: list[int] = []
    for word in (3, 0, 5, 7, 1, 11):
        before = labeled.scores().iou
        other = labeled.with_text(word)
        np.testing.assert_array_equal(labeled.scores().iou, before)
        if word == 7:
            continue
        labeled = other
        dropped.append(word)
        rest = [without(one, dropped) for one in fitted]
        # with untaught words in the query, taught ones win cells by a margin only
        text = cells.with_share(share, dropped)
        anew = _HeldOutCells(replace(text, mixed=cells.mixed[:0]), held, 0, [(one, components) for one in rest])
        anew.has_strangers = labeled.has_strangers
        anew.current = list(anew._labeled(np.arange(len(anew.labels))))
        np.testing.assert_array_equal(labeled.current[0], anew.current[0])
        assert not np.array_equal(labeled.scores().iou, before)


def test_trying_all_words_labels_each_cell_a_few_times(monkeypatch):
    words, sizes = 60, list[int]()
    cells = drawn_cells(3000, words)
    held = [cells.images == fold for fold in range(4)]
    fitted = [(classifiers(words, None), cells.features.astype(np.float32))] * 4
    labeled = _HeldOutCells(cells, held, 0, fitted)
    label = _HeldOutCells._labeled
    monkeypatch.setattr(_HeldOutCells, "_labeled", lambda self, rows: (sizes.append(len(rows)), label(self, rows))[1])
    for word in range(words):
        labeled = labeled.with_text(word)
    assert len(sizes) == words and len(cells) / 2 < sum(sizes) < 10 * len(cells)


def test_words_outside_a_fit_compete_by_their_text():
    """The gradient is that of a softmax over all words, of which only some have classifiers."""
    logits = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    powers = np.exp(logits)
    expected = powers[:, [1, 4]] / powers.sum(axis=1, keepdims=True)
    rest = learning._log_sum(np.delete(logits, [1, 4], axis=1).astype(np.float16))
    np.testing.assert_allclose(learning._probabilities(logits[:, [1, 4]], rest), expected, atol=1e-3)
    alone = learning._probabilities(logits, learning._log_sum(logits[:, :0].astype(np.float16)))
    np.testing.assert_allclose(alone, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)
