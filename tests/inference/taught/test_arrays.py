"""Taught words on arrays alone: their file, regions of examples, classifiers of cells, and a fitted confidence."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import segvoc
from segvoc.errors import CheckpointError
from segvoc.inference.taught.calibration import LabeledLogits, fitted_temperature, softmax_logits
from segvoc.inference.taught.examples import CLASS_LOGITS, Cells, mixed, mixes, regions_of, toward_examples
from segvoc.inference.taught.features import FeaturePyramid, pyramid_shapes
from segvoc.inference.taught.learning import learn
from segvoc.inference.taught.taught_words import TaughtQuery, TaughtWord, TaughtWords, TeachingRecord
from tests.images import one_line_error
from tests.inference.small_network import small_segmenter
from tests.inference.taught.drawn_examples import drawn_examples


def made_up(**changes: object) -> TaughtWords:
    words = (TaughtWord(name="zebra", images=2, pixels=9, before=1.0, after=2.0),)
    scores = {"miou_before": 1.0, "miou": 2.0, "accuracy_before": 1.0, "accuracy": 2.0}
    about: dict[str, Any] = {"model": "tiny", "channels": {"map_0": 3}, "images": 2, "penalty": (0.1, 0.01)}
    record = TeachingRecord(words=words, segvoc="1.0", **about, **scores)
    arrays = {"weights": np.ones((1, 3), np.float16), "bias": np.zeros(1, np.float32)}
    ones = {name: np.ones(3, np.float32) for name in ("mean", "scale", "probe")}
    return TaughtWords(**{"record": record, **arrays, **ones, **changes})


def refused(path, said):
    with one_line_error(CheckpointError, match=said):
        TaughtWords.load(path)


def test_missing_foreign_cut_off_and_damaged(tmp_path):
    refused(tmp_path / "none", "can't be read")
    file = tmp_path / "file"
    for content in (b"", (1 << 40).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"):
        file.write_bytes(content)
        refused(file, "is no file of taught words")
    made_up().save(file)
    whole = file.read_bytes()
    for length in (7, 50, len(whole) - 1):
        file.write_bytes(whole[:length])
        refused(file, "no file of taught words|cut off")
    file.write_bytes(whole.replace(b'format\\": 1', b'format\\": 2'))
    refused(file, "another version")
    made_up(bias=np.full(1, np.nan, np.float32)).save(file)
    refused(file, "not finite")
    record = made_up().record
    for wrong in (
        {"record": replace(record, temperature=0.0)},
        {"record": replace(record, temperature=-1.0)},
        {"scale": np.zeros(3, np.float32)},
        {"weights": np.ones((2, 3), np.float16), "bias": np.zeros(2, np.float32)},
    ):
        made_up(**wrong).save(file)
        refused(file, "don't fit")


def test_regions_are_tried_where_few_images_or_no_known_classes_are():
    maps, logits = ({name: np.zeros((1, 1, 1, 1), np.float32)} for name in ("map_0", CLASS_LOGITS))
    assert mixes(maps, 10) and mixes(maps | logits, 9)
    assert not mixes(maps | logits, 10) and not mixes(logits, 9)


def test_regions(tmp_path):
    file, toward = tmp_path / "file", np.ones((1, 5), np.float16)
    mixed = made_up(record=replace(made_up().record, share=0.25), toward=toward)
    mixed.save(file)
    loaded = TaughtWords.load(file)
    assert load_file(file)["weights"].shape == (1, 3)
    assert loaded.digest == mixed.digest and np.array_equal(loaded.toward, toward)
    query = TaughtQuery.of([loaded], ["zebra", "cup"], 2)
    with pytest.raises(CheckpointError, match="of another length than the model's"):
        query.embeddings(np.ones((2, 1, 4), np.float32))
    for share, regions in ((0.25, None), (0.0, toward), (1.5, toward), (-0.25, toward)):
        made_up(record=replace(made_up().record, share=share), toward=regions).save(file)
        refused(file, "don't fit")


UNLABELED = 65535


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def test_a_region_is_the_mean_of_its_cells_on_each_grid():
    random = np.random.default_rng(0)
    features = {
        "map_0": random.standard_normal((1, 5, 4, 4), np.float32),
        "map_1": random.standard_normal((1, 5, 2, 2), np.float32),
        "tap_0": random.standard_normal((1, 7, 8, 8), np.float32),
    }
    labels = np.full((16, 16), UNLABELED, np.uint16)
    labels[:8, :8], labels[:8, 8:] = 2, 0
    found = regions_of(features, labels)
    assert sorted(found) == [0, 2]
    fine = unit(unit(np.moveaxis(features["map_0"][0, :, :2, :2], 0, -1)).mean(axis=(0, 1)))
    coarse = unit(features["map_1"][0, :, 0, 0])
    np.testing.assert_allclose(found[2], unit(fine + coarse), atol=1e-6)
    tensors = {name: torch.from_numpy(one) for name, one in features.items()}
    np.testing.assert_allclose(regions_of(tensors, labels)[0], found[0], atol=1e-6)


def test_regions_are_moved_to_where_texts_are():
    random = np.random.default_rng(0)
    text = random.standard_normal((4, 2, 6), np.float32)
    gap = np.array([5, 0, 0, 0, 0, 0], np.float32)
    images = [{word: unit(unit(random.standard_normal(6)) + gap) for word in (0, 1, 3)} for _ in range(3)]
    found = toward_examples(images, text)
    assert not found[2].any()
    mean = unit(np.stack([sum(one[word] for one in images) for word in (0, 1, 3)]))
    own = unit(text)[[0, 1, 3]].mean(axis=(0, 1))
    np.testing.assert_allclose(found[[0, 1, 3]], unit(mean - mean.mean(axis=0) + own), atol=1e-5)
    assert (found[[0, 1, 3]] @ own > mean @ own).all()


@pytest.mark.parametrize("length", [1.0, 7.0])
def test_costs_of_a_mixture_are_mixed_costs(length):
    random = np.random.default_rng(1)
    text = length * unit(random.standard_normal((3, 2, 8))).astype(np.float32)
    toward = unit(random.standard_normal((2, 8))).astype(np.float32)
    found = mixed(text, np.array([0, 2]), toward, np.array([0.25, 0.5]))
    assert np.array_equal(found[1], text[1])
    cell = unit(random.standard_normal(8))
    for place, (word, share) in enumerate([(0, 0.25), (2, 0.5)]):
        cost = (1 - share) * unit(text[word]) @ cell + share * toward[place] @ cell
        same_for_all_cells = np.linalg.norm((1 - share) * unit(text[word]) + share * toward[place], axis=-1)
        np.testing.assert_allclose(unit(found[word]) @ cell, cost / same_for_all_cells, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), length, rtol=1e-5)
    tensor = mixed(torch.from_numpy(text), np.array([0, 2]), toward, np.array([0.25, 0.5]))
    np.testing.assert_allclose(tensor.numpy(), found, atol=1e-6 * length)


def cells(informed: list[int]) -> Cells:
    """Cells of four images of three words whose features and texts say nothing; how much each share's logits add."""
    random = np.random.default_rng(0)
    labels = random.integers(3, size=400)
    truth, text = np.eye(3)[labels], random.standard_normal((400, 3))
    return Cells(
        features=random.standard_normal((400, 4)).astype(np.float16),
        zero_shot=text.astype(np.float16),
        mixed=np.stack([text + by * truth for by in informed]).astype(np.float16),
        labels=labels,
        weights=np.ones(400, np.float32),
        images=np.arange(400) % 4,
    )


