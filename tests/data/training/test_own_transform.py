"""A transform of the user's own: what it gets, what is refused, and that the same run gives the same images."""

import functools
import json

import numpy as np
import pytest
import torch

import segvoc
from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.augmentations import OwnTransform
from segvoc.data.training.training_set import IGNORED, NONE, PartTrainingSet, ShardedSampler, TrainingSet, batches
from segvoc.errors import UsageError
from tests.data.training.own_transforms import Failing, brighter
from tests.training.runs import RECIPE, drawn_images

AUGMENTATION = RECIPE.data


def training_set(images: LabeledImages, transform=brighter, *, kind=TrainingSet):
    return kind(images=images, augmentation=AUGMENTATION, seed=3, transform=OwnTransform(function=transform))


def test_what_it_returns_is_learned_the_same_with_workers_and_after_a_resume(tmp_path) -> None:
    images = drawn_images(tmp_path)
    plain = TrainingSet(images=images, augmentation=AUGMENTATION, seed=3)
    changed = training_set(images)
    assert not torch.equal(plain[0].image, changed[0].image) and not torch.equal(changed[0].image, changed[5].image)
    sampler = ShardedSampler(batch=2, passes=1, rank=0, ranks=1, first_step=0, steps=3)
    here = list(batches(changed, sampler, 0, pinned=False))
    resumed = ShardedSampler(batch=2, passes=1, rank=0, ranks=1, first_step=2, steps=4)
    failing = training_set(images, Failing(after=2))
    read = batches(failing, resumed, 1, pinned=False)
    there = next(read)
    assert torch.equal(here[2].images, there.images) and torch.equal(here[2].labels, there.labels)
    # a wrong result is one line, also from a worker
    with pytest.raises(UsageError, match=r"own_transforms:Failing returned the label 77, .*65535") as caught:
        next(read)
    assert "\n" not in str(caught.value)


def test_it_gets_the_labels_of_the_classes_and_of_what_is_none(tmp_path) -> None:
    seen = {}

    def look(image, labels, rng):
        seen.setdefault(labels.shape[2:], set()).update(np.unique(labels).tolist())
        assert image.dtype == np.uint8 and labels.dtype == np.int32 and image.flags.writeable
        return image, labels.astype(np.int64)

    images = drawn_images(tmp_path, 1)
    assert set(training_set(images, look)[0].labels.unique().tolist()) <= {0, 1, 2, IGNORED}
    (tmp_path / "classes.json").write_text(json.dumps(["ground", "dog's head", "dog"]))
    folders = (tmp_path / "images", tmp_path / "labels", tmp_path / "classes.json")
    of_parts = training_set(LabeledImages.from_folders(*folders, background="ground"), look, kind=PartTrainingSet)
    assert of_parts[0].labels.shape[0] == 2
    assert seen == {(): {0, 1, 2, IGNORED}, (2,): {0, NONE, IGNORED}} or seen[(2,)] <= {0, 1, NONE, IGNORED}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda image, labels, rng: image, "returned a ndarray"),
        (lambda image, labels, rng: (image / 255, labels), "type float64"),
        (lambda image, labels, rng: (image[:8], labels), "labels of shape"),
        (lambda image, labels, rng: (image, labels / 2), "labels of shape"),
    ],
)
def test_other_results_are_refused(tmp_path, wrong, message) -> None:
    with pytest.raises(UsageError, match=message):
        training_set(drawn_images(tmp_path, 1), wrong)[0]


def test_a_transform_that_workers_could_not_import_is_refused_before_training(tmp_path) -> None:
    images = drawn_images(tmp_path, 2)
    recipe = segvoc.recipes.finetune("tiny", images=2, steps=1)
    with pytest.raises(UsageError, match=r"can't be sent to reading processes .*num_workers=0"):
        segvoc.train(recipe.with_settings(num_workers=1), images, tmp_path / "run", transform=lambda *all: all[:2])
    OwnTransform(function=functools.partial(brighter)).check_sendable()
    assert OwnTransform(function=functools.partial(brighter)).name == "functools:partial"
