"""Words tuned to labeled images on cached features of a frozen network."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

import segvoc
from segvoc.checkpoints.files import read_weights, write_weights
from segvoc.errors import CheckpointError, InputError, UsageError
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.teaching.taught_words import TaughtWords
from segvoc.training.monitor import Monitor
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES, finetune
from segvoc.training.run import train
from tests.training.runs import drawn_images

SMALL = {"crop_size": 64, "short_sides": (64, 80), "views": 2, "pyramid_channels": 16, "save_every": 2}


@pytest.fixture(autouse=True)
def without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the curves takes a third of runs as short as these; other runs of the tests draw them."""
    monkeypatch.setattr("segvoc.training.monitor.draw_curves", lambda *_: None)


def recipe(images: int, **changes: object) -> Recipe:
    return finetune("tiny", images=images).with_settings(**(SMALL | changes))


def tuned(run) -> dict[str, np.ndarray]:
    return TaughtWords.load(run / "tuned.words.safetensors").arrays()


def test_a_run_that_was_stopped_goes_on_to_the_same_words_and_encodes_nothing_again(tmp_path, monkeypatch):
    # more patience than there are validations, so that no score of these images ends either run before its last step
    images, chosen = drawn_images(tmp_path / "set", 8), recipe(8, steps=60, eval_every=15, patience=9)
    train(chosen, images, tmp_path / "whole", device="cpu", progress=False)
    step = Monitor.step

    def stop(self: Monitor, metrics: dict) -> None:
        step(self, metrics)
        if metrics["step"] == 22:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Monitor, "step", stop)
    with pytest.raises(SystemExit):
        train(chosen, images, tmp_path / "parts", device="cpu", progress=False)
    monkeypatch.setattr(Monitor, "step", step)
    seen: list[tuple[int, ...]] = []
    find = NetworkSegmenter.find_features

    def counted(self: NetworkSegmenter, pixels: np.ndarray) -> object:
        seen.append(pixels.shape)
        return find(self, pixels)

    monkeypatch.setattr(NetworkSegmenter, "find_features", counted)
    result = train(chosen, images, tmp_path / "parts", device="cpu", resume=True, progress=False)
    assert (1, 3, 64, 64) not in seen
    whole, parts = tuned(tmp_path / "whole"), tuned(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(value, parts[name]) for name, value in whole.items())
    assert result.metrics["step"] == 60


@pytest.mark.slow
def test_changed_labels_are_encoded_again(tmp_path, monkeypatch):
    images, chosen = drawn_images(tmp_path / "set", 3), recipe(3, steps=1)
    train(chosen, images, tmp_path / "run", device="cpu", progress=False)
    before = {path.name for path in (tmp_path / "run/features").iterdir()}
    labels = images.images[0].labels
    os.utime(labels, (0, 0))
    (tmp_path / "again").mkdir()
    (tmp_path / "run/features").rename(tmp_path / "again/features")
    train(chosen, images, tmp_path / "again", device="cpu", progress=False)
    after = {path.name for path in (tmp_path / "again/features").iterdir()}
    assert before < after


def test_a_class_without_labels_keeps_its_text(tmp_path):
    images = drawn_images(tmp_path / "set", 3)
    more = replace(images, vocabulary=segvoc.Vocabulary([*images.vocabulary.words, "cat"]))
    train(recipe(3, steps=2), more, tmp_path / "run", device="cpu", progress=False)
    found = TaughtWords.load(tmp_path / "run/tuned.words.safetensors")
    assert found.words == ("ground", "red disc", "blue disc")
    assert found.record.miou is None and found.record.images == 3  # three images are too few to hold some out


@pytest.mark.slow
def test_words_that_are_never_better_keep_their_text(tmp_path, capsys):
    images, chosen = drawn_images(tmp_path / "set", 8), recipe(8, steps=4, eval_every=1, lr=0.0)
    result = train(chosen, images, tmp_path / "run", device="cpu", progress=False)
    assert "no better on held-out images than by text alone" in capsys.readouterr().err
    assert not (tmp_path / "run/tuned.words.safetensors").exists()
    assert result.metrics["step"] == 2  # two validations in a row were no better
    assert segvoc.load(result.weights, device="cpu").taught == ()


