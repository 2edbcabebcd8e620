"""Random augmentations of labeled images, as in CAT-Seg, PCA-Seg and ERR-Seg: resize, crop, color jitter and flip.

All random numbers come from the generator that is passed in, so that its seed determines the result.
"""

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional

from segvoc.errors import UsageError, one_line
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.protocols import LoaderResize

Transform = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Changes a training image: `image, labels = transform(image, labels, rng)`.

- `image`: (H, W, 3) uint8, RGB in [0, 255].
- `labels`: (H, W) int32: the index of each pixel's class, 65535 for unlabeled pixels, and the number of classes for
  the background, if the images have one. For a network of parts (H, W, 2): parts and objects.
- `rng`: the only source of random numbers. It depends only on the run's seed and the image's position in the training
  order, so a run is the same with any number of workers and after a resume.

It may change the size, of both alike; the recipe's resize, crop, color jitter and flip come afterwards. It must be
picklable for the data loader workers: a function or a class at the top level of a module.
"""


@dataclass(frozen=True, kw_only=True)
class OwnTransform:
    """A user's transform with checked results."""

    function: Transform

    @property
    def name(self) -> str:
        """Module and name of the function, or of the class of a callable object."""
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        return f"{named.__module__}:{named.__qualname__}"

    def __call__(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        labels: Int[np.ndarray, "H W *maps"],
        rng: np.random.Generator,
        others: frozenset[int],
        classes: tuple[int, ...],
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Int[np.ndarray, "h w *maps"]]:
        """Transform an image and its labels (several maps in the last axis), and check the result.

        `others` are valid labels that aren't classes, `classes` is the number of classes of each label map.
        """
        maps = labels.shape[2:]
        found = self.function(image, labels, rng)
        if not (isinstance(found, tuple) and len(found) == 2):
            raise self._wrong(f"a {type(found).__name__}, not (image, labels); fix it")
        image, labels = (np.asarray(one) for one in found)
        given = f"of shape {image.shape}"
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise self._wrong(f"an image {given} and type {image.dtype}; it must be (H, W, 3) uint8")
        if labels.dtype.kind not in "iu" or labels.shape != (*image.shape[:2], *maps):
            labeled = f"labels of shape {labels.shape} and type {labels.dtype}"
            raise self._wrong(f"{labeled} for an image {given}; they must be integers of its height and width")
        for values, count in zip(np.moveaxis(labels.reshape(*labels.shape[:2], -1), -1, 0), classes, strict=True):
            present = np.unique(values)
            wrong = present[((present < 0) | (present >= count)) & ~np.isin(present, list(others))]
            if wrong.size:
                raise self._wrong(f"the label {wrong[0]}, which no class has; fill new pixels with 65535 (unlabeled)")
        return image, labels.astype(np.int32)

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"the transform {self.name} returned {what}")

    def check_sendable(self) -> None:
        """Raise `UsageError` if data loader workers can't get it: it isn't picklable, or in no importable file."""
        fix = "define it at the top level of a module, or read images in this process (num_workers=0)"
        named = self.function if hasattr(self.function, "__qualname__") else type(self.function)
        if named.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
            raise UsageError(f"the transform {self.name} is in no file, so reading processes can't import it; {fix}")
        try:
            pickle.dumps(self.function)
        except Exception as error:  # pickling may raise anything
            problem = f"the transform {self.name} can't be sent to reading processes ({one_line(error)}); {fix}"
            raise UsageError(problem) from None


def named_transform(name: str) -> Transform:
    """Import the transform "module:function", also from the working directory; `UsageError` if it doesn't exist."""
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute.isidentifier():
        raise UsageError(f"{name!r} is not a function name; write MODULE:FUNCTION, for example transforms:rain")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise UsageError(f"{name!r} can't be imported: {one_line(error)}; check the name") from None
    if not callable(found):
        raise UsageError(f"the module {module!r} has no function {attribute!r}; check the name")
    return cast(Transform, found)


Pixels = UInt8[Tensor, "3 H W"]
"""An RGB image in [0, 255]."""
Labels = Int[Tensor, "*maps H W"]

AugmentedImage = tuple[UInt8[Tensor, "3 h w"], Int[Tensor, "*maps h w"]]

PAD_COLOR = 128
"""Value of all channels in the padding, in [0, 255]."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = 32.0, (0.5, 1.5), (0.5, 1.5), 18
"""Ranges of SSD's color jitter: offset (of values in [0, 255]), factor, factor, and rotation in steps of 2 degrees."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random resize, crop, color jitter and horizontal flip, in this order."""

    short_sides: tuple[int, ...] = (384,)
    """Candidate lengths of the resized shorter side, drawn at random [px]."""
    max_long_side: int = 1333
    """Maximum length of the longer side after resizing [px]."""
    crop_size: int = 384
    """Side of the square crop [px]; smaller images are padded at the bottom and the right, with gray and unlabeled."""
    color_jitter: bool = True
    flip_prob: float = 0.5
    squash_prob: float = 0.0
    """Probability of resizing the whole image to the square instead of cropping it."""
    swap_left_right: bool = False
    """Whether a flip swaps classes such as "left door" and "right door" (or "Left_Door"), if both exist."""

    def __call__(
        self,
        image: Pixels,
        labels: Labels,
        generator: torch.Generator,
        swap_sides: Callable[[Labels], Labels] = lambda labels: labels,
    ) -> AugmentedImage:
        """Augment an image and its labels; both become `crop_size` x `crop_size` pixels.

        `swap_sides` replaces labels after a flip ("left door" becomes "right door").
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
        """A random crop of at most `crop_size` x `crop_size` pixels."""
        rows, columns = labels.shape[-2:]
        height, width = min(self.crop_size, rows), min(self.crop_size, columns)
        top = _integer_below(rows - height + 1, generator)
        left = _integer_below(columns - width + 1, generator)
        window = (slice(top, top + height), slice(left, left + width))
        return image[:, *window], labels[..., *window]


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
    """Rotate the hue by -36 to 36 degrees, in steps of 2."""
    steps = _integer_below(2 * HUE + 1, generator) - HUE
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