@pytest.mark.parametrize(("informed", "share"), [([0, 0], 0), ([-1, 0], 0), ([4, 0], 1), ([1, 6], 2), ([5, 5], 1)])
def test_the_share_is_chosen_on_held_out_images(informed, share):
    counts = np.full(3, 100)
    learned = learn(cells(informed), ["a", "b", "c"], counts, counts)
    assert learned.share == share
    assert (learned.after.value(learned.before) > 20) == bool(share)


def test_words_that_examples_make_worse_keep_their_text():
    """Features tell the first two words apart in all images, and the others by another rule in each image."""
    random = np.random.default_rng(0)
    labels, images = random.integers(4, size=800), np.arange(800) % 4
    truth, features = np.eye(4)[labels], random.normal(0, 0.3, (800, 6))
    features[:, :2] += 2 * truth[:, :2]
    side = truth[:, 2] - truth[:, 3]
    features[:, 2:] += 3 * np.eye(4)[images] * side[:, None]
    features[:, 2] += 3 * (-1) ** images * side
    text = random.normal(0, 0.5, (800, 4))
    text[:, 2:] += truth[:, 2:]
    drawn = Cells(
        features=features.astype(np.float16),
        zero_shot=text.astype(np.float16),
        mixed=np.zeros((0, 800, 4), np.float16),
        labels=labels,
        weights=np.ones(800, np.float32),
        images=images,
    )
    counts = np.full(4, 200)
    learned, everything = (learn(drawn, "abcd", counts, counts, keep_worse=worse) for worse in (False, True))
    assert learned.classifiers.words.tolist() == [0, 1] and everything.classifiers.words.tolist() == [0, 1, 2, 3]
    assert [word.keeps_text for word in learned.words] == [False, False, True, True]
    assert everything.after.iou[2] < learned.before.iou[2] < learned.after.iou[2]
    assert learned.after.miou == pytest.approx(89.25, abs=0.5)


@pytest.fixture
def pyramid() -> FeaturePyramid:
    random = np.random.default_rng(0)
    shapes = pyramid_shapes(16, 20, 12)
    return FeaturePyramid(**{name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()})


def test_finer_maps_and_surroundings_matter(pyramid):
    maps = [np.zeros((1, 20, 6, 6), np.float32), np.zeros((1, 12, 12, 12), np.float32)]
    before = pyramid(maps)
    maps[1][0, :, 0, 0] = 3
    assert np.abs(pyramid(maps) - before)[:, :, :2, :2].max() > 0.01
    maps[1][:] = 0
    maps[0][0, :, 0, 0] = 3
    assert np.abs(pyramid(maps) - before)[:, :, 8:, 8:].max() > 0.01  # seven coarse cells away
    assert pyramid([maps[0]]).shape == before.shape  # an encoder without finer maps


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("temperature", (0.3, 1.0, 4.0))
def test_the_sigmoid_of_the_logits_is_the_softmax_and_finite(temperature):
    logits = np.random.default_rng(0).normal(0, 8, (2, 7, 5, 4)).astype(np.float32)
    found = softmax_logits(logits, temperature)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(1 / (1 + np.exp(-found)), softmax(logits / temperature, 1), atol=1e-6)
    np.testing.assert_array_equal(found.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_allclose(softmax_logits(torch.from_numpy(logits), temperature).numpy(), found, atol=1e-4)

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


def test_the_temperature_of_taught_words_changes_the_confidence():
    model, images = small_segmenter(), drawn_examples(2)
    taught = segvoc.teach(model, images)
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
