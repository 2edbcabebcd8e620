"""Training samples for part networks: the part and the object of every pixel."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.augmentations import Augmentation
from segvoc.data.training.training_set import IGNORED, NONE, PartTrainingSet
from segvoc.errors import UsageError

WHOLE = Augmentation(short_sides=(6,), max_long_side=100, crop_size=6, color_jitter=False, flip_prob=0.0)
CLASSES = ["background", "dog's head", "sofa", "cat's head", "dog's leg"]


def drawn(root: Path, values: np.ndarray, classes: list[str], name: str = "labels") -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(root / name / "one.png")
    (root / f"{name}.json").write_text(json.dumps(classes))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image with a column for each of the five classes and an unlabeled one."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(tmp_path / "images/one.png")
    drawn(tmp_path, np.tile([0, 1, 2, 3, 4, 255], (6, 1)), CLASSES)
    return tmp_path


def labeled_images(root: Path, **rules) -> LabeledImages:
    return LabeledImages.from_folders(root / "images", root / "labels", root / "labels.json", **rules)


def labels(root: Path, **maps) -> list[list[int]]:
    """The two labels of each column."""
    own = PartTrainingSet(images=labeled_images(root, background="background"), augmentation=WHOLE, seed=0, **maps)
    sample = own[0]
    assert sample.problems == () and sample.labels.shape == (2, 6, 6)
    assert (sample.labels == sample.labels[:, :1]).all()
    return sample.labels[:, 0].tolist()


def test_a_pixel_has_a_part_and_an_object(root):
    parts, objects = labels(root)
    assert parts == [NONE, 0, NONE, 1, 2, IGNORED]  # dog's head, cat's head, dog's leg
    assert objects == [NONE, 1, 2, 0, 1, IGNORED]  # cat, dog, sofa


def test_object_maps_cover_more_than_parts(root):
    """The image is a dog except for its first column, a horse, which isn't learned."""
    drawn(root, np.tile([1, 0, 0, 0, 0, 0], (6, 1)), ["dog", "horse"], "objects")
    maps = LabeledImages.from_folders(root / "images", root / "objects", root / "objects.json")
    parts, objects = labels(root, object_maps=maps)
    assert parts == [NONE, 0, NONE, 1, 2, IGNORED]
    assert objects == [NONE, 1, 1, 1, 1, 1]


def test_every_image_needs_an_object_map(root):
    (root / "other").mkdir()
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(root / "other/two.png")
    drawn(root, np.zeros((6, 6)), ["dog"], "objects")
    (root / "objects/one.png").rename(root / "objects/two.png")
    maps = LabeledImages.from_folders(root / "other", root / "objects", root / "objects.json")
    with pytest.raises(UsageError, match="'one' has no object map"):
        PartTrainingSet(images=labeled_images(root), augmentation=WHOLE, seed=0, object_maps=maps)


def test_an_image_with_nothing_to_learn_is_skipped(root):
    drawn(root, np.tile([0, 0, 0, 255, 255, 255], (6, 1)), CLASSES)
    own = PartTrainingSet(images=labeled_images(root, background="background"), augmentation=WHOLE, seed=0)
    assert "no learned part or object" in own[0].problems[0]


def test_both_maps_are_augmented_alike(root):
    changes = replace(WHOLE, short_sides=(6, 9, 12), crop_size=5, flip_prob=0.5)
    own = PartTrainingSet(images=labeled_images(root, background="background"), augmentation=changes, seed=0)
    pairs = {(part, thing) for part, thing in zip(*labels(root), strict=True)} | {(IGNORED, IGNORED)}
    for place in range(8):
        found = own[place].labels
        assert {tuple(pair) for pair in found.flatten(1).T.tolist()} <= pairs
        assert found.unique().numel() > 2 and found.shape == (2, 5, 5)


def test_the_classes_of_an_owner_are_its_parts(root):
    drawn(root, np.zeros((6, 6)), ["rest", "door", "hood"])
    named = labeled_images(root, background="rest", owner="car")
    assert named.vocabulary.words == ("rest", "car's door", "car's hood")
    with pytest.raises(UsageError, match="has no name"):
        labeled_images(root, owner=" ")


def test_labels_of_one_map_stay_one_map():
    image, one = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.arange(64).view(8, 8)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    changes = replace(WHOLE, short_sides=(8, 16), max_long_side=99, flip_prob=0.5)
    alone = changes(image, one, generators[0])[1]
    stacked = changes(image, torch.stack((one, -one)), generators[1])[1]
    assert torch.equal(stacked[0], alone) and torch.equal(stacked[1], -alone)


def test_flipping_swaps_left_and_right_parts_but_not_objects(root):
    drawn(root, np.tile([0, 0, 1, 1, 2, 2], (6, 1)), ["car's left door", "car's right door", "left luggage"])
    changes = replace(WHOLE, flip_prob=1.0, swap_left_right=True)
    own = PartTrainingSet(images=labeled_images(root), augmentation=changes, seed=0)
    assert own[0].labels[:, 0].tolist() == [[NONE, NONE, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0]]
