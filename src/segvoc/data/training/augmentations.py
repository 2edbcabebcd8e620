"""Random augmentations of labeled images, as in CAT-Seg, PCA-Seg and ERR-Seg: resize, crop, color jitter and flip.

All random numbers come from the generator that is passed in, so that its seed determines the result.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional

from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.protocols import LoaderResize

Pixels = UInt8[Tensor, "3 H W"]
"""An RGB image in [0, 255]."""
Labels = Int[Tensor, "*maps H W"]
"""One label map of an image, or several; choices that depend on labels use the first map."""

AugmentedImage = tuple[UInt8[Tensor, "3 h w"], Int[Tensor, "*maps h w"]]
"""An image and its label maps after an augmentation."""

PAD_COLOR = 128
"""Value of all channels in the padding, in [0, 255]."""

CROP_TRIES = 10
"""Largest number of crops to draw until no class fills too much of one."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = 32.0, (0.5, 1.5), (0.5, 1.5), 18
"""Ranges of SSD's color jitter: offset (of values in [0, 255]), factor, factor, and rotation in steps of 2 degrees."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random resize, crop, color jitter and horizontal flip, in this order."""

    short_sides: tuple[int, ...] = (384,)
    """Lengths to which the shorter side is resized, one of which is drawn [px]."""
    max_long_side: int = 1333
    """Maximum length of the longer side after resizing [px]."""
    crop_size: int = 384
    """Side of the square crop [px]; smaller images are padded at the bottom and the right, with gray and unlabeled."""
    max_class_fraction: float = 1.0
    """Maximum fraction of the labeled pixels of a crop that one class may cover; 1: no limit."""
    color_jitter: bool = True
    """Whether to apply color jitter (SSD's augmentation)."""
    flip_prob: float = 0.5
    """Probability of a horizontal flip."""
    squash_prob: float = 0.0
    """Probability of resizing the whole image to the square instead of cropping it."""
    swap_left_right: bool = False
    """Whether a flip swaps classes such as "left door" and "right door", if both exist."""

    def __call__(
        self,
        image: Pixels,
        labels: Labels,
        generator: torch.Generator,
        swap_sides: Callable[[Labels], Labels] = lambda labels: labels,
    ) -> AugmentedImage:
        """Augment an image and its labels.

        Args:
            image: RGB in [0, 255], shape (3, H, W).
            labels: one or several label maps, shape (..., H, W).
            generator: the source of all random numbers.
            swap_sides: replaces labels after a flip ("left door" becomes "right door").

        Returns:
            The image and its labels, both `crop_size` x `crop_size` pixels.
        """
        if _uniform(generator) < self.squash_prob:
            image, labels = resize(image, labels, (self.crop_size, self.crop_size))
        else:
            shortest = self.short_sides[_integer_below(len(self.short_sides), generator)]
            size = LoaderResize(shortest=shortest, longest=self.max_long_side).size(*image.shape[1:])
            image, labels = resize(image, labels, size)
            image, labels = self.random_crop(image, labels, generator)
        if self.color_jitter:
            image = jitter_colors(image, generator)
        if _uniform(generator) < self.flip_prob:
            image, labels = image.flip(-1), swap_sides(labels.flip(-1))
        return pad(image, labels, self.crop_size)

    def random_crop(self, image: Pixels, labels: Labels, generator: torch.Generator) -> AugmentedImage:
        """A random crop of at most `crop_size` x `crop_size` pixels, which no class fills up to `max_class_fraction`.

        If `CROP_TRIES` crops fail, the last one is returned.
        """
        rows, columns = labels.shape[-2:]
        height, width = min(self.crop_size, rows), min(self.crop_size, columns)
        window = (slice(0), slice(0))
        for _ in range(1 if self.max_class_fraction >= 1 else CROP_TRIES):
            top = _integer_below(rows - height + 1, generator)
            left = _integer_below(columns - width + 1, generator)
            window = (slice(top, top + height), slice(left, left + width))
            visible = labels.reshape(-1, rows, columns)[0][window]
            counts = visible[visible != UNLABELED].unique(return_counts=True)[1]
            if len(counts) > 1 and counts.max() < counts.sum() * self.max_class_fraction:
                break
        return image[:, window[0], window[1]], labels[..., window[0], window[1]]


def resize(image: Pixels, labels: Labels, size: tuple[int, int]) -> AugmentedImage:
    """Resize to `size` (height, width) [px]: the image bilinearly with antialiasing (Pillow), the labels to nearest."""
    if tuple(labels.shape[-2:]) == size:
        return image, labels
    resized = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    rows, columns = (
        (2 * torch.arange(new) + 1) * old // (2 * new)  # the input pixel below each center, in exact integers
        for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1), labels[..., rows[:, None], columns]


def pad(image: Pixels, labels: Labels, side: int) -> AugmentedImage:
    """Pad to `side` x `side` pixels at the bottom and the right: the image with gray, the labels with `UNLABELED`."""
    margin = (0, side - labels.shape[-1], 0, side - labels.shape[-2])
    return F.pad(image, margin, value=PAD_COLOR), F.pad(labels, margin, value=UNLABELED)


def jitter_colors(image: Pixels, generator: torch.Generator) -> Pixels:
    """SSD's color jitter (Liu et al., ECCV 2016), each step with probability 1/2.

    The order is brightness, contrast, saturation, hue or, equally likely, brightness, saturation, hue, contrast. After
    each step the values are clamped to [0, 255] and truncated to integers.
    """
    image = _sometimes(change_brightness, image, generator)
    steps = [change_saturation, change_hue]
    steps = [change_contrast, *steps] if _integer_below(2, generator) else [*steps, change_contrast]
    for change in steps:
        image = _sometimes(change, image, generator)
    return image


def change_brightness(image: Pixels, generator: torch.Generator) -> Pixels:
    """Add an offset in [-32, 32] to all values."""
    return _to_bytes(image.float() + _uniform_between(-BRIGHTNESS, BRIGHTNESS, generator))


def change_contrast(image: Pixels, generator: torch.Generator) -> Pixels:
    """Multiply all values by a factor in [0.5, 1.5]."""
    return _to_bytes(image.float() * _uniform_between(*CONTRAST, generator))


def change_saturation(image: Pixels, generator: torch.Generator) -> Pixels:
    """Multiply the HSV saturation by a factor in [0.5, 1.5]; the result stays within [0, 1].

    For value V and saturation S, the distance V - c of each channel c is proportional to S.
    """
    pixels = image.float()
    value, least = pixels.amax(0), pixels.amin(0)
    largest = value / (value - least).clamp(min=1e-6)  # 1 / S
    return _to_bytes(value - (value - pixels) * largest.clamp(max=_uniform_between(*SATURATION, generator)))


def change_hue(image: Pixels, generator: torch.Generator) -> Pixels:
    """Rotate the hue by -36 to 34 degrees, in steps of 2."""
    steps = _integer_below(2 * HUE, generator) - HUE
    return functional.adjust_hue(image, steps / 180)


def _sometimes(
    change: Callable[[Pixels, torch.Generator], Pixels], image: Pixels, generator: torch.Generator
) -> Pixels:
    return change(image, generator) if _integer_below(2, generator) else image


def _to_bytes(pixels: Tensor) -> Pixels:
    return pixels.clamp(0, 255).to(torch.uint8)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _uniform_between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * _uniform(generator)


def _integer_below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))