def test_scores_are_those_of_their_words_beside_a_background(tmp_path):
    images = replace(drawn_images(tmp_path / "set", 8), background="ground")
    train(recipe(8, steps=6, eval_every=6, patience=0), images, tmp_path / "run", device="cpu", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run/watched.jsonl").read_text().splitlines()]
    by_class = dict(zip(images.vocabulary.words, zip(*(line["iou"] for line in lines), strict=True), strict=True))
    found = TaughtWords.load(tmp_path / "run/tuned.words.safetensors").record.words
    assert [word.name for word in found] == ["red disc", "blue disc"]
    for word in found:
        assert (word.before, word.after) == pytest.approx([100 * score for score in by_class[word.name]], abs=0.01)


def test_tuned_words_are_part_of_the_model_wherever_it_goes(tmp_path):
    images = drawn_images(tmp_path / "set", 3)
    result = train(recipe(3, steps=10), images, tmp_path / "run", device="cpu", progress=False)
    model, photo, words = segvoc.load(result.weights, device="cpu"), images.images[0].image, images.vocabulary
    expected = model.segment(photo, words).labels
    assert (expected != segvoc.load("tiny", device="cpu").segment(photo, words).labels).any()
    segvoc.save(model, tmp_path / "copy.safetensors")
    again = segvoc.load(tmp_path / "copy.safetensors", device="cpu")
    assert [one.digest for one in again.taught] == [one.digest for one in model.taught]
    assert np.array_equal(again.segment(photo, words).labels, expected)
    more = train(
        finetune(str(result.weights), images=3).with_settings(**SMALL, steps=2),
        images,
        tmp_path / "more",
        device="cpu",
        progress=False,
    )
    assert len(segvoc.load(more.weights, device="cpu").taught) == 2


@pytest.mark.slow
def test_an_exported_model_has_its_tuned_words(tmp_path):
    images = drawn_images(tmp_path / "set", 3)
    result = train(recipe(3, steps=10), images, tmp_path / "run", device="cpu", progress=False)
    model, photo, words = segvoc.load(result.weights, device="cpu"), images.images[0].image, images.vocabulary
    segvoc.export(model, tmp_path / "programs")
    labels = segvoc.load(tmp_path / "programs").segment(photo, words).labels
    assert (labels == model.segment(photo, words).labels).mean() > 0.999


def test_what_cant_be_tuned_is_refused(tmp_path):
    images = drawn_images(tmp_path / "set", 3)
    with pytest.raises(UsageError, match="not a multiple of 8; take 64"):
        recipe(3, pyramid_channels=12)
    with pytest.raises(UsageError, match="leave out the label maps of objects"):
        train(recipe(3), images, tmp_path / "no", object_maps=images, device="cpu", progress=False)
    for one in images.images:
        one.image.write_bytes(b"none")
    with pytest.raises(InputError, match=r"known format"):
        train(recipe(3), images, tmp_path / "run", device="cpu", progress=False)


def test_an_image_that_cant_be_read_is_passed_over(tmp_path, capsys):
    images = drawn_images(tmp_path / "set", 4)
    images.images[1].image.write_bytes(b"none")
    train(recipe(4, steps=2), images, tmp_path / "run", device="cpu", progress=False)
    assert capsys.readouterr().err.count("1.png") == 1
    assert TaughtWords.load(tmp_path / "run/tuned.words.safetensors").record.images == 3


def test_damaged_words_are_refused_in_a_model_and_alone(tmp_path):
    images = drawn_images(tmp_path / "set", 3)
    result = train(recipe(3, steps=1), images, tmp_path / "run", device="cpu", progress=False)
    file, path = read_weights(result.weights), tmp_path / "damaged.safetensors"
    del file.tensors["taught.0.bias"]
    write_weights(path, file.tensors, **({"preset": "tiny"} | file.record))
    with pytest.raises(CheckpointError, match="wrong shape"):
        segvoc.load(path, device="cpu")
    found = TaughtWords.load(tmp_path / "run/tuned.words.safetensors")
    for changes in ({"pyramid_channels": 12}, {"channels": {"other": 1544}}, {"pyramid_channels": 24}):
        replace(found, record=replace(found.record, **changes)).save(path)
        with pytest.raises(CheckpointError, match=r"damaged\.safetensors'.*teach them again"):
            TaughtWords.load(path)


def test_settings_follow_from_the_number_of_images_and_the_method():
    few, many, most = (finetune("tiny", images=count) for count in (5, 30, 2000))
    assert [one.data.num_val_images for one in (few, many, most)] == [0, 3, 50]
    assert [one.words.views for one in (few, many, most)] == [6, 6, 1]
    assert [one.optimizer.steps for one in (few, many, most)] == [920, 1020, 3000]
    assert [one.runtime.patience for one in (few, many, most)] == [0, 2, 2]
    shorter = finetune("tiny", images=30, steps=50)
    assert (shorter.optimizer.steps, shorter.runtime.eval_every) == (50, 10)
    assert finetune("tiny", method="network") == RECIPES["tiny"]()
    whole, words = (finetune("cat-seg-b", method=method) for method in ("network", "words"))
    assert whole == finetune("cat-seg-b") and whole.method == "network"
    assert words.method == "words" and words.data.crop_size == whole.data.crop_size
    assert words.optimizer == finetune("tiny").optimizer
