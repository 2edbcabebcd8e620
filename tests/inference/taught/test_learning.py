"""Classifiers on drawn cells: untaught words keep their text; confidence is a softmax with a fitted temperature."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import segvoc
from segvoc.inference.taught import learning
from segvoc.inference.taught.calibration import LabeledLogits, fitted_temperature, softmax_logits
from segvoc.inference.taught.examples import Cells
from segvoc.inference.taught.learning import Classifiers, _HeldOutCells
from tests.inference.small_network import small_segmenter
from tests.inference.taught.drawn_examples import drawn_examples

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


def test_words_outside_a_fit_compete_by_their_text():
    """The gradient is that of a softmax over all words, of which only some have classifiers."""
    logits = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    powers = np.exp(logits)
    expected = powers[:, [1, 4]] / powers.sum(axis=1, keepdims=True)
    rest = learning._log_sum(np.delete(logits, [1, 4], axis=1).astype(np.float16))
    np.testing.assert_allclose(learning._probabilities(logits[:, [1, 4]], rest), expected, atol=1e-3)
    alone = learning._probabilities(logits, learning._log_sum(logits[:, :0].astype(np.float16)))
    np.testing.assert_allclose(alone, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("temperature", (0.3, 1.0, 4.0))
def test_the_sigmoid_of_the_logits_is_the_softmax(temperature):
    logits = np.random.default_rng(0).normal(0, 8, (2, 7, 5, 4)).astype(np.float32)
    found = softmax_logits(logits, temperature)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(1 / (1 + np.exp(-found)), softmax(logits / temperature, 1), atol=1e-6)
    np.testing.assert_array_equal(found.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_allclose(softmax_logits(torch.from_numpy(logits), temperature).numpy(), found, atol=1e-4)


def test_words_far_apart_or_alike_stay_finite_and_a_single_word_stays():
    logits = np.float32([[1000, -1000, 1000], [3, 3, 3], [0, 50, 90]]).T[None, :, :, None]
    found = softmax_logits(logits, 1.0)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(1 / (1 + np.exp(-found[0, :, 1, 0])), 1 / 3, atol=1e-6)
    np.testing.assert_array_equal(softmax_logits(logits[:, :1], 2.0), logits[:, :1])


def test_the_temperature_that_the_labels_were_drawn_with_is_fitted_again():
    random = np.random.default_rng(0)
    images, logits = np.repeat(np.arange(5), 4000), random.normal(0, 3, (20_000, 4))
    for temperature in (0.7, 2.5):
        chances = softmax(logits / temperature, 1).cumsum(axis=1)
        labels = (random.random((20_000, 1)) > chances).sum(axis=1).clip(max=3)
        cells = LabeledLogits(logits, labels, images, np.ones(20_000))
        assert fitted_temperature(cells) == pytest.approx(temperature, rel=0.1)
        assert fitted_temperature(cells, lift=0.1) < fitted_temperature(cells) < fitted_temperature(cells, lift=-0.1)
        labels[images == 2] = (labels[images == 2] + 1) % 4  # an image with wrong labels doesn't decide alone
        assert fitted_temperature(cells) == pytest.approx(temperature, rel=0.1)
        two = LabeledLogits(*(column[(images == 1) | (images == 2)] for column in cells))
        assert fitted_temperature(two) == pytest.approx(temperature, rel=0.15)  # nor one of two


def test_teaching_stores_it_and_it_changes_the_confidence(tmp_path):
    model, images = small_segmenter(), drawn_examples(4)
    taught = segvoc.teach(model, images)
    assert taught.record.temperature != 1
    taught.save(tmp_path / "a.words.safetensors")
    assert segvoc.TaughtWords.load(tmp_path / "a.words.safetensors").record == taught.record
    image, words = images.images[0], list(taught.words)
    milder = replace(taught, record=replace(taught.record, temperature=4 * taught.record.temperature))
    results = [model.with_taught(one).segment(image, words, return_probabilities=True) for one in (taught, milder)]
    # between cells, maps are interpolated after the softmax
    assert (results[0].labels == results[1].labels).mean() > 0.97
    assert results[0].confidence.mean() > results[1].confidence.mean()
    for result in results:
        assert result.probabilities.sum(axis=0).mean() == pytest.approx(1, abs=0.05)
    single = [model.with_taught(one).segment(image, words[:1], threshold=0.0) for one in (taught, milder)]
    np.testing.assert_array_equal(single[0].confidence, single[1].confidence)
