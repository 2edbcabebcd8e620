"""Augmentations, each compared with its definition."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image

from segvoc.data.training import augmentations
from segvoc.data.training.augmentations import Augmentation, jitter_colors, pad, resize

IGNORED = 65535


def labeled_image(height=40, width=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
    labels = torch.arange(height * width, dtype=torch.int32).view(height, width)
    return image, labels


def drawing(seed=0):
    return torch.Generator().manual_seed(seed)


def plain(**changes):
    settings = {"short_sides": (20,), "max_long_side": 1000, "crop_size": 16, "color_jitter": False, "flip_prob": 0.0}
    return Augmentation(**settings | changes)


def test_images_are_resized_like_pillow_and_labels_to_the_nearest():
    image, labels = labeled_image(41, 61)  # for these sizes no center is between two pixels
    small, chosen = resize(image, labels, (14, 20))
    expected = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((20, 14), Image.Resampling.BILINEAR)
    assert torch.equal(small, torch.from_numpy(np.array(expected)).permute(2, 0, 1))
    nearest = Image.fromarray(labels.numpy()).resize((20, 14), Image.Resampling.NEAREST)
    assert torch.equal(chosen, torch.from_numpy(np.array(nearest)))


@pytest.mark.parametrize(
    ("height", "width", "longest", "size"),
    [(40, 60, 1000, (20, 30)), (60, 40, 1000, (30, 20)), (40, 100, 40, (16, 40)), (41, 60, 1000, (20, 29))],
)
def test_the_shorter_side_gets_the_drawn_length_unless_the_longer_would_exceed_its_limit(height, width, longest, size):
    _, padded = plain(max_long_side=longest, crop_size=100)(*labeled_image(height, width), drawing())
    labeled = padded != IGNORED
    assert (int(labeled[:, 0].sum()), int(labeled[0].sum())) == size


def test_all_windows_of_the_crop_size_are_drawn():
    image, labels = labeled_image(6, 7)
    corners = {int(plain(crop_size=5).random_crop(image, labels, drawing(seed))[1][0, 0]) for seed in range(200)}
    assert corners == {7 * top + left for top in (0, 1) for left in (0, 1, 2)}
    pixels, window = plain(crop_size=5).random_crop(image, labels, drawing())
    top, left = divmod(int(window[0, 0]), 7)
    assert torch.equal(pixels, image[:, top : top + 5, left : left + 5])


def test_a_small_image_is_padded_at_the_bottom_and_the_right():
    image, labels = labeled_image(3, 4)
    padded, filled = pad(image, labels, 6)
    assert torch.equal(padded[:, :3, :4], image) and torch.equal(filled[:3, :4], labels)
    assert (padded[:, 3:] == 128).all() and (padded[:, :, 4:] == 128).all()
    assert (filled[3:] == IGNORED).all() and (filled[:, 4:] == IGNORED).all()


def test_labels_are_flipped_with_the_image_and_squashing_keeps_all_of_it():
    image, labels = labeled_image(16, 16)
    flipped = plain(short_sides=(16,), flip_prob=1.0)(image, labels, drawing())
    assert torch.equal(flipped[0], image.flip(2)) and torch.equal(flipped[1], labels.flip(1))
    image, labels = labeled_image(40, 60)
    squashed, expected = plain(squash_prob=1.0)(image, labels, drawing()), resize(image, labels, (16, 16))
    assert torch.equal(squashed[0], expected[0]) and torch.equal(squashed[1], expected[1])


@pytest.mark.parametrize("seed", range(3))
def test_brightness_is_an_offset_and_contrast_a_factor(seed):
    image, _ = labeled_image()
    drawn = torch.rand((), generator=drawing(seed)).item()
    values = image.numpy().astype(np.float32)
    for change, expected in (
        (augmentations.change_brightness, values + np.float32(64 * drawn - 32)),
        (augmentations.change_contrast, values * np.float32(0.5 + drawn)),
    ):
        assert np.array_equal(change(image, drawing(seed)).numpy(), expected.clip(0, 255).astype(np.uint8))


def in_hsv(image, change):
    """Each pixel through hue, saturation and value in [0, 1], by Python's own definition of them."""
    pixels = image.permute(1, 2, 0).reshape(-1, 3).numpy() / 255
    changed = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in pixels.tolist()]
    return torch.tensor(changed).view(*image.shape[1:], 3).permute(2, 0, 1) * 255


def test_saturation_is_a_factor_and_hue_rotated_in_steps_of_two_degrees():
    image, _ = labeled_image(8, 9)
    image[:, 0], image[:, 1] = 0, 90
    turns = set()
    for seed in range(200):
        factor = 0.5 + torch.rand((), generator=drawing(seed)).item()
        expected = in_hsv(image, lambda h, s, v, factor=factor: (h, min(1.0, s * factor), v))
        assert (augmentations.change_saturation(image, drawing(seed)).float() - expected).abs().max() <= 1
        turn = int(torch.randint(37, (), generator=drawing(seed))) - 18
        expected = in_hsv(image, lambda h, s, v, turn=turn: ((h + turn / 180) % 1, s, v))
        assert (augmentations.change_hue(image, drawing(seed)).float() - expected).abs().max() <= 2
        turns.add(turn)
    assert turns == set(range(-18, 19))


def test_each_step_of_the_jitter_has_probability_one_half_and_both_orders_occur(monkeypatch):
    log = []
    names = ("brightness", "contrast", "saturation", "hue")
    for name in names:
        monkeypatch.setattr(augmentations, f"change_{name}", lambda image, _, name=name: log.append(name) or image)
    runs = []
    for seed in range(400):
        log.clear()
        jitter_colors(labeled_image(2, 2)[0], drawing(seed))
        runs.append(tuple(log))
    for name in names:
        assert 150 < sum(name in run for run in runs) < 250
    whole = {run for run in runs if len(run) == 4}
    assert whole == {names, ("brightness", "saturation", "hue", "contrast")}
