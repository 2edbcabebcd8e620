"""Words tuned to labeled images on cached features of a frozen network."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import segvoc
from segvoc.checkpoints.files import read_weights, write_weights
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import CheckpointError, InputError, UsageError
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.presets import PRESETS
from segvoc.training.monitor import Monitor
from segvoc.training.recipe import Recipe
from segvoc.training.recipes import RECIPES, finetune, tuned_words
from segvoc.training.run import TrainingResult, train
from segvoc.training.start import Start
from tests.images import one_line_error
from tests.inference.small_network import SMALL_PRESET
from tests.training.runs import RECIPE, drawn_images

SMALL = {"crop_size": 64, "short_sides": (64, 80), "views": 2, "pyramid_channels": 16, "save_every": 2}


pytestmark = pytest.mark.usefixtures("small_preset", "undrawn")


def recipe(images: int, **changes: object) -> Recipe:
    return tuned_words(RECIPE, images).with_settings(**(SMALL | changes))


def tune(images: LabeledImages, out: Path, *, steps: int, resume: bool = False, **changes: object) -> TrainingResult:
    chosen = recipe(len(images), steps=steps, **changes)
    start = Start(weights="random")
    return train(chosen, images, out, start=start, device="cpu", progress=False, resume=resume)


def tuned(run: Path) -> TaughtWords:
    return TaughtWords.load(run / "tuned.words.safetensors")


def cached(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (run / "features").iterdir()}


def test_a_run_that_was_stopped_goes_on_to_the_same_words_and_encodes_nothing_again(tmp_path, monkeypatch):
    # more patience than there are validations, so that no score of these images ends either run before its last step
    images, changes = drawn_images(tmp_path / "set", 8), {"steps": 8, "eval_every": 4, "patience": 9}
    tune(images, tmp_path / "whole", **changes)
    step = Monitor.step

    def stop(self: Monitor, metrics: dict) -> None:
        step(self, metrics)
        if metrics["step"] == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "step", stop)
        with pytest.raises(SystemExit):
            tune(images, tmp_path / "parts", **changes)
    before = cached(tmp_path / "parts")
    result = tune(images, tmp_path / "parts", resume=True, **changes)
    assert cached(tmp_path / "parts") == before and result.metrics["step"] == 8
    whole, parts = (tuned(tmp_path / name).arrays() for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(value, parts[name]) for name, value in whole.items())
    temperatures = {tuned(tmp_path / name).record.temperature for name in ("whole", "parts")}
    assert len(temperatures) == 1 and temperatures != {1.0}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[LabeledImages, TrainingResult, Path]:
    """Three images, one class of which has no labels, and the result and the folder of a run on them."""
    folder = tmp_path_factory.mktemp("three")
    images = drawn_images(folder / "set", 3)
    images = replace(images, vocabulary=segvoc.Vocabulary([*images.vocabulary.words, "cat"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "small", SMALL_PRESET)
        return images, tune(images, folder / "run", steps=10), folder / "run"


def test_a_class_without_labels_keeps_its_text(three):
    found = tuned(three[2])
    assert found.words == ("ground", "red disc", "blue disc")
    # three images are too few to hold some out
    assert (found.record.miou, found.record.images, found.record.temperature) == (None, 3, 1.0)


def test_changed_labels_are_encoded_again(three, tmp_path):
    _, _, run = three
    images = replace(drawn_images(tmp_path / "set", 3), vocabulary=three[0].vocabulary)
    shutil.copytree(run / "features", tmp_path / "run/features")
    before = cached(tmp_path / "run")
    tune(images, tmp_path / "run", steps=1)
    assert before.keys() < cached(tmp_path / "run").keys()


@pytest.mark.slow
def test_words_that_are_never_better_keep_their_text(tmp_path, capsys):
    images = drawn_images(tmp_path / "set", 8)
    chosen = finetune("tiny", images=8).with_settings(**SMALL, steps=4, eval_every=1, lr=0.0)
    result = train(chosen, images, tmp_path / "run", device="cpu", progress=False)
    assert "no better on held-out images than zero-shot" in capsys.readouterr().err
    assert not (tmp_path / "run/tuned.words.safetensors").exists()
    assert result.metrics["step"] == 2  # two validations in a row were no better
    assert segvoc.load(result.weights, device="cpu").taught == ()


def test_scores_are_those_of_their_words_beside_a_background(tmp_path):
    images = replace(drawn_images(tmp_path / "set", 8), background="ground")
    tune(images, tmp_path / "run", steps=6, eval_every=6, patience=0)
    lines = [json.loads(line) for line in (tmp_path / "run/validation.jsonl").read_text().splitlines()]
    by_class = dict(zip(images.vocabulary.words, zip(*(line["iou"] for line in lines), strict=True), strict=True))
    found = tuned(tmp_path / "run").record.words
    assert [word.name for word in found] == ["red disc", "blue disc"]
    for word in found:
        assert (word.before, word.after) == pytest.approx([100 * score for score in by_class[word.name]], abs=0.01)


def test_a_run_labels_its_background_as_its_validation_does(tmp_path):
    images = replace(drawn_images(tmp_path / "set", 8), background="ground")
    chosen = recipe(8, steps=20, eval_every=20, patience=0)
    how = {"start": Start(weights="random"), "validation": images, "device": "cpu", "progress": False}
    result = train(chosen, images, tmp_path / "run", **how)
    assert tuned(tmp_path / "run").record.background == "ground"
    model = segvoc.load(result.weights, device="cpu")
    right = total = 0
    for number in range(len(images)):
        image, truth = images.read(number)
        labeled = model.segment(image)
        assert (labeled.words, labeled.background) == (images.vocabulary.words, "ground")
        right, total = right + int((labeled.labels == truth)[truth != 65535].sum()), total + int((truth != 65535).sum())
    assert right / total == pytest.approx(result.validation["pixel_accuracy"], abs=1e-6) and right / total > 0.8
    # "ground" is where both logits are below 0; by another name, only its text beside the other words is another
    by_name = model.segment(image, background="ground").labels == labeled.words.index("ground")
    other = model.segment(image, ["red disc", "blue disc"], background="rest")
    assert ((other.labels == other.words.index("rest")) == by_name).mean() > 0.99
    unlabeled = model.segment(image, background="auto")
    assert unlabeled.words == ("red disc", "blue disc")
    assert ((unlabeled.labels == 65535) == by_name).mean() > 0.99


def test_tuned_words_are_part_of_the_model_wherever_it_goes(three, tmp_path):
    images, result, _ = three
    model, photo, words = segvoc.load(result.weights, device="cpu"), images.images[0].image, images.vocabulary
    expected = model.segment(photo, words).labels
    plain = NetworkSegmenter(name="", network=model.network, protocols=model.protocols, templates=("{}",))
    assert (expected != plain.segment(photo, words).labels).any()
    segvoc.save(model, tmp_path / "copy.safetensors")
    again = segvoc.load(tmp_path / "copy.safetensors", device="cpu")
    assert [one.digest for one in again.taught] == [one.digest for one in model.taught]
    assert np.array_equal(again.segment(photo, words).labels, expected)
    file = replace(recipe(3, steps=1), model=str(result.weights))
    more = train(file, images, tmp_path / "more", device="cpu", progress=False)
    assert len(segvoc.load(more.weights, device="cpu").taught) == 2


@pytest.mark.slow
def test_an_exported_model_has_its_tuned_words(tmp_path):
    images = drawn_images(tmp_path / "set", 3)
    chosen = finetune("tiny", images=3).with_settings(**SMALL, steps=10)
    result = train(chosen, images, tmp_path / "run", device="cpu", progress=False)
    model, photo, words = segvoc.load(result.weights, device="cpu"), images.images[0].image, images.vocabulary
    segvoc.export(model, tmp_path / "programs")
    labels = segvoc.load(tmp_path / "programs").segment(photo, words).labels
    assert (labels == model.segment(photo, words).labels).mean() > 0.999


def test_an_image_that_cant_be_read_is_passed_over_and_what_cant_be_tuned_is_refused(tmp_path, capsys):
    images, start = drawn_images(tmp_path / "set", 4), Start(weights="random")
    images.images[1].image.write_bytes(b"none")
    tune(images, tmp_path / "passed_over", steps=2)
    assert capsys.readouterr().err.count("1.png") == 1
    assert tuned(tmp_path / "passed_over").record.images == 3
    with pytest.raises(UsageError, match="not a multiple of 8; take 64"):
        recipe(3, pyramid_channels=12)
    with pytest.raises(UsageError, match="leave out the label maps of objects"):
        train(recipe(3), images, tmp_path / "no", object_maps=images, start=start, device="cpu", progress=False)
    for one in images.images:
        one.image.write_bytes(b"none")
    with pytest.raises(InputError, match=r"in a known format"):
        tune(images, tmp_path / "run", steps=1)


def test_damaged_words_are_refused_in_a_model_and_alone(three, tmp_path):
    _, result, run = three
    file, path = read_weights(result.weights), tmp_path / "damaged.safetensors"
    del file.tensors["taught.0.bias"]
    write_weights(path, file.tensors, **({"preset": "small"} | file.record))
    with pytest.raises(CheckpointError, match=r"don't fit"):
        segvoc.load(path, device="cpu")
    found = tuned(run)
    for changes in ({"pyramid_channels": 12}, {"channels": {"other": 1544}}, {"pyramid_channels": 24}):
        replace(found, record=replace(found.record, **changes)).save(path)
        with pytest.raises(CheckpointError, match=r"damaged\.safetensors'.*teach them again"):
            TaughtWords.load(path)


def test_settings_follow_from_the_number_of_images_and_the_method():
    recipes = [finetune("tiny", images=count) for count in (5, 30, 2000)]
    facts = [(r.data.num_val_images, r.words.views, r.optimizer.steps, r.runtime.patience) for r in recipes]
    assert facts == [(0, 6, 920, 0), (3, 6, 1020, 2), (50, 1, 3000, 2)]
    shorter = finetune("tiny", images=30, steps=50)
    assert (shorter.optimizer.steps, shorter.runtime.eval_every) == (50, 10)
    whole = finetune("tiny", method="network")
    assert (whole.optimizer, whole.objective) == (RECIPES["tiny"]().optimizer, RECIPES["tiny"]().objective)
    assert (whole.data.num_val_images, whole.runtime.eval_first, whole.runtime.patience) == (3, True, 5)
    whole, words = (finetune("cat-seg-b", method=method) for method in ("network", "words"))
    assert whole == finetune("cat-seg-b") and whole.method == "network"
    assert words.method == "words" and words.data.crop_size == whole.data.crop_size
    assert words.optimizer == finetune("tiny").optimizer


@pytest.mark.parametrize("method", ["words", "network"])
@pytest.mark.parametrize("name", ["steps", "images"])
def test_numbers_below_one_and_truth_values_are_refused_by_name(name, method):
    wrong = {0: "^{}=0 is out of range; give a number from 1$", -3: "^{}=-3 is out of range", True: "{} is True; give"}
    for value, said in wrong.items():
        with one_line_error(UsageError, match=said.format(name)):
            finetune("tiny", method=method, **{name: value})
